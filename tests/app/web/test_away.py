"""The library's folder disappears while it is served: a notice says so, nothing is made in its place, it goes on."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from indexer.library import Library
from tests.app.serving import Server
from tests.indexer.conftest import wait_for
from tests.media import draw_image, draw_pdf

pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    draw_pdf(tmp_path / "media" / "letter.pdf", ["An invoice for bananas"])
    with Library.open(tmp_path / "library", nice=False, ocr="off") as library:
        library.index([tmp_path / "media"])
        library.clicks.enable(True)
        library.start(watch=True)
        with Server(library, gradio=False) as server:
            yield server


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def move_back(folder: Path) -> None:
    folder.with_name("elsewhere").rename(folder)


def unmount(folder: Path) -> None:
    """As after `umount`: an empty folder, which the disk was mounted on."""
    move_away(folder)
    folder.mkdir()


def mount(folder: Path) -> None:
    folder.rmdir()
    move_back(folder)


def delete(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)


def put_back(folder: Path) -> None:
    folder.with_name("copy").rename(folder)


@pytest.mark.parametrize(
    ("remove", "restore"), [(move_away, move_back), (unmount, mount), (delete, put_back)], ids=lambda f: f.__name__
)
def test_a_folder_that_disappears_is_named_and_missed_until_it_is_back(
    served: Server, tmp_path: Path, remove: Callable[[Path], None], restore: Callable[[Path], None]
) -> None:
    data_dir = tmp_path / "library"

    def get(path: str) -> Any:
        return httpx.get(f"{served.url}{path}", timeout=60)

    def titles(words: str) -> list[str]:
        return [hit["title"] for hit in get(f"/api/search?q={words}").json()["hits"] if hit["relevant"]]

    assert titles("bananas") == ["letter.pdf"] and get("/api/status").json()["notices"] == []
    remove(data_dir)
    answer = get("/api/search?q=bananas")
    assert answer.status_code == 503 and "\n" not in answer.json()["error"]
    assert answer.json()["error"].startswith(f"The library's folder {data_dir} is not there")
    for path in ("/api/similar/1", "/api/search?kind=pdf", "/open/1", "/thumb/1.webp", "/media/1"):
        assert get(path).status_code == 503, path
    assert httpx.put(f"{served.url}/api/clicks", json={"keep": True}, timeout=60).status_code == 503
    status = get("/api/status")
    assert status.status_code == 200 and status.json()["chunks"] == 1
    assert "is not there" in status.json()["notices"][0] and "goes on by itself" in status.json()["notices"][0]

    draw_image(tmp_path / "media" / "new.jpg", seed=3)
    draw_pdf(tmp_path / "media" / "second.pdf", ["A letter about the lighthouse"])
    served.served.thumbnails.put(b"x" * 32, 0, b"RIFF")
    wait_for(lambda: "is not there" in str(served.served._indexing.pipeline.trouble.waiting), 30)
    assert list(data_dir.rglob("*")) == [], "nothing is made in its place"

    restore(data_dir)
    assert titles("bananas") == ["letter.pdf"]
    served.served._indexing.follower.look()
    wait_for(lambda: get("/api/status").json()["pending"] == 0 and titles("lighthouse") == ["second.pdf"], 60)
    assert get("/api/status").json()["notices"] == []
    wait_for(lambda: not served.served._indexing.lock._was_replaced(), 30)  # a copy's is taken within five seconds
    with pytest.raises(Exception, match="Another Sightline"), Library.open(data_dir) as other:
        other.index([tmp_path / "media"])
    assert served.served.verify().problems == []
