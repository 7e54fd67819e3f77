"""The search box and the results, in a real browser: words, files, chips, filters, folding, the address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Server, answered, settled, shot, until

pytestmark = pytest.mark.browser


def search(page: Page, server: Server, words: str) -> None:
    page.goto(server.url)
    page.get_by_role("combobox", name="Search in words").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator(".summary")).to_contain_text("match")


def drop(page: Page, *files: Path) -> None:
    """Drop files onto the middle of the page."""
    import base64

    data = [{"name": f.name, "data": base64.b64encode(f.read_bytes()).decode()} for f in files]
    page.evaluate(
        """(files) => {
          const transfer = new DataTransfer();
          for (const { name, data } of files) {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const type = name.endsWith(".pdf") ? "application/pdf" : "image/jpeg";
            transfer.items.add(new File([bytes], name, { type }));
          }
          for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(
              new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        data,
    )


def test_typing_words_and_enter_shows_what_matches_first(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    first = page.locator(".card").first
    expect(first.locator(".title")).to_have_text("lighthouse report.pdf")
    expect(first.locator("mark").first).to_have_text("lighthouse")
    expect(first.locator(".place")).to_contain_text("of 3")
    shot(page, "results")


def test_results_come_while_typing_where_answers_are_quick(page: Page, server: Server) -> None:
    page.clock.install()  # by this clock every answer takes no time
    page.goto(server.url)
    answered(page)
    page.get_by_role("combobox", name="Search in words").press_sequentially("lighthouse")
    page.clock.run_for(1000)
    expect(page.locator(".card .title").first).to_have_text("lighthouse report.pdf")
    expect(page).to_have_url(f"{server.url}/?q=lighthouse")


def test_only_enter_searches_where_answers_are_slow(page: Page, server: Server) -> None:
    page.clock.install()

    def slowly(route: Route) -> None:
        page.clock.fast_forward(5000)
        route.continue_()

    page.route("**/api/search?*", slowly)
    page.goto(server.url)
    expect(page.locator(".card").first).to_be_visible()
    page.get_by_role("combobox", name="Search in words").press_sequentially("lighthouse")
    page.clock.run_for(20_000)
    expect(page).to_have_url(f"{server.url}/")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/?q=lighthouse")


def test_a_dropped_image_is_searched_with_and_shown_as_a_chip(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    expect(page.locator(".card").first).to_be_visible()
    drop(page, folder / "red square.jpg")
    expect(page.locator(".chip .name")).to_have_text("red square.jpg")
    expect(page.locator(".card .title").first).to_have_text("red square.jpg")
    assert page.locator(".chip img").evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 0
    shot(page, "dropped")


def test_words_an_image_and_a_pdf_are_one_query_and_each_can_be_taken_out(
    page: Page, server: Server, folder: Path
) -> None:
    search(page, server, "lighthouse")
    drop(page, folder / "red square.jpg", folder / "lighthouse report.pdf")
    expect(page.locator(".chip")).to_have_count(2)
    page.get_by_role("button", name="Remove red square.jpg").click()
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value("lighthouse")


def test_a_pasted_image_is_searched_with(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(64, 64);
          const ink = canvas.getContext("2d");
          ink.fillStyle = "rgb(20, 60, 220)";
          ink.fillRect(0, 0, 64, 64);
          const blob = await canvas.convertToBlob({ type: "image/png" });
          await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }"""
    )
    page.keyboard.press("Control+v")
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator(".card .title").first).to_have_text("blue lake.png")


def test_not_like_this_turns_what_was_wanted_into_what_is_avoided(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    drop(page, folder / "red square.jpg", folder / "blue lake.png")
    expect(page.locator(".chip")).to_have_count(2)
    page.get_by_role("button", name="Not like this: red square.jpg").click()
    expect(page.locator(".chip.avoid .name")).to_have_text("not like red square.jpg")
    expect(page.locator(".card .title").first).to_have_text("blue lake.png")
    answered(page)
    red = page.locator('.card:has-text("red square.jpg")')
    assert red.count() == 0 or "less likely" in (red.locator(".strength").text_content() or "")
    page.get_by_role("button", name="Look for what is like it: red square.jpg").click()
    expect(page.locator(".chip.avoid")).to_have_count(0)


def test_words_become_a_chip_to_avoid(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    page.get_by_role("button", name="Not like these words").click()
    expect(page.locator(".chip.avoid .name")).to_have_text("not lighthouse")
    page.get_by_role("combobox", name="Search in words").fill("square")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/?q=square&avoid=lighthouse")
    expect(page.locator(".card .title").first).to_have_text("red square.jpg")
    page.get_by_role("button", name="Remove lighthouse").click()
    expect(page).to_have_url(f"{server.url}/?q=square")


def test_slash_focuses_and_escape_clears(page: Page, server: Server) -> None:
    page.goto(server.url)
    expect(page.locator(".card").first).to_be_visible()
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Search in words")
    expect(box).to_be_focused()
    page.keyboard.type("lake")
    page.keyboard.press("Escape")
    expect(box).to_have_value("")


def test_the_keyboard_alone_reaches_and_opens_a_result(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".card a.open").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card a.open").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".card a.open").first).to_be_focused()


def test_a_new_question_does_not_wait_for_the_pictures_of_the_last(page: Page, server: Server) -> None:
    """Six pictures under way would be all the connections that a browser has for one host."""
    held: list[Route] = []
    page.route("**/thumb/*", lambda route: held.append(route))
    page.goto(f"{server.url}/?q=square")
    expect(page.locator(".card")).not_to_have_count(0)
    expect(page.locator(".picture > img[src]")).not_to_have_count(0)
    asked: list[int] = []

    def count(route: Route) -> None:
        asked.append(page.locator(".picture > img[src]").count())
        route.continue_()

    page.route("**/api/search?*", count)
    page.get_by_role("combobox", name="Search in words").fill("lighthouse")
    page.keyboard.press("Enter")
    expect(page.locator(".card .title").first).to_have_text("lighthouse report.pdf")
    assert asked[0] == 0
    page.unroute("**/thumb/*")
    for route in held:
        route.continue_()
    settled(page)


def test_a_slow_answer_is_waited_for_in_words_and_the_results_of_before_fade(page: Page, server: Server) -> None:
    held: list[Route] = []
    page.route("**/api/search?*", lambda route: held.append(route))
    page.goto(server.url)
    wait = "getComputedStyle(it, '::before').content === '\"Searching …\"'"
    until(page, ".late > .summary", wait)
    held.pop().continue_()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator(".results")).not_to_have_class(re.compile("late"))
    box = page.get_by_role("combobox", name="Search in words")
    box.fill("lighthouse")
    box.press("Enter")
    expect(page.locator(".late > .grid")).to_have_css("opacity", "0.62")
    held.pop().continue_()
    expect(page.locator(".results:not(.late) .card .title").first).to_have_text("lighthouse report.pdf")


def test_a_search_asks_for_its_answer_and_for_no_drawing(page: Page, server: Server) -> None:
    page.goto(server.url)
    settled(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlparse(request.url).path))
    box = page.get_by_role("combobox", name="Search in words")
    for words in ("lighthouse", "red square"):
        box.evaluate("(it, words) => { it.value = words; it.form.requestSubmit(); }", words)
        answered(page)
    settled(page)
    assert asked.count("/api/search") == 2
    assert not [path for path in asked if path.endswith(".svg")]
    until(page, ".card .kind use", "it.getBBox().width > 10")


def test_pages_of_one_pdf_fold_under_it_and_unfold(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    titles = page.locator(".card .title", has_text="lighthouse report.pdf")
    expect(titles).to_have_count(1)
    fold = page.locator(".fold").first
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.click()
    expect(titles).not_to_have_count(1)
    page.locator(".fold").first.click()
    expect(titles).to_have_count(1)


def test_a_line_is_drawn_above_what_is_less_likely(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    divider = page.locator(".divider")
    expect(divider).to_have_text("Less likely")
    last = page.locator(".card").last
    expect(last.locator(".strength")).to_contain_text("less likely")


def test_kinds_filter_with_counts_and_stand_in_the_address(page: Page, server: Server) -> None:
    page.goto(server.url)
    videos = page.get_by_role("button", name="Videos")
    expect(videos.locator(".n")).to_be_visible()
    videos.click()
    expect(page).to_have_url(f"{server.url}/?kind=video")
    expect(page.locator('.card:not([data-kind="video"])')).to_have_count(0)
    expect(page.locator('.card[data-kind="video"]')).not_to_have_count(0)
    page.get_by_role("button", name="Clear filters").click()
    expect(page).to_have_url(f"{server.url}/")


def test_folders_filter(page: Page, server: Server, folder: Path) -> None:
    page.goto(server.url)
    page.locator(".menu > button", has_text="Folder").click()
    page.locator(".sheet button", has_text="old").click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card .title")).to_have_text(["green scan.tiff"])


def test_lengths_filter_videos_with_counts(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.locator(".menu > button", has_text="Length").click()
    medium = page.locator(".sheet button", has_text="1 to 10 minutes")
    expect(medium.locator(".n")).to_have_text("1")
    medium.click()
    expect(page).to_have_url(f"{server.url}/?min_s=60&max_s=600")
    expect(page.locator(".card .title")).to_have_text(["road trip.mp4"])


def test_results_can_be_sorted_by_date(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    page.get_by_role("button", name="Best first").click()
    expect(page).to_have_url(f"{server.url}/?q=lighthouse&sort=date")
    expect(page.get_by_role("button", name="Newest first")).to_be_visible()


def test_results_can_be_folded_to_one_per_file(page: Page, server: Server) -> None:
    search(page, server, "lighthouse")
    expect(page.locator(".more")).to_have_count(0)
    page.get_by_role("button", name="One per file").click()
    page.get_by_role("button", name="Best part of each file").click()
    expect(page).to_have_url(f"{server.url}/?q=lighthouse&fold=max")
    expect(page.locator(".more").first).to_be_visible()
    titles = page.locator(".card .title").all_text_contents()
    assert len(titles) == len(set(titles)) > 1
    shot(page, "folded")
    page.locator("[data-key='One per file']").click()
    with page.expect_response("**/api/search?*fold=centroid*") as answer:
        page.get_by_role("button", name="Each file as a whole").click()
    assert answer.value.ok
    answered(page)
    expect(page.locator(".chosen", has_text="Each file as a whole")).to_be_visible()
    assert sorted(page.locator(".card .title").all_text_contents()) == sorted(titles)
    page.locator("[data-key='One per file']").click()
    page.locator(".sheet").get_by_role("button", name="Each file as a whole").click()
    expect(page).to_have_url(f"{server.url}/?q=lighthouse")


def test_back_and_forward_walk_through_searches_and_files(page: Page, server: Server, folder: Path) -> None:
    search(page, server, "lighthouse")
    drop(page, folder / "red square.jpg")
    expect(page.locator(".chip")).to_have_count(1)
    page.get_by_role("button", name="Images").click()
    expect(page.locator('.card:not([data-kind="image"])')).to_have_count(0)
    page.go_back()
    expect(page.locator(".chip .name")).to_have_text("red square.jpg")
    page.go_back()
    expect(page.locator(".chip")).to_have_count(0)
    expect(page.get_by_role("combobox", name="Search in words")).to_have_value("lighthouse")
    page.go_forward()
    expect(page.locator(".chip .name")).to_have_text("red square.jpg")


def test_html_in_a_file_name_and_in_a_page_is_text(page: Page, server: Server) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    search(page, server, "alert")
    expect(page.locator(".card .title", has_text="<img src=x onerror=alert(1)>.png")).to_be_visible()
    assert page.locator(".card script").count() == 0
    assert dialogs == []


def test_the_pointer_on_a_video_card_plays_its_moment_in_silence(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?kind=video&q=road")
    settled(page)
    page.locator(".card a.open").first.hover()
    preview = page.locator("video.preview.on")
    expect(preview).to_have_count(1)
    assert preview.evaluate("(video) => video.muted && !video.paused")
    page.mouse.move(0, 0)
    expect(page.locator("video.preview")).to_have_count(0)


def test_a_file_that_is_no_image_is_refused_with_a_sentence(page: Page, server: Server, tmp_path: Path) -> None:
    page.expected.append("400")  # type: ignore[attr-defined]
    fake = tmp_path / "holiday.png"
    fake.write_bytes(b"MZ\x90\x00" + b"\0" * 2000)
    page.goto(server.url)
    page.locator("input[type=file]").set_input_files(fake)
    expect(page.locator(".summary.wrong")).to_contain_text("not an image")


def test_two_gigabytes_are_refused_in_the_page_itself(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.evaluate(
        """() => {
          const file = new File(["x"], "film.mp4", { type: "video/mp4" });
          Object.defineProperty(file, "size", { value: 2 * 2 ** 30 });
          const transfer = { types: ["Files"], files: [file] };
          const event = new Event("drop", { bubbles: true, cancelable: true });
          Object.defineProperty(event, "dataTransfer", { value: transfer });
          document.body.dispatchEvent(event);
        }"""
    )
    expect(page.locator(".notice.wrong")).to_contain_text("2.1 GB")
    expect(page.locator(".chip")).to_have_count(0)
