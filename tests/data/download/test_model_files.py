"""`sightline models get`: a model's files from a hub on this machine, all of them or none.

The graphs that are built here are in test_model_build.py."""

from __future__ import annotations

import hashlib
import json
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.program import app
from data.download import model_files
from model import hub_models
from model.hub_models import HUB_MODELS, read_record
from tests.data.download.model_hub import REVISION, ModelHub, asked_alone
from tests.model.gemma import tiny

NAME = "embeddinggemma-2"
MODEL = HUB_MODELS[NAME]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, bytes]:
    """The files of a tiny EmbeddingGemma 2, named as the published ones."""
    made = tmp_path_factory.mktemp("published")
    tiny.tokenizer(made)
    tiny.export(tiny.model(), made, "_q4")
    return {path: (made / path).read_bytes() for path in MODEL.files("q4")}


@pytest.fixture
def hub(monkeypatch, tmp_path, published) -> Iterator[ModelHub]:
    content = dict(published)
    tokenizer = content["tokenizer.json"]
    checksums = {"tokenizer.json": (len(tokenizer), hashlib.sha256(tokenizer).hexdigest())}
    monkeypatch.setitem(HUB_MODELS, NAME, replace(MODEL, checksums=checksums))
    with asked_alone(ModelHub(content), monkeypatch, tmp_path) as local:
        yield local


def get(precision: str = "q4", *arguments: str):
    return CliRunner().invoke(app, ["models", "get", NAME, "--precision", precision, *arguments])


def folder() -> Path:
    return HUB_MODELS[NAME].folder()


def is_whole(hub: ModelHub) -> bool:
    return all((folder() / path).read_bytes() == content for path, content in hub.files.items())


@pytest.mark.slow
def test_a_model_is_fetched_at_its_pinned_revision_and_its_hashes_are_recorded(hub):
    found = get()
    assert found.exit_code == 0, found.output
    assert is_whole(hub)
    assert {revision for _, revision, _ in hub.asked} == {MODEL.revision}
    entries = read_record(folder())["files"]
    assert entries["tokenizer.json"]["from"] == "declared"
    assert entries["onnx/model_q4.onnx_data"]["from"] == "hub"
    assert entries["onnx/model_q4.onnx"]["sha256"] == hashlib.sha256(hub.files["onnx/model_q4.onnx"]).hexdigest()
    assert "1 of 6 files match the hashes that Sightline declares, 5 the hashes that were recorded" in found.output
    assert "Apache-2.0" in found.output and "MB to fetch" in found.output
    assert "measured here: an image" in found.output and "a video window of 2 frames" in found.output
    asked = len(hub.asked)
    assert get().exit_code == 0 and len(hub.asked) == asked  # a second time fetches nothing


@pytest.mark.slow
def test_a_download_that_breaks_goes_on_where_it_was(hub):
    hub.cut_after = 1000
    assert get().exit_code == 0
    assert is_whole(hub)
    assert [span for _, _, span in hub.asked if span] == ["bytes=1000-"]


@pytest.mark.slow
def test_a_stopped_run_leaves_nothing_half_installed_and_is_continued(hub, monkeypatch):
    last = MODEL.files("q4")[-1]
    kept = hub.files.pop(last)
    hub.files[last] = kept
    whole = hub.answer

    def stop_at_last(request):
        return request.send_error(503) if request.path.endswith("_q4.onnx_data") else whole(request)

    hub.answer = stop_at_last
    found = get()
    assert found.exit_code == 1 and "goes on where it stopped" in found.output
    assert not folder().exists()
    hub.answer, before = whole, len(hub.asked)
    assert get().exit_code == 0 and is_whole(hub)
    assert {path for path, _, _ in hub.asked[before:]} == set(MODEL.files("q4")[3:])  # the first three had come


@pytest.mark.slow
def test_wrong_bytes_are_not_installed(hub):
    hub.spoil = "onnx/model_q4.onnx_data"
    found = get()
    assert found.exit_code == 1 and "its checksum was wrong" in found.output
    assert not folder().exists()


@pytest.mark.slow
def test_another_file_than_the_declared_one_is_refused_before_anything_is_fetched(hub):
    hub.files["tokenizer.json"] = b"[]" * (len(hub.files["tokenizer.json"]) // 2)
    found = get()
    assert found.exit_code == 1 and "not the file that this version of Sightline expects" in found.output
    assert hub.asked == []


@pytest.mark.slow
def test_a_hub_that_answers_html_is_said_with_the_addresses_and_the_folder(hub):
    hub.html = True
    found = get()
    assert found.exit_code == 1
    assert "cut short or no listing" in found.output
    for path in MODEL.files("q4"):
        assert f"{hub.url}/{MODEL.repo}/resolve/{MODEL.revision}/{path}" in found.output
        assert f"-> {folder() / path}" in found.output
    assert not folder().exists()


@pytest.mark.slow
def test_html_in_place_of_a_file_is_not_installed(hub):
    hub.html_files = True
    found = get()
    assert found.exit_code == 1 and "could not be fetched" in found.output and not folder().exists()


@pytest.mark.slow
def test_without_network_a_folder_that_was_filled_by_hand_is_taken(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = get()
    assert found.exit_code == 1 and "Without network" in found.output
    for path, content in hub.files.items():
        (folder() / path).parent.mkdir(parents=True, exist_ok=True)
        (folder() / path).write_bytes(content)
    found = get()
    assert found.exit_code == 0 and "in place" in found.output
    assert read_record(folder())["files"]["onnx/model_q4.onnx"]["from"] == "first use"
    (folder() / "tokenizer.json").write_bytes(b"[]" * (len(hub.files["tokenizer.json"]) // 2))
    found = get()
    assert found.exit_code == 1 and "tokenizer.json is not the file that belongs there" in found.output


@pytest.mark.slow
def test_a_disk_without_room_is_said_before_the_start(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(model_files.shutil, "disk_usage", lambda path: usage(10**9, 10**9, model_files.MIN_FREE_BYTES))
    found = get()
    assert found.exit_code == 1 and "make room" in found.output and "nothing was fetched" in found.output
    assert hub.asked == []


@pytest.mark.slow
def test_a_disk_that_fills_up_meanwhile_is_said(hub, monkeypatch):
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    found = get()
    assert found.exit_code == 1 and "the disk is full" in found.output
    assert not folder().exists()


@pytest.mark.slow
def test_the_newest_revision_is_recorded_and_held_to(hub, monkeypatch):
    monkeypatch.setitem(HUB_MODELS, NAME, replace(MODEL, checksums={}, revision=None))
    assert get().exit_code == 0
    assert {revision for _, revision, _ in hub.asked} == {REVISION}
    assert read_record(folder())["revision"] == REVISION
    (folder() / "config.json").unlink()
    monkeypatch.setattr("data.download.hub.Hub.revision", lambda self, repo: pytest.fail("asked again"))
    assert get().exit_code == 0


@pytest.mark.slow
def test_names_and_words_that_are_not_known_are_wrong_usage(hub):
    runner = CliRunner()
    assert runner.invoke(app, ["models", "get", "nothing"]).exit_code == 2
    assert runner.invoke(app, ["models", "got", NAME]).exit_code == 2
    assert get("float16").exit_code == 2
    found = runner.invoke(app, ["models", "get", "siglip2", "--precision", "int8"])
    assert found.exit_code == 2 and "--precision of siglip2 is one of float32, q4, q8" in found.output


def test_the_declared_hashes_are_those_of_the_published_files():
    assert set(MODEL.checksums) == {"tokenizer.json", *MODEL.graph_files("q8")}
    assert all(len(digest) == 64 and size > 0 for size, digest in MODEL.checksums.values())
    q4, int8 = (hub_models.manual_download(MODEL, precision) for precision in ("q4", "int8"))
    assert q4.count("https://huggingface.co/onnx-community/") == len(MODEL.files("q4"))
    assert int8.count("https://huggingface.co/onnx-community/") == 2
    assert "https://huggingface.co/google/embeddinggemma-2/resolve/914f7f89142e33" in int8


@pytest.mark.slow
def test_a_fetched_model_is_used_by_its_name_and_its_price_is_said_for_the_library(hub, tmp_path):
    from tests.media import draw_image

    (tmp_path / "photos").mkdir()
    draw_image(tmp_path / "photos" / "a.png", "hello", (200, 100))
    runner = CliRunner()
    assert get().exit_code == 0
    library = ["--data-dir", str(tmp_path / "library")]
    done = runner.invoke(app, ["index", str(tmp_path / "photos"), "--model", NAME, "--json", *library])
    assert done.exit_code == 0, done.output
    found = runner.invoke(app, ["search", "hello", "--model", NAME, "--json", *library])
    assert json.loads(found.stdout)["model"].startswith(f"{NAME}:q4:image=70"), found.output
    assert "this library (1 chunks): at most about" in get().output
