"""Downloads from a hub on this machine: sizes first, going on after a stop, checked, unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from data.download import download
from data.download import hub as hub_module
from data.download.download import DownloadError, Hub, file_sets, plan
from data.mmeb.sources import TASK_REPOSITORIES
from data.sources.recipe import subsets
from tests.data.download.model_hub import HubServer


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class LocalHub(HubServer):
    """The hub's two routes for data: a listing in pages of two, files with ranges."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut_after: int | None = None
        self.cut_always = False
        self.busy_until = 0.0
        self.small: set[str] = set()
        self.refuse = False
        super().__init__()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlparse(request.path)
        if self.refuse:
            request.send_error(401)
            return
        parts = unquote(url.path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._list(request, "/".join(parts[2:4]), int(url.query.partition("page=")[2] or 0))
            return
        content = self.repos.get("/".join(parts[1:3]), {}).get("/".join(parts[5:]))
        if content is None:
            request.send_error(404)
            return
        if time.monotonic() < self.busy_until:
            request.send_error(503)
            return
        span = request.headers.get("Range")
        self.asked.append(("/".join(parts[5:]), span))
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        request.send_response(206 if span else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        if self.cut_after is not None:
            body, self.cut_after = body[: self.cut_after], self.cut_after if self.cut_always else None
        request.wfile.write(body)

    def _checksum(self, path: str, content: bytes) -> dict[str, object]:
        """As the hub gives it: of a small file git's own name, of a large one a SHA-256 too."""
        if path in self.small:
            return {"oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        large = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {"oid": "0" * 40, "lfs": large}

    def _list(self, request: BaseHTTPRequestHandler, repo: str, page: int) -> None:
        if repo not in self.repos:
            request.send_error(404)
            return
        files = sorted(self.repos[repo].items())
        entries = [
            {"type": "file", "path": path, "size": len(content), **self._checksum(path, content)}
            for path, content in files[2 * page : 2 * page + 2]
        ]
        body = json.dumps([{"type": "directory", "path": "x", "oid": "0" * 40}, *entries]).encode()
        request.send_response(200)
        if 2 * page + 2 < len(files):
            following = f"{self.url}/api/datasets/{repo}/tree/main?recursive=true&page={page + 1}"
            request.send_header("Link", f'<{following}>; rel="next"')
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    local = LocalHub()
    local.repos["TIGER-Lab/MMEB-train"] = {
        "VOC2007/original-00000-of-00001.parquet": b"rows" * 1000,
        "VOC2007/diverse_instruction-00000-of-00001.parquet": b"other",
        "WebQA/original-00000-of-00001.parquet": b"web",
        "images_zip/VOC2007.zip": zipped(VOC2007__Train__1="".join(map(str, range(3000))).encode()),
        "images_zip/WebQA.zip": zipped(images__WebQA__1=b"picture"),
    }
    monkeypatch.setenv("HF_ENDPOINT", local.url)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)  # files here are small too
    yield local
    local.server.shutdown()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library waits a second and more between its tries."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def run(root: Path, *arguments: str) -> int:
    return download.main(["--root", str(root), *arguments])


def test_every_source_and_every_task_can_be_asked_for() -> None:
    names = {name for one in file_sets() for name in one.names}
    assert set(subsets()) <= names and set(TASK_REPOSITORIES) <= names
    assert all(one.licence for one in file_sets())
    assert {one.repo for one in file_sets(["ImageNet_1K"])} == {"TIGER-Lab/MMEB-train"}
    assert {one.repo for one in file_sets(["K700"])} == {"VLM2Vec/Kinetics-700", "TIGER-Lab/MMEB-V2"}
    with pytest.raises(DownloadError, match="nothing is called ImageNet; names are train, eval"):
        file_sets(["ImageNet"])


@pytest.mark.slow
def test_a_dry_run_prints_sizes_and_terms_and_fetches_nothing(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "d", "--only", "train/VOC2007", "train/HatefulMemes", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "4 kB  TIGER-Lab/MMEB-train/VOC2007/original-*.parquet" in said
    assert "not there  TIGER-Lab/MMEB-train/images_zip/HatefulMemes.zip" in said
    assert "non-commercial" in said
    assert not hub.asked and not (tmp_path / "d").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
def test_a_dry_run_without_a_network_says_what_was_last_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(tmp_path, "--only", "train", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "~ 139.0 GB  ShareGPTVideo/train_video_and_instruction" in said and "more than 158 GB" in said
    assert run(tmp_path, "--only", "train") == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_and_pictures_come_to_where_the_sources_read_them(hub: LocalHub, tmp_path: Path) -> None:
    assert run(tmp_path, "--only", "train/VOC2007", "train/WebQA") == 0
    repo = tmp_path / "TIGER-Lab/MMEB-train"
    assert (repo / "VOC2007/original-00000-of-00001.parquet").read_bytes() == b"rows" * 1000
    assert (repo / "images/VOC2007/Train/1").is_file() and (repo / "images/WebQA/1").is_file()
    assert not (repo / "images_zip/VOC2007.zip").exists()
    assert not (repo / "VOC2007/diverse_instruction-00000-of-00001.parquet").exists()
    hub.asked.clear()
    assert run(tmp_path, "--only", "train/VOC2007", "train/WebQA") == 0
    assert not hub.asked, "what is here is not fetched again"


@pytest.mark.slow
def test_a_download_that_was_cut_goes_on_where_it_stopped(hub: LocalHub, tmp_path: Path) -> None:
    hub.cut_after = 1500
    assert run(tmp_path, "--only", "train/VOC2007") == 0
    spans = [span for path, span in hub.asked if path.startswith("VOC2007/original")]
    assert spans == [None, "bytes=1500-"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
def test_a_connection_that_breaks_all_the_time_is_followed_to_the_end(hub: LocalHub, tmp_path: Path) -> None:
    """An archive of 30 GB over a bad line: what counts is whether anything came."""
    hub.cut_after, hub.cut_always = 300, True
    assert run(tmp_path, "--only", "train/VOC2007") == 0
    place = tmp_path / "TIGER-Lab/MMEB-train/VOC2007/original-00000-of-00001.parquet"
    assert place.read_bytes() == b"rows" * 1000
    assert sum(path.startswith("VOC2007/original") for path, _ in hub.asked) == 14


@pytest.mark.slow
def test_a_hub_that_is_busy_for_a_moment_is_waited_for(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "PAUSE_S", 0.1)
    hub.busy_until = time.monotonic() + 0.5
    assert run(tmp_path, "--only", "train/WebQA") == 0


@pytest.mark.slow
def test_a_small_file_is_checked_too(hub: LocalHub, tmp_path: Path) -> None:
    """It has no SHA-256 on the hub, but git's name of its bytes. Half of it is here, of an older version."""
    name = "VOC2007/original-00000-of-00001.parquet"
    hub.small.add(name)
    place = tmp_path / "TIGER-Lab/MMEB-train" / name
    place.parent.mkdir(parents=True)
    place.with_name(place.name + ".part").write_bytes(b"evil" * 500)
    assert run(tmp_path, "--only", "train/VOC2007") == 0
    assert place.read_bytes() == b"rows" * 1000


@pytest.mark.slow
def test_the_token_stays_with_the_hub(tmp_path: Path) -> None:
    """Large files are fetched from other hosts, to which the hub sends on with a signed address."""
    seen: dict[str, tuple[str | None, str | None]] = {}

    class Elsewhere(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            seen[self.path] = (self.headers.get("Authorization"), self.headers.get("Range"))
            self.send_response(302 if self.path.startswith("/datasets") else 206)
            if self.path.startswith("/datasets"):
                self.send_header("Location", self.path.replace("/datasets", f"http://localhost:{port}/signed"))
            body = b"" if self.path.startswith("/datasets") else b" file"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "big.tar.part").write_bytes(b"half")
    file = hub_module.HubFile("o/r", "big.tar", 9, hashlib.sha256(b"half file").hexdigest())
    hub_module.fetch_file(Hub(f"http://127.0.0.1:{port}", token="secret"), file, tmp_path / "big.tar")
    server.shutdown()
    (first, second) = seen.values()
    assert first == ("Bearer secret", "bytes=4-")
    assert second == (None, "bytes=4-")


@pytest.mark.slow
@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("said, length", [(b"<html>log in here</html>", None), (b'[{"type": "file"', 4000)])
def test_an_answer_that_is_no_listing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: bytes, length: int | None
) -> None:
    """A portal that wants a log-in; a connection that ends within the listing."""

    class Portal(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length or len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    assert run(tmp_path, "--only", "train/WebQA") == 1
    server.shutdown()
    assert "its answer about TIGER-Lab/MMEB-train is cut short or no listing" in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_bytes_are_fetched_again_and_then_refused(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = tmp_path / "TIGER-Lab/MMEB-train"
    (repo / "VOC2007").mkdir(parents=True)
    partial = repo / "VOC2007/original-00000-of-00001.parquet.part"
    partial.write_bytes(b"evil" * 1000)
    assert run(tmp_path, "--only", "train/VOC2007") == 0
    assert (repo / "VOC2007/original-00000-of-00001.parquet").read_bytes() == b"rows" * 1000
    found = plan(Hub(), tmp_path / "other", file_sets(["train/VOC2007"]))
    one, files = found.files[0]
    hub.repos["TIGER-Lab/MMEB-train"][files[0].path] = b"evil" * 1000
    with pytest.raises(DownloadError, match=r"could not be fetched in 5 tries .its checksum was wrong"):
        download.fetch(Hub(), tmp_path / "other", one, files, lambda line: None)


@pytest.mark.slow
def test_pieces_of_an_archive_are_joined_and_a_leading_folder_is_taken_off(hub: LocalHub, tmp_path: Path) -> None:
    frames = tarred({f"video_qa/clip/{i}.jpg": bytes([i]) * 5000 for i in range(9)})
    hub.repos["TIGER-Lab/MMEB-V2"] = {
        "image-tasks/mmeb_v1.tar.gz": tarred({"MMEB/ImageNet-1K/a.jpg": b"a"}),
        **{f"video-tasks/frames/video_qa.tar.gz-0{i}": frames[i * 300 : (i + 1) * 300] for i in range(9)},
    }
    found = [w for w in file_sets(["eval"]) if w.repo == "TIGER-Lab/MMEB-V2"]
    made = plan(Hub(), tmp_path, found)
    assert {w.pattern for w in made.unmatched} == {
        f"video-tasks/frames/video_{part}.tar.gz" for part in ("cls", "ret", "mret")
    }
    for one, files in made.files:
        download.fetch(Hub(), tmp_path, one, files, lambda line: None)
    repo = tmp_path / "TIGER-Lab/MMEB-V2"
    assert (repo / "image-tasks/ImageNet-1K/a.jpg").read_bytes() == b"a"
    assert (repo / "video-tasks/frames/video_qa/clip/8.jpg").read_bytes() == bytes([8]) * 5000
    assert not plan(Hub(), tmp_path, found).files


@pytest.mark.slow
def test_a_kill_while_pieces_are_removed_loses_nothing(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = tarred({"video_qa/clip/1.jpg": bytes(5000)})
    third = len(frames) // 3 + 1
    hub.repos["TIGER-Lab/MMEB-V2"] = {
        f"video-tasks/frames/video_qa.tar.gz-0{i}": frames[i * third : (i + 1) * third] for i in range(3)
    }
    pieces = [w for w in file_sets(["eval"]) if w.parts]
    remove = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith("-01"):
            raise KeyboardInterrupt
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    for _ in range(2):
        made = plan(Hub(), tmp_path, pieces)
        for one, files in made.files:
            with pytest.raises(KeyboardInterrupt):
                download.fetch(Hub(), tmp_path, one, files, lambda line: None)
    assert not made.files, "unpacked, and known to be"
    assert (tmp_path / "TIGER-Lab/MMEB-V2/video-tasks/frames/video_qa/clip/1.jpg").is_file()


@pytest.mark.slow
def test_a_marker_that_a_power_cut_left_empty_costs_the_archive_only(hub: LocalHub, tmp_path: Path) -> None:
    assert run(tmp_path, "--only", "train/WebQA") == 0
    (marker,) = tmp_path.rglob(".unpacked/*.json")
    marker.write_bytes(b"")
    hub.asked.clear()
    assert run(tmp_path, "--only", "train/WebQA") == 0
    assert [path for path, _ in hub.asked] == ["images_zip/WebQA.zip"]


@pytest.mark.slow
def test_a_disk_that_fills_while_unpacking_keeps_the_archive(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    assert run(tmp_path, "--only", "train/WebQA") == 1
    said = capsys.readouterr().err
    assert "the disk is full at" in said and "delete it" not in said
    assert (tmp_path / "TIGER-Lab/MMEB-train/images_zip/WebQA.zip").is_file()


@pytest.mark.slow
def test_an_archive_cannot_write_outside_its_folder(hub: LocalHub, tmp_path: Path) -> None:
    hub.repos["TIGER-Lab/MMEB-V2"] = {"image-tasks/mmeb_v1.tar.gz": tarred({"../../../../evil": b"x"})}
    one = next(w for w in file_sets(["image"]) if w.strip == "MMEB")
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        download.fetch(Hub(), tmp_path / "a" / "b", one, plan(Hub(), tmp_path / "a/b", [one]).files[0][1], print)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.slow
def test_a_disk_that_is_too_small_is_refused_before_the_start(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = download.shutil.disk_usage
    monkeypatch.setattr(download.shutil, "disk_usage", lambda p: real(p)._replace(free=1000))
    assert run(tmp_path, "--only", "train/VOC2007") == 1
    assert "are free; choose another --root" in capsys.readouterr().err
    assert not hub.asked


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_named_and_the_rest_is_fetched(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--only", "train/WebQA", "colpali_train_set") == 1
    assert "not on the hub any more: vidore/colpali_train_set/data/train-*.parquet" in capsys.readouterr().err
    assert (tmp_path / "TIGER-Lab/MMEB-train/images/WebQA/1").is_file()


@pytest.mark.slow
def test_a_set_behind_terms_says_what_to_do(hub: LocalHub, tmp_path: Path) -> None:
    hub.refuse = True
    with pytest.raises(DownloadError, match="accept the terms there and set HF_TOKEN"):
        plan(Hub(), tmp_path, file_sets(["train/WebQA"]))


def test_equal_names_can_be_told_apart() -> None:
    both, train, task = (file_sets([name]) for name in ("VOC2007", "train/VOC2007", "eval/VOC2007"))
    assert {one.repo for one in train} == {"TIGER-Lab/MMEB-train"}
    assert both == [*train, *task]
    assert file_sets(["mmeb-eval"]) == file_sets(["eval"])
    assert {one.repo for one in file_sets(["VLM2Vec/NExTQA"])} == {"VLM2Vec/NExTQA"}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/evil", "a//b", "C:evil", "a\\..\\evil"])
def test_a_listed_path_that_leaves_its_folder_is_refused(hub: LocalHub, tmp_path: Path, path: str) -> None:
    assert not hub_module._stays_below(path)
    hub.repos["TIGER-Lab/MMEB-train"][path] = b"x"
    with pytest.raises(hub_module.DownloadError, match="no path below it"):
        Hub().files("TIGER-Lab/MMEB-train")
