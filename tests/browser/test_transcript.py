"""What is said in a film, in a real browser: the card that plays at the words, the lines, the subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from indexer.library import Library
from model.inputs import Cue
from tests.browser.conftest import Server, opened, played_from, settled, shot, until
from tests.browser.test_access import LOOKS, SCREENS, violations
from tests.media import draw_video

pytestmark = pytest.mark.browser

LINES = """Good morning, and welcome to the harbour.
We have been sailing since before the sun came up.
The wind was kind, mostly from the west.
If you look over to the left, you will see the old lighthouse.
It was built in eighteen seventy-four.
My grandfather kept its lamp for thirty years.
He used to say that the sea tells you everything, if you only listen.
<b>Not a tag</b> & not markup.
And then there is the albatross.
You rarely see one this far north.
It followed our boat for two days, gliding without a beat of its wings.
We thought that it was after the fish.
But it never came down for them.
Company, perhaps.
The boats over there belong to one family.""".splitlines()
CUES = [Cue(1.5 + 4 * n, 4.7 + 4 * n, line) for n, line in enumerate(LINES)]
SAID_S = 33.5
"""The albatross, in the window [30, 60)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Films that say something, one of them in a format that no browser plays, and one that does not."""
    films = tmp_path_factory.mktemp("films")
    draw_video(films / "harbour talk.mp4", 84, 5, size=(320, 180))
    draw_video(films / "old reel.avi", 62, 5, codec="mpeg4", scenes=((0, (60, 90, 60)),))
    draw_video(films / "dunes.mp4", 20, 5, size=(180, 320), scenes=((0, (190, 160, 90)),))
    draw_video(films / "silent.mp4", 20, 5, scenes=((0, (30, 30, 60)),))
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off", speech="off") as library:
        library.index([films])
        for name, cues in (
            ("harbour talk.mp4", CUES),
            ("old reel.avi", CUES),
            ("dunes.mp4", [Cue(0.4, 3.0, "Nothing but sand.")]),
        ):
            file = library.catalogue.files.at(str(films / name))
            assert file is not None
            digest = library.catalogue.files.content_of(file.file_id)
            assert digest is not None
            library.catalogue.transcripts.add(digest, cues, by="test@1")
        with Server(library, gradio=False) as server:
            yield server


def hit_of(server: Server, q: str, title: str) -> dict[str, Any]:
    found = httpx.get(f"{server.url}/api/search", params={"q": q, "k": 50}, timeout=60).json()["hits"]
    return next(hit for hit in found if hit["title"] == title)


def look(page: Page, server: Server, q: str = "albatross", title: str = "harbour talk.mp4") -> None:
    """Search, and click on the best card of a film."""
    page.goto(f"{server.url}/?q={q}")
    page.locator(".card a.open", has_text=title).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()


def line(page: Page, words: str) -> Locator:
    return page.locator(".lines button", has_text=words)


def goes_to(page: Page, at_s: float) -> None:
    """Wait until the film plays on from a second."""
    until(page, ".viewer video", f"!it.seeking && it.currentTime >= {at_s - 0.1} && it.currentTime < {at_s + 3}")


def test_a_click_on_what_is_said_plays_from_a_second_before_the_words(page: Page, server: Server) -> None:
    hit = hit_of(server, "albatross", "harbour talk.mp4")
    assert (hit["start_s"], hit["at_s"]) == (30, SAID_S)
    look(page, server)
    played_from(page, SAID_S - 1)
    first = page.locator(".viewer video").evaluate("(it) => it.played.start(0)")
    assert first >= SAID_S - 1.1, "not a moment of the window's beginning"
    expect(page.locator(".viewer .about")).to_contain_text("0:30–1:00 · said at 0:33")
    page.wait_for_timeout(3000)  # by then a closer look would have been taken
    expect(page.get_by_role("button", name="Nearest at")).to_have_count(0)


def test_words_at_the_very_beginning_do_not_begin_before_it(page: Page, server: Server) -> None:
    assert hit_of(server, "sand", "dunes.mp4")["at_s"] == 0.4
    look(page, server, "sand", "dunes.mp4")
    played_from(page, 0, 0.1)


def test_the_card_says_when_and_its_preview_begins_there(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=albatross")
    link = page.get_by_role("link", name=re.compile("0:30–1:00 said at 0:33 harbour talk.mp4"))
    expect(link.locator(".spoken")).to_be_visible()
    settled(page)
    shot(page, "said-cards")
    link.hover()
    until(page, "video.preview.on", f"it.currentTime >= {SAID_S - 1.1} && it.src.includes('#t={SAID_S - 1}')")


def test_a_deep_link_still_opens_at_its_window_with_all_that_is_said(page: Page, server: Server) -> None:
    hit = hit_of(server, "albatross", "harbour talk.mp4")
    page.goto(server.url + hit["open_url"])
    played_from(page, 30)
    expect(page.locator(".lines button")).to_have_count(len(LINES))
    expect(page.locator(".lines mark")).to_have_count(0)


def test_a_line_leads_to_its_second_by_click_and_by_enter(page: Page, server: Server) -> None:
    look(page, server)
    line(page, "eighteen seventy-four").click()
    goes_to(page, 17.5)
    line(page, "Company, perhaps").focus()
    page.keyboard.press("Enter")
    goes_to(page, 53.5)
    expect(line(page, "Company, perhaps")).to_have_attribute("aria-current", "true")


def test_the_line_being_said_is_highlighted_and_the_highlight_follows(page: Page, server: Server) -> None:
    look(page, server)
    current = page.locator(".lines [aria-current]")
    expect(current).to_have_count(1)
    expect(current).to_contain_text("there is the albatross")
    shot(page, "said")
    expect(current).to_contain_text("You rarely see one")
    page.get_by_role("button", name="This moment").click()
    expect(current).to_contain_text("there is the albatross")


def test_the_list_keeps_the_line_in_view_until_a_person_scrolls_it(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 1000, "height": 480})
    look(page, server)
    lines = page.locator(".lines")
    expect(line(page, "there is the albatross")).to_be_in_viewport(ratio=1)
    lines.hover()
    page.mouse.wheel(0, -5000)
    until(page, ".lines", "it.scrollTop === 0")
    expect(page.locator(".lines [aria-current]")).to_contain_text("You rarely see one")
    page.wait_for_timeout(600)  # longer than a smooth scroll takes to begin
    assert lines.evaluate("(it) => it.scrollTop") == 0, "the person reads elsewhere"
    page.locator(".timeline .line").click(position={"x": 1, "y": 2})
    goes_to(page, 0)
    page.get_by_role("button", name="This moment").click()
    expect(page.locator(".lines [aria-current]")).to_be_in_viewport(ratio=1)


def test_the_list_stays_where_the_keyboard_is(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 1000, "height": 480})
    look(page, server)
    expect(page.locator(".lines [aria-current]")).to_have_count(1)
    page.get_by_role("button", name="What is said").focus()
    page.keyboard.press("Tab")
    focused = page.locator(".lines button:focus")
    expect(focused).to_have_count(1)
    page.keyboard.press("Home")
    expect(focused).to_contain_text("Good morning")
    page.keyboard.press("ArrowDown")
    expect(focused).to_contain_text("We have been sailing")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(focused).to_contain_text("Good morning")
    expect(page.locator(".lines [aria-current]")).to_contain_text("You rarely see one")
    page.wait_for_timeout(600)
    expect(focused).to_be_in_viewport(ratio=1)
    page.keyboard.press("Tab")
    expect(focused).to_have_count(0)  # one step leads past all lines
    page.keyboard.press("Shift+Tab")
    expect(focused).to_contain_text("Good morning")


def test_the_words_asked_for_are_marked_in_the_lines_and_a_line_is_text(page: Page, server: Server) -> None:
    look(page, server, "the+boat+and+the+albatross")
    expect(page.locator(".lines mark")).to_have_text(["albatross", "boat", "boats"])
    expect(line(page, "Not a tag")).to_contain_text("<b>Not a tag</b> & not markup.")
    assert page.locator(".lines b").count() == 0


def test_folding_is_remembered_and_leaves_one_button(page: Page, server: Server) -> None:
    page.add_init_script("performance.now = () => 0")  # lines that come late are folded
    look(page, server)
    toggle = page.get_by_role("button", name="What is said")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    video = page.locator(".viewer .film > .video")
    beside = video.bounding_box()
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    expect(toggle).to_be_focused()
    expect(page.locator(".lines")).to_be_hidden()
    alone = video.bounding_box()
    assert beside and alone and alone["width"] > beside["width"]
    shot(page, "said-folded")
    look(page, server)
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.press("Enter")
    expect(page.locator(".lines [aria-current]")).to_be_in_viewport(ratio=1)
    page.reload()
    expect(toggle).to_have_attribute("aria-expanded", "true")


def test_a_film_in_which_nothing_is_known_to_be_said_shows_nothing_of_it(page: Page, server: Server) -> None:
    look(page, server, "silent", "silent.mp4")
    played_from(page, 0)
    expect(page.locator(".transcript")).to_be_hidden()
    expect(page.locator(".viewer track")).to_have_count(0)
    film, video = page.locator(".film").bounding_box(), page.locator(".film > .video").bounding_box()
    assert film == video


def test_nothing_moves_when_the_lines_come_late(page: Page, server: Server) -> None:
    held: list[Any] = []
    page.route("**/api/transcript/*", lambda route: held.append(route))

    def come() -> None:
        page.wait_for_timeout(1500)
        while not held:
            page.wait_for_timeout(50)
        held.pop().continue_()

    hit = hit_of(server, "harbour", "harbour talk.mp4")
    video, toggle = page.locator(".film > .video"), page.get_by_role("button", name="What is said")
    page.goto(server.url + hit["open_url"])
    expect(video).to_be_visible()
    before = video.bounding_box()
    come()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    assert video.bounding_box() == before
    look(page, server)  # found by what is said: the lines are sure to come, their room is kept
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".lines button")).to_have_count(0)
    before = video.bounding_box()
    come()
    expect(page.locator(".lines button")).to_have_count(len(LINES))
    assert video.bounding_box() == before


def test_the_player_offers_subtitles_and_shows_none_unasked(page: Page, server: Server) -> None:
    look(page, server)
    until(page, ".viewer video", "it.textTracks.length === 1 && it.textTracks[0].mode === 'disabled'")
    expect(page.locator(".viewer track")).to_have_attribute("kind", "subtitles")
    page.locator(".viewer video").evaluate("(it) => { it.textTracks[0].mode = 'showing' }")
    until(page, ".viewer track", f"it.readyState === 2 && it.track.cues.length === {len(LINES)}")
    text = page.locator(".viewer track").evaluate("(it) => it.track.cues[7].getCueAsHTML().textContent")
    assert text == LINES[7]


def test_a_converted_film_has_lines_and_subtitles_at_the_right_second(page: Page, server: Server) -> None:
    look(page, server, title="old reel.avi")
    until(page, ".viewer video", "it.src.includes('/1.mp4') && it.played.length")
    played_from(page, SAID_S - 1 - 20)
    expect(page.locator(".lines [aria-current]")).to_contain_text("there is the albatross")
    expect(page.locator(".viewer track")).to_have_count(0)
    caption = page.locator(".caption")
    expect(caption).to_be_hidden()
    subtitles = page.get_by_role("button", name="Subtitles")
    expect(subtitles).to_have_attribute("aria-pressed", "false")
    subtitles.click()
    expect(subtitles).to_have_attribute("aria-pressed", "true")
    line(page, "one family").click()
    until(page, ".viewer video", "it.src.includes('/2.mp4') && it.played.length")
    goes_to(page, 57.5 - 40)
    expect(caption).to_have_text("The boats over there belong to one family.")
    expect(page.locator(".lines [aria-current]")).to_contain_text("one family")
    shot(page, "said-converted")
    subtitles.click()
    expect(caption).to_be_hidden()


@pytest.mark.parametrize("screen", LOOKS)
def test_axe_finds_nothing_serious_in_what_is_said(browser: Browser, server: Server, npm: Path, screen: str) -> None:
    with opened(browser, **SCREENS[screen], bypass_csp=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{server.url}/?q=albatross")
        settled(page)
        assert violations(page, npm) == []
        page.locator(".card a.open", has_text="harbour talk.mp4").first.click()
        expect(page.locator(".lines [aria-current]")).to_be_in_viewport(ratio=1)
        settled(page)
        shot(page, f"said-{screen}")
        assert violations(page, npm) == []
        page.get_by_role("button", name="What is said").click()
        assert violations(page, npm) == []


def test_a_phone_shows_the_lines_below_the_film(browser: Browser, server: Server) -> None:
    with opened(browser, **SCREENS["phone"]) as context:
        page = context.new_page()
        look(page, server)
        expect(page.locator(".lines [aria-current]")).to_be_in_viewport(ratio=1)
        video, lines = page.locator(".film > .video").bounding_box(), page.locator(".lines").bounding_box()
        assert video and lines
        assert video["width"] == 390 and video["height"] > 250
        assert lines["y"] >= video["y"] + video["height"] and lines["height"] > 200
        assert page.locator(".viewer").evaluate("(it) => it.scrollWidth") <= 390
        line(page, "Company, perhaps").scroll_into_view_if_needed()
        line(page, "Company, perhaps").tap()
        goes_to(page, 53.5)
        expect(page.get_by_role("button", name="Close")).to_be_in_viewport(ratio=1)
