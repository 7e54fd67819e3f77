"""`sightline add URL`, as a person types it: the real command, a website on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from indexer import Library
from tests.app.cli.test_main import sightline
from tests.data.download.website import LOOPBACK, Website
from tests.media import draw_image, draw_video

OPEN = {"SIGHTLINE_WEB_NETWORKS": ",".join(LOOPBACK), "SIGHTLINE_OCR": "off"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    site = Website()
    site.put("/lake.png", draw_image(tmp_path / "lake.png", "lake"), "image/png")
    yield site
    site.close()


def test_what_is_added_is_kept_with_its_source_and_found_by_its_title(site: Website, tmp_path: Path) -> None:
    home = tmp_path / "library"
    site.put("/v.mp4", draw_video(tmp_path / "v.mp4", 2, 5), "video/mp4")
    address = site.page("/watch", '<video src="/v.mp4"></video>', "Zeppelin over the harbour")
    done = sightline("add", address, "--yes", "--json", home=home, **OPEN)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    path = home / "Added" / "Zeppelin over the harbour.mp4"
    assert record == {"path": str(path), "kind": "video", "address": address, "indexed": True, "reason": None}
    source = ElementTree.parse(f"{path}.xmp").find(".//{http://purl.org/dc/elements/1.1/}source")
    assert source is not None and source.text == address
    hits = json.loads(sightline("search", "zeppelin", "--json", home=home).stdout)["hits"]
    assert hits[0]["path"] == str(path)
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f"{path.name}.xmp"}
    assert not list(home.glob(".fetch-*"))
    if sys.platform != "win32":
        assert path.parent.stat().st_mode & 0o077 == 0 and path.stat().st_mode & 0o077 == 0


def test_it_asks_before_anything_is_fetched(site: Website, tmp_path: Path) -> None:
    def answered(text: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", "add", f"{site.url}/lake.png", "--data-dir", str(tmp_path / "home")]
        environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"} | OPEN
        return subprocess.run(command, input=text, env=environment, capture_output=True, text=True, timeout=120)

    no, nothing = answered("n\n"), answered("")
    assert no.returncode == 1 and "nothing was fetched" in no.stderr and f"{site.url}/lake.png" in no.stderr
    assert nothing.returncode == 2 and "--yes" in nothing.stderr
    assert site.requests == [] and not (tmp_path / "home" / "Added").exists()
    yes = answered("y\n")
    assert yes.returncode == 0 and "lake.png: indexed" in yes.stderr


def test_a_folder_of_the_library_takes_it_and_no_other_does(site: Website, tmp_path: Path) -> None:
    home, photos = tmp_path / "library", tmp_path / "photos"
    (photos / "new").mkdir(parents=True)
    assert sightline("index", photos, home=home).returncode == 0
    address = f"{site.url}/lake.png"
    other = sightline("add", address, "--yes", "--to", tmp_path, home=home, **OPEN)
    assert other.returncode == 1 and "is no folder of the library" in other.stderr and site.requests == []
    done = sightline("add", address, "--yes", "--to", photos / "new", home=home, **OPEN)
    assert done.returncode == 0, done.stderr
    assert (photos / "new" / "lake.png").is_file()
    status = json.loads(sightline("status", "--json", home=home).stdout)
    assert status["images"] == 1 and status["roots"] == [str(photos)]


def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(site: Website, tmp_path: Path) -> None:
    home = tmp_path / "library"
    for words, code, reason in (
        ([f"{site.url}/none.png", "--yes"], 1, "404 Not Found"),
        ([f"{site.url}/endless", "--yes", "--limit", "1"], 1, "larger than 1 MB"),
        (["lake.png"], 2, "is no address of the web"),
        ([f"{site.url}/lake.png", "--web-networks", "here"], 2, "--web-networks"),
    ):
        done = sightline("add", *words, home=home, **OPEN)
        assert done.returncode == code and reason in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and done.stdout == ""
    private = sightline("add", f"{site.url}/lake.png", "--yes", home=home)
    assert private.returncode == 1 and "127.0.0.1 is a private address" in private.stderr
    assert not (home / "Added").exists() and not list(home.glob(".fetch-*"))


def test_a_file_that_cannot_be_read_is_named_and_kept(site: Website, tmp_path: Path) -> None:
    address = site.put("/torn.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png")
    done = sightline("add", address, "--yes", "--json", home=tmp_path / "library", **OPEN)
    record = json.loads(done.stdout)
    assert done.returncode == 1 and record["indexed"] is False and record["reason"]
    assert Path(record["path"]).is_file()


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['yt_dlp'] = None\nfrom app.cli.main import main\nmain()"
    for words in (["add", "https://example.org/a.png"], ["run", str(tmp_path), "--web", "--no-browser"]):
        command = [sys.executable, "-c", hide, *words, "--data-dir", str(tmp_path / "library")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert 'pip install "sightline[web]"' in done.stderr


def test_indexing_and_searching_import_nothing_of_it(tmp_path: Path) -> None:
    draw_image(tmp_path / "photos" / "lake.png", "lake")
    script = (
        "import sys, atexit\nfrom app.cli.main import main\n"
        "web = ('yt_dlp', 'data.download', 'app.web.url_fetch')\n"
        "atexit.register(lambda: print([name for name in sys.modules if name.startswith(web)], file=sys.stderr))\n"
        "main()"
    )
    for words in (["index", str(tmp_path / "photos")], ["search", "lake"]):
        command = [sys.executable, "-c", script, *words, "--data-dir", str(tmp_path / "library")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]"


def test_while_another_program_indexes_the_file_is_left_to_it(site: Website, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library", ocr="off") as running:
        assert running.may_index()
        done = sightline("add", f"{site.url}/lake.png", "--yes", "--json", home=running.data_dir, **OPEN)
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)
        assert record["indexed"] is False and record["reason"] is None
        running.index()
        assert running.file_at(Path(record["path"])) is not None
