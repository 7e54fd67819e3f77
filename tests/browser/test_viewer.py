"""The viewer, in a real browser: the video at its second, the PDF at its page, the image large."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Server, answered, played_from, settled, shot, until
from tests.media import draw_image, draw_video

pytestmark = pytest.mark.browser


def hits(server: Server, **asked: Any) -> list[dict[str, Any]]:
    return httpx.get(f"{server.url}/api/search", params={"k": 50, **asked}, timeout=60).json()["hits"]


def find_no_moments(page: Page) -> None:
    """The closer look finds nothing, so that a film opens at the begin of its window."""
    page.route("**/api/moments?*", lambda route: route.fulfill(json={"moments": []}))


def test_a_click_on_a_video_card_plays_it_at_its_second(page: Page, server: Server) -> None:
    find_no_moments(page)
    later = next(hit for hit in hits(server, q="road trip", kind="video") if hit["start_s"] > 20)
    page.goto(f"{server.url}/?q=road+trip&kind=video")
    settled(page)
    page.locator(".fold").first.click()
    page.locator(f'.card[data-chunk="{later["chunk_id"]}"] a.open').click()
    video = page.locator(".viewer video")
    expect(video).to_be_visible()
    played_from(page, later["start_s"])
    assert video.evaluate("(it) => it.played.start(0)") >= later["start_s"] - 0.1, "not a moment of its beginning"
    shot(page, "video")


def test_a_click_takes_over_the_film_that_the_pointer_has_begun_to_load(page: Page, server: Server) -> None:
    find_no_moments(page)
    later = next(hit for hit in hits(server, q="road trip", kind="video") if hit["start_s"] > 20)
    page.goto(f"{server.url}/?q=road+trip&kind=video")
    settled(page)
    page.locator(".fold").first.click()
    card = page.locator(f'.card[data-chunk="{later["chunk_id"]}"] a.open')
    card.hover()
    page.locator("video.preview.on").evaluate("(it) => { it.same = true }")
    card.click()
    played_from(page, later["start_s"])
    video = page.locator(".viewer video")
    assert video.evaluate("(it) => it.same && it.controls && !it.muted && !it.className")
    expect(page.locator(".card video")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("video")).to_have_count(0)


def test_a_press_that_becomes_no_click_lets_the_film_go(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=road+trip&kind=video")
    settled(page)
    card = page.locator(".card a.open").first
    card.hover()
    page.mouse.down()
    expect(page.locator("video.preview")).to_have_count(1)
    page.mouse.move(2, 2)
    page.mouse.up()
    expect(page.locator("video")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("name, codec", [("old.avi", "mpeg4"), ("phone.mp4", "libx265")])
def test_a_video_that_this_browser_cannot_play_plays_at_its_second_all_the_same(
    context: BrowserContext, empty: Server, tmp_path: Path, name: str, codec: str
) -> None:
    draw_video(tmp_path / "films" / name, 66, 5, codec=codec)
    empty.served.index([tmp_path / "films"])
    later = max(hits(empty, q=name.split(".")[0]), key=lambda hit: hit["start_s"])
    assert later["start_s"] > 20
    page = context.new_page()
    page.goto(f"{empty.url}/open/{later['chunk_id']}")
    number = int(later["start_s"] // 20)
    until(page, ".viewer video", f"it.src.includes('/play/{later['file_id']}/{number}.mp4')")
    played_from(page, later["start_s"] - 20 * number)
    page.locator(".timeline .line").click(position={"x": 2, "y": 9})
    until(page, ".viewer video", "it.src.includes('/0.mp4') && it.played.length")
    position = page.get_by_role("slider", name="Position")
    expect(position, "the whole film, not the stretch").to_have_attribute("max", re.compile(r"6[5-9]"))
    assert not page.locator(".viewer video").evaluate("(it) => it.controls")
    position.fill("45")
    until(page, ".viewer video", "it.src.includes('/2.mp4') && it.played.length")
    played_from(page, 5)
    expect(position).to_have_attribute("aria-valuetext", re.compile("^0:4.* of 1:0"))
    page.get_by_role("button", name="Pause").click()
    until(page, ".viewer video", "it.paused")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_focused()
    page.keyboard.press("Space")
    until(page, ".viewer video", "!it.paused")
    shot(page, f"converted-{codec}")
    expect(page.locator(".viewer .converting")).to_be_hidden()


def test_the_other_moments_are_marked_on_the_timeline_and_lead_there(page: Page, server: Server) -> None:
    moments = hits(server, q="road trip", kind="video")
    assert len(moments) > 1
    page.goto(f"{server.url}/?q=road+trip&open={moments[0]['chunk_id']}")
    marks = page.locator(".timeline .moment")
    expect(marks).to_have_count(len([hit for hit in moments if hit["relevant"]]))
    other = max(moments, key=lambda hit: hit["start_s"])
    minute = f"{int(other['start_s']) // 60}:{int(other['start_s']) % 60:02d}"
    page.get_by_role("button", name=f"oment, {minute}").first.click()
    played_from(page, other["start_s"])


def test_a_long_window_says_where_in_it_the_words_come_nearest(page: Page, server: Server) -> None:
    hit = max(hits(server, q="road trip", kind="video"), key=lambda one: one["start_s"])
    page.goto(f"{server.url}/?q=road+trip&open={hit['chunk_id']}")
    button = page.get_by_role("button", name="Nearest at")
    expect(button).to_be_visible()
    until(page, ".strip img", "it.complete && it.naturalWidth > 600")
    answer = page.request.get(f"{server.url}/api/moments?q=road+trip&chunk_id={hit['chunk_id']}").json()
    (moment,) = answer["moments"]
    assert hit["start_s"] <= moment["start_s"] <= moment["at_s"] <= hit["end_s"]
    at = int(moment["at_s"])
    expect(button).to_have_text(f"Nearest at {at // 60}:{at % 60:02d}")
    span, strip = button.bounding_box(), page.locator(".strip").bounding_box()
    assert span and strip
    share = (moment["start_s"] - hit["start_s"]) / (hit["end_s"] - hit["start_s"])
    assert abs(span["x"] - strip["x"] - share * strip["width"]) < 4, "where it is in the window"
    button.click()
    until(page, ".viewer video", f"it.currentTime >= {moment['start_s'] - 0.3} && it.played.length")
    shot(page, "nearest")


def test_a_film_opens_on_the_moment_that_was_looked_up_before(page: Page, server: Server) -> None:
    with page.expect_response("**/api/moments?*") as looked:  # the page rests, and no card was touched
        page.goto(f"{server.url}/?q=blue&kind=video")
    (moment,) = looked.value.json()["moments"]
    chunk = parse_qs(urlparse(looked.value.url).query)["chunk_id"][0]
    page.locator(f'.card[data-chunk="{chunk}"] a.open').click()
    played_from(page, moment["start_s"])


def test_a_click_on_a_pdf_card_shows_the_right_page_with_the_words_marked(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse+harbour&kind=pdf")
    card = page.locator(".card").first
    expect(card.locator(".place")).to_have_text("p. 2 of 3")
    card.locator("a.open").click()
    sheet = page.locator(".sheet-of-paper.drawn")
    expect(sheet).to_have_attribute("data-page", "2")
    expect(page.locator(".where")).to_have_text("Page 2 of 3")
    expect(page.locator(".marks i")).to_have_count(2)
    expect(page.locator(".text")).to_contain_text("The lighthouse of the harbour")
    shot(page, "pdf")


def test_the_marks_lie_on_the_words(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse&kind=pdf")
    page.locator(".card a.open").first.click()
    expect(page.locator(".sheet-of-paper.drawn .marks i").first).to_be_visible()
    mark = page.locator(".marks i").first.bounding_box()
    word = page.locator(".text span", has_text="lighthouse").first.bounding_box()
    assert mark and word
    assert abs(mark["x"] - word["x"]) < 4 and abs(mark["width"] - word["width"]) < 8
    assert abs(mark["y"] - word["y"]) < 4


def test_the_text_of_a_page_can_be_selected(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse+harbour&kind=pdf")
    page.locator(".card a.open").first.click()
    page.locator(".sheet-of-paper.drawn .text span", has_text="lighthouse").first.dblclick()
    page.wait_for_function("() => String(getSelection()).includes('lighthouse')")


def test_pages_turn_by_button_and_key(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse+harbour&kind=pdf")
    page.locator(".card a.open").first.click()
    expect(page.locator(".where")).to_have_text("Page 2 of 3")
    page.get_by_role("button", name="Next page").click()
    expect(page.locator(".where")).to_have_text("Page 3 of 3")
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    expect(page.locator(".text")).to_contain_text("<script>alert(2)</script>")
    page.keyboard.press("PageUp")
    expect(page.locator(".where")).to_have_text("Page 2 of 3")


def test_an_image_opens_large_and_zooms(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=red+square&kind=image")
    page.locator(".card a.open").first.click()
    image = page.locator(".viewer .stage .image img")
    expect(image).to_be_visible()
    before = image.bounding_box()
    page.keyboard.press("+")
    expect(page.locator(".viewer .image.zoomed")).to_be_visible()
    assert before
    until(page, ".viewer .stage .image img", f"it.getBoundingClientRect().width > {before['width'] * 1.3}")
    page.keyboard.press("0")
    expect(page.locator(".viewer .image.zoomed")).to_have_count(0)
    shot(page, "image")


def test_a_small_image_is_enlarged_and_an_icon_keeps_its_pixels(
    context: BrowserContext, empty: Server, tmp_path: Path
) -> None:
    draw_image(tmp_path / "album" / "icon.png", size=(16, 16), color=(200, 30, 30))
    draw_image(tmp_path / "album" / "small.png", size=(200, 120), color=(30, 90, 200))
    empty.served.index([tmp_path / "album"])
    page = context.new_page()
    for name, side, rendering in (("icon", 128, "pixelated"), ("small", 600, "auto")):
        page.goto(empty.url)
        page.locator(".card a.open", has=page.locator("bdi.title", has_text=name)).click()
        expect(page.locator(".viewer .image img.drawn")).to_have_css("width", f"{side}px")
        expect(page.locator(".viewer .image img")).to_have_css("image-rendering", rendering)


def test_an_image_that_no_browser_can_show_is_shown_all_the_same(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=green+scan&kind=image")
    page.locator(".card a.open", has_text="green scan.tiff").click()
    image = page.locator(".viewer .stage .image img")
    until(page, ".viewer .stage .image img", "it.naturalWidth === 320")
    assert "/view/" in (image.get_attribute("src") or "")


def test_arrows_walk_through_the_results_and_escape_returns_to_them(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=red+square&kind=image")
    expect(page.locator(".card").nth(1)).to_be_visible()
    titles = page.locator(".card .title").all_inner_texts()
    page.locator(".card a.open").first.click()
    title = page.locator(".viewer h2")
    expect(title).to_have_text(titles[0])
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text(titles[1])
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text(titles[0])
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(f"{server.url}/?q=red+square&kind=image")


def test_closing_returns_to_the_card_that_was_seen_last(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=red+square&kind=image")
    page.locator(".card a.open").first.click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer h2")).to_have_text(page.locator(".card .title").nth(1).inner_text())
    page.keyboard.press("Escape")
    expect(page.locator(".card a.open").nth(1)).to_be_focused()


def test_the_open_item_stands_in_the_address_and_back_closes_it(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse")
    card = page.locator(".card").first
    chunk = card.get_attribute("data-chunk")
    card.locator("a.open").click()
    expect(page).to_have_url(f"{server.url}/?q=lighthouse&open={chunk}")
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.go_forward()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_deep_link_lands_at_the_second(page: Page, server: Server) -> None:
    later = max(hits(server, q="road trip", kind="video"), key=lambda hit: hit["start_s"])
    page.goto(f"{server.url}/open/{later['chunk_id']}")
    until(page, ".viewer video", f"it.currentTime >= {later['start_s'] - 0.1}")


def test_a_deep_link_to_what_is_gone_says_so(page: Page, server: Server) -> None:
    page.expected.append("404")  # type: ignore[attr-defined]
    page.goto(f"{server.url}/open/999999")
    expect(page.get_by_role("heading")).to_have_text("Not here any more")


def test_find_similar_searches_with_what_is_open(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=red+square&kind=image")
    page.locator(".card a.open").first.click()
    page.get_by_role("button", name="Find similar", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".chip img")).to_have_count(1)
    expect(page).to_have_url(re.compile("like="))


def test_search_inside_stays_in_the_file(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=lighthouse&kind=pdf")
    page.locator(".card a.open").first.click()
    page.get_by_role("button", name="Search inside").click()
    expect(page.get_by_role("combobox", name="Search in words")).to_be_focused()
    expect(page).to_have_url(re.compile("file_id="))
    expect(page.locator(".card .place").first).to_be_visible()
    answered(page)
    expect(page.locator(".card").filter(has_not_text="lighthouse report.pdf")).to_have_count(0)


def test_the_path_can_be_copied(page: Page, server: Server, folder: Path) -> None:
    page.goto(f"{server.url}/?q=red+square&kind=image")
    page.locator(".card a.open", has_text="red square.jpg").click()
    page.get_by_role("button", name="Copy path").click()
    notice = page.locator(".notice")
    expect(notice).to_have_text("Path copied.")
    assert notice.evaluate(
        """(it) => { const { x, y, width, height } = it.getBoundingClientRect();
        it.parentElement.style.pointerEvents = "auto";
        return it.getRootNode().elementFromPoint(x + width / 2, y + height / 2) === it }"""
    ), "not behind the viewer"
    assert page.evaluate("() => navigator.clipboard.readText()") == str(folder / "red square.jpg")


def test_a_file_can_be_downloaded_and_a_moment_exported(page: Page, server: Server, tmp_path: Path) -> None:
    later = max(hits(server, q="road trip", kind="video"), key=lambda hit: hit["start_s"])
    page.goto(f"{server.url}/?q=road+trip&open={later['chunk_id']}")
    with page.expect_download() as whole:
        page.get_by_role("link", name="Download").click()
    assert whole.value.suggested_filename == "road trip.mp4"
    with page.expect_download() as clip:
        page.get_by_role("link", name="Export clip").click()
    clip.value.save_as(tmp_path / "clip.mp4")
    from data.media.video import probe

    info = probe(tmp_path / "clip.mp4")
    assert abs(info.duration_s - (later["end_s"] - later["start_s"])) < 4


def test_moments_of_films_are_cut_into_a_reel_with_its_edit_lists(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?q=road+trip&kind=video")
    page.locator(".card .fold").first.click()
    for n in (0, 1):
        page.locator(".card .pick").nth(n).click(force=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="Cut the videos into a reel").click()
    assert download.value.suggested_filename == "Sightline reel.zip"
    with zipfile.ZipFile(download.value.path()) as made:
        assert {Path(name).suffix for name in made.namelist()} == {".mp4", ".csv", ".edl"}
        (listed,) = (name for name in made.namelist() if name.endswith(".csv"))
        assert len(made.read(listed).decode().splitlines()) == 3  # the head and two moments


def test_the_owner_has_a_file_shown_in_the_file_manager(
    page: Page, server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = tmp_path / "xdg-open"
    manager.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    manager.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    page.goto(f"{server.url}/?q=red+square")
    page.locator(".card a.open", has_text="red square.jpg").click()
    with page.expect_response("**/api/reveal") as answer:
        page.get_by_role("button", name="Show in folder").click()
    assert answer.value.ok
    assert (tmp_path / "opened").read_text().strip() == str(folder)


def test_a_file_deleted_between_search_and_click_says_so(page: Page, server: Server, folder: Path) -> None:
    page.expected.append("404")  # type: ignore[attr-defined]
    page.goto(f"{server.url}/?q=road+trip&kind=video")
    expect(page.locator(".card").first).to_be_visible()
    video, away = folder / "road trip.mp4", folder.parent / "away.mp4"
    video.rename(away)
    try:
        page.locator(".card a.open").first.click()
        expect(page.locator(".instead")).to_contain_text("no longer where it was indexed")
    finally:
        away.rename(video)
