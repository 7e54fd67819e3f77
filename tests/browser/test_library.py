"""The library view, an empty library, progress, and a server that goes away and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from indexer.library import Library
from tests.app.serving import Busy
from tests.browser.conftest import Server, shot
from tests.media import draw_image

pytestmark = pytest.mark.browser


@pytest.fixture
def busy(library: Any) -> Iterator[tuple[Server, Busy]]:
    changed = Busy(library)
    with Server(changed, gradio=False) as server:
        yield server, changed


def test_the_library_shows_its_folders_and_counts(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="Library").click()
    expect(page).to_have_url(f"{server.url}/?view=library")
    expect(page.locator(".roots .path")).to_have_text(str(folder))
    expect(page.locator(".counts")).to_contain_text("Images7")
    expect(page.locator(".counts")).to_contain_text("Videos1")
    shot(page, "library")


def test_the_model_in_use_and_who_listens_are_told_also_to_whom_a_link_brought_here(page: Page, server: Server) -> None:
    """The status comes after the view is shown: what is in use is not known before."""
    page.goto(f"{server.url}/?view=settings")
    expect(page.locator(".model.current")).to_have_count(1)
    expect(page.locator(".model.current .tag")).to_have_text("in use")
    expect(page.get_by_text("Speech: ", exact=False)).to_be_visible()


def test_failures_are_listed_with_their_reasons_and_can_be_tried_again(
    page: Page, server: Server, library: Any
) -> None:
    page.goto(f"{server.url}/?view=library")
    expect(page.locator(".failures li")).to_have_count(1)
    expect(page.locator(".failures .title")).to_have_text("broken.jpg")
    expect(page.locator(".failures .reason")).not_to_be_empty()
    with page.expect_response("**/api/failures/retry") as asked:
        page.get_by_role("button", name="Try again").click()
    assert asked.value.json() == {"retried": 1}
    library.index()
    expect(page.locator(".failures li")).to_have_count(1)


def test_a_folder_s_path_is_completed_while_typing(page: Page, server: Server, tmp_path: Path) -> None:
    (tmp_path / "Holiday 2024").mkdir()
    (tmp_path / "Home").mkdir()
    page.goto(f"{server.url}/?view=library")
    field = page.get_by_role("combobox", name="Path of a folder")
    field.fill(f"{tmp_path}/Ho")
    options = page.get_by_role("option")
    expect(options).to_have_count(2)
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(field).to_have_value(f"{tmp_path}/Holiday 2024/")


def test_a_folder_that_does_not_exist_is_refused_with_a_sentence(page: Page, server: Server) -> None:
    page.expected.append("400")  # type: ignore[attr-defined]
    page.goto(f"{server.url}/?view=library")
    page.get_by_role("combobox", name="Path of a folder").fill("/no/such/folder")
    page.get_by_role("button", name="Add folder").click()
    expect(page.locator(".notice.wrong")).to_contain_text("/no/such/folder")


def test_an_empty_library_says_what_to_do_with_one_button(page: Page, empty: Server) -> None:
    page.goto(empty.url)
    expect(page.locator(".invitation .lead")).to_contain_text("Choose a folder")
    shot(page, "empty")
    page.locator(".invitation").get_by_role("button", name="Add a folder").click()
    expect(page.get_by_role("combobox", name="Path of a folder")).to_be_focused()


@pytest.mark.parametrize(
    ("view", "words"),
    [("albums", "There are no albums yet."), ("duplicates", "There are none."), ("settings", "Settings")],
)
def test_a_view_with_nothing_to_show_says_so(page: Page, empty: Server, view: str, words: str) -> None:
    page.goto(f"{empty.url}/?view={view}")
    expect(page.locator(f"section.{view}")).to_contain_text(words)


def test_progress_is_on_the_page_while_indexing_goes_on(page: Page, busy: tuple[Server, Busy]) -> None:
    server, library = busy
    library.changes = {"pending": 1204, "chunks_per_s": 12.5, "seconds_left": 95.0, "reading": ("/a/film.mp4",)}
    page.goto(server.url)
    expect(page.locator(".progress .words")).to_have_text("Reading 1,204 more files, about 2 min left")
    library.changes["all_seconds_left"] = 480.0
    expect(page.locator(".progress .words")).to_have_text("Reading 1,204 more files, about 8 min left")
    page.locator(".progress").click()
    expect(page.locator(".reading")).to_contain_text("13 chunks a second")
    expect(page.locator(".reading-now")).to_have_text("Now: film.mp4")
    shot(page, "indexing")
    library.changes = {"pending": 0}
    expect(page.locator(".progress")).to_be_hidden()


def test_the_bar_goes_on_where_it_was_after_a_reload(page: Page, busy: tuple[Server, Busy]) -> None:
    server, library = busy
    library.changes = {"files": 2000, "pending": 1000}
    page.goto(server.url)
    expect(page.locator(".progress .words")).to_have_text("Reading 1,000 more files")
    library.changes = {"files": 2000, "pending": 250}
    for _ in range(2):
        expect(page.locator(".progress .words")).to_have_text("Reading 250 more files")
        expect(page.locator(".progress .bar i")).to_have_attribute("style", "width: 75%;")
        page.reload()
    expect(page.locator(".progress .words")).to_have_text("Reading 250 more files")  # the page is there again
    library.changes = {"pending": 0}
    expect(page.locator(".progress")).to_be_hidden()
    library.changes = {"files": 2000, "pending": 500}
    expect(page.locator(".progress .bar i")).to_have_attribute("style", "width: 0%;")


def test_results_grow_while_indexing_goes_on(page: Page, busy: tuple[Server, Busy]) -> None:
    server, library = busy
    library.changes = {"pending": 5, "chunks": 1}
    page.goto(f"{server.url}/?q=lighthouse")
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator(".progress .words")).to_contain_text("5 more files")  # the status of before
    with page.expect_response("**/api/search?*q=lighthouse*"):
        library.changes = {"pending": 4, "chunks": 2}
    expect(page.locator(".summary")).to_contain_text("so far; 4 files are still to be read.")
    page.goto(f"{server.url}/?q=xylophone-Q77&kind=pdf&after=2031")
    expect(page.locator(".summary")).to_have_text("Nothing that has been read matches; 4 files are still to be read.")


def test_a_restarted_server_is_noticed_and_the_page_goes_on(page: Page, busy: tuple[Server, Busy]) -> None:
    page.expected += ["ERR_CONNECTION_REFUSED", "Failed to load", "Failed to fetch", "ERR_"]  # type: ignore[attr-defined]
    server, library = busy
    page.goto(f"{server.url}/?q=lighthouse")
    expect(page.locator(".card").first).to_be_visible()
    server.stop()
    expect(page.locator(".progress.lost")).to_contain_text("does not answer")
    library.changes = {"boot": "another"}
    server.start()
    expect(page.locator(".notice")).to_contain_text("restarted")
    expect(page.locator(".progress")).to_be_hidden()
    page.get_by_role("combobox", name="Search in words").fill("red square")
    page.keyboard.press("Enter")
    expect(page.locator(".card .title").first).to_have_text("red square.jpg")


def test_what_is_opened_is_kept_only_after_the_switch_is_turned(page: Page, server: Server, library: Any) -> None:
    def open_first(words: str) -> None:
        page.goto(f"{server.url}/?q={words}")
        page.locator(".card a.open").first.click()
        expect(page.locator("dialog.viewer")).to_be_visible()

    def choose(value: str) -> None:
        with page.expect_response(
            lambda answer: answer.url.endswith("/api/settings") and answer.request.method == "PUT"
        ):
            page.get_by_label("Learn from what I open").select_option(value)

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/clicks" in request.url else None)
    open_first("lighthouse")
    assert not asked and len(library.clicks) == 0
    page.goto(f"{server.url}/?view=settings")
    choose("1")
    try:
        with page.expect_response(lambda answer: answer.url.endswith("/api/clicks")):
            open_first("lighthouse")
        assert len(library.clicks) == 1 and asked[-1].startswith(server.url), "and it goes nowhere else"
        page.goto(f"{server.url}/?view=settings")
        expect(page.locator(".choice", has_text="Learn from")).to_contain_text("1 kept so far.")
        shot(page, "clicks")
        choose("delete")
        expect(page.locator(".choice", has_text="Learn from")).not_to_contain_text("so far")
        page.reload()
        expect(page.get_by_label("Learn from what I open")).to_have_value("0")
        assert len(library.clicks) == 0 and not library.clicks.enabled
    finally:
        library.clicks.enable(False)
        library.clicks.delete()


def test_the_rules_of_a_folder_are_counted_then_followed_at_once(page: Page, tmp_path: Path) -> None:
    page.expected.append("400")  # type: ignore[attr-defined]
    for n in range(3):
        draw_image(tmp_path / "photos" / f"{n}.jpg", seed=n, size=(96, 64))
    with (
        Library.open(tmp_path / "library", ocr="off", speech="off", nice=False) as own,
        Server(own, gradio=False) as few,
    ):
        own.add_root(tmp_path / "photos")
        own.start()
        page.goto(f"{few.url}/?view=settings")
        rules = page.get_by_label(str(tmp_path / "photos"))
        choice = page.locator(".choice", has=rules)
        rules.fill("!")
        choice.get_by_role("button", name="Apply").click()
        expect(page.locator(".notice.wrong")).to_have_text("Line 1 is no rule as in a .gitignore: !")
        rules.fill("1.jpg")
        choice.get_by_role("button", name="Apply").click()
        expect(choice.get_by_role("status")).to_have_text("1 file left out, 0 taken in.")
        assert own.folder_rules()[0].rules == ""
        choice.get_by_role("button", name="Yes, apply").click()
        expect(page.locator(".notice")).to_have_text("It holds from now on: 1 file left out, 0 taken in.")
        page.get_by_role("link", name="Library").click()
        expect(page.locator(".counts")).to_contain_text("Images2")
        expect(page.locator(".left-out")).to_contain_text("1 file or folder not indexed")
        assert own.folder_rules()[0].rules == "1.jpg"


def test_settings_of_before_do_not_turn_a_choice_back(page: Page, server: Server, library: Any) -> None:
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/settings", hold_first)
    before = page.request.get(f"{server.url}/api/settings").body()
    page.goto(f"{server.url}/?view=settings")
    page.get_by_role("link", name="Library").click()
    page.get_by_role("link", name="Settings").click()
    choice = page.get_by_label("Learn from what I open")
    try:
        choice.select_option("1")
        expect(page.locator(".notice")).to_contain_text("It holds from now on.")
        with page.expect_response("**/api/settings"):
            held[0].fulfill(body=before, content_type="application/json")
        page.evaluate("() => new Promise(requestAnimationFrame)")
        expect(choice).to_have_value("1")
        expect(page.locator(".choice", has_text="Learn from")).to_have_count(1)
    finally:
        library.clicks.enable(False)


def test_the_theme_is_chosen_and_remembered(page: Page, server: Server) -> None:
    def background() -> str:
        color = (
            "getComputedStyle(document.querySelector('#sightline').shadowRoot.querySelector('.frame')).backgroundColor"
        )
        return str(page.evaluate(color))

    page.emulate_media(color_scheme="light")
    page.goto(f"{server.url}/?view=settings")
    expect(page.get_by_label("Theme")).to_have_value("")
    light = background()
    page.get_by_label("Theme").select_option("dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    dark = background()
    assert dark != light
    page.reload()
    expect(page.get_by_label("Theme")).to_have_value("dark")
    assert background() == dark
    page.get_by_label("Theme").select_option("")
    page.wait_for_function("() => document.documentElement.dataset.theme === ''")
    assert background() == light
