"""`sightline models get embeddinggemma-2`: graphs built here from the authors' weights, all of them or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.program import app
from data.download import model_files
from model import load
from model.gemma.build import __main__ as builder
from model.hub_models import HUB_MODELS, read_record
from model.inputs import Input
from tests.data.download.model_hub import ModelHub, asked_alone
from tests.model.gemma import tiny

NAME = "embeddinggemma-2"
MODEL = HUB_MODELS[NAME]
ROOT = Path(__file__).parents[3]
assert MODEL.checkpoint is not None
SOURCE = MODEL.checkpoint
WEIGHTS = "model.safetensors"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A tiny EmbeddingGemma 2: the authors' checkpoint, the tokenizer."""
    folder = tmp_path_factory.mktemp("published")
    tiny.model().save_pretrained(folder)
    tiny.tokenizer(folder)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path, published) -> Iterator[ModelHub]:
    """Both repositories; the declared hash is that of the tiny tokenizer."""
    graphs = {path: (published / path).read_bytes() for path in ("config.json", "tokenizer.json")}
    weights = {path: (published / path).read_bytes() for path in SOURCE.files}
    monkeypatch.setitem(HUB_MODELS, NAME, replace(MODEL, checksums=declared(published)))
    with asked_alone(ModelHub(graphs, {SOURCE.repo: weights}), monkeypatch, tmp_path) as local:
        yield local


def declared(folder: Path) -> dict[str, tuple[int, str]]:
    tokenizer = (folder / "tokenizer.json").read_bytes()
    return {"tokenizer.json": (len(tokenizer), hashlib.sha256(tokenizer).hexdigest())}


def get(*arguments: str):
    return CliRunner().invoke(app, ["models", "get", NAME, *arguments])


def on_disk() -> set[str]:
    """Every file and folder of the model, but the lock."""
    return {path.name for path in MODEL.folder().parent.iterdir() if path.name != f".{NAME}.lock"}


def is_whole(published: Path, tmp_path: Path) -> bool:
    """Whether the files are those of `python -m model.gemma.build`, and nothing else is left."""
    if not (tmp_path / "expected").exists():
        builder.build(published, tmp_path / "expected", "int8")
    paths = MODEL.files("int8")
    same = all((MODEL.folder() / p).read_bytes() == (tmp_path / "expected" / p).read_bytes() for p in paths)
    return same and on_disk() == {NAME}


def test_int8_is_what_is_fetched_and_it_is_built_from_the_authors_weights(hub, published, tmp_path):
    found = get()
    assert found.exit_code == 0, found.output
    assert is_whole(published, tmp_path)
    assert {(path, revision) for path, revision, _ in hub.asked} == {
        ("config.json", MODEL.revision), ("tokenizer.json", MODEL.revision),
        ("config.json", SOURCE.revision), (WEIGHTS, SOURCE.revision),
    }  # fmt: skip
    record = read_record(MODEL.folder())
    assert record["files"]["onnx/model_int8.onnx_data"]["from"] == "built"
    assert record["checkpoint"][WEIGHTS][1] == hashlib.sha256((published / WEIGHTS).read_bytes()).hexdigest()
    assert "google/embeddinggemma-2" in found.output and "Apache-2.0" in found.output
    assert "MB to fetch, then 494 MB of graphs to build" in found.output and "weights are removed" in found.output
    assert "1 of 6 files match the hashes that Sightline declares, 4 were built here, 1 the hashes" in found.output
    assert ":int8@" in load(NAME).id
    asked = len(hub.asked)
    assert get().exit_code == 0 and len(hub.asked) == asked  # a second time fetches nothing


def test_a_download_that_breaks_goes_on_where_it_was(hub, published, tmp_path):
    whole = hub.answer

    def cut_weights(request):
        if request.path.endswith(WEIGHTS) and "Range" not in request.headers:
            hub.cut_after = 1000
        return whole(request)

    hub.answer = cut_weights
    assert get().exit_code == 0
    assert is_whole(published, tmp_path)
    assert [(path, span) for path, _, span in hub.asked if span] == [(WEIGHTS, "bytes=1000-")]


def test_a_stopped_download_leaves_nothing_half_installed_and_is_continued(hub, published, tmp_path):
    whole = hub.answer
    hub.answer = lambda request: request.send_error(503) if request.path.endswith(WEIGHTS) else whole(request)
    found = get()
    assert found.exit_code == 1 and "goes on where it stopped" in found.output
    assert not MODEL.folder().exists()
    hub.answer, before = whole, len(hub.asked)
    assert get().exit_code == 0 and is_whole(published, tmp_path)
    assert [path for path, _, _ in hub.asked[before:]] == [WEIGHTS]


KILLED = """
import json, os, signal, sys
from dataclasses import replace
from app.cli.program import app
from model.gemma.build import __main__ as builder
from model.hub_models import HUB_MODELS

name, tower, checksums = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
HUB_MODELS[name] = replace(HUB_MODELS[name], checksums={p: tuple(c) for p, c in checksums.items()})
write = builder.TOWERS[tower]

def killed(graph, checkpoint, precision):
    write(graph, checkpoint, precision)
    os.kill(os.getpid(), signal.SIGKILL)

builder.TOWERS[tower] = killed
app(["models", "get", name])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("tower", list(builder.TOWERS))
def test_a_run_that_is_killed_while_it_builds_is_continued_without_a_second_download(hub, published, tmp_path, tower):
    command = [sys.executable, "-c", KILLED, NAME, tower, json.dumps(declared(published))]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not MODEL.folder().exists() and f"{NAME}-checkpoint" in on_disk()
    before = len(hub.asked)
    found = get()
    assert found.exit_code == 0, found.output
    assert is_whole(published, tmp_path) and len(hub.asked) == before


def test_wrong_weights_are_not_installed(hub):
    hub.spoil = WEIGHTS
    found = get()
    assert found.exit_code == 1 and "its checksum was wrong" in found.output
    assert not MODEL.folder().exists()


def test_weights_of_another_family_are_refused_in_one_line_and_another_precision_stays(hub, published, tmp_path):
    tiny.export(tiny.model(), MODEL.folder(), "_q4")
    (MODEL.folder() / "tokenizer.json").write_bytes(hub.files["tokenizer.json"])
    before = load(NAME).id
    hub.repos[SOURCE.repo]["config.json"] = b'{"model_type": "gemma3"}'
    found = get()
    assert found.exit_code == 1
    assert "holds a model of kind gemma3, not EmbeddingGemma 2" in found.output.splitlines()[-1]
    assert load(NAME).id == before and ":q4@" in before
    assert not list(MODEL.folder().glob("onnx/*int8*"))


def test_without_network_weights_that_were_put_there_by_hand_are_taken(hub, published, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = get()
    weights_folder = MODEL.checkpoint_folder()
    assert found.exit_code == 1 and "Without network" in found.output
    assert f"/{SOURCE.repo}/resolve/{SOURCE.revision}/{WEIGHTS}\n    -> {weights_folder / WEIGHTS}" in found.output
    for folder, paths in ((weights_folder, SOURCE.files), (MODEL.folder(), MODEL.others)):
        folder.mkdir(parents=True)
        for path in paths:
            (folder / path).write_bytes((published / path).read_bytes())
    (weights_folder / WEIGHTS).write_bytes((published / WEIGHTS).read_bytes()[:-100])
    found = get()
    assert found.exit_code == 1 and "it was cut short" in found.output.splitlines()[-1]
    (weights_folder / WEIGHTS).write_bytes((published / WEIGHTS).read_bytes())
    found = get()
    assert found.exit_code == 0, found.output
    assert is_whole(published, tmp_path)


def test_the_room_for_weights_and_graphs_is_asked_for_first(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = SOURCE.graph_bytes + model_files.MIN_FREE_BYTES
    monkeypatch.setattr(model_files.shutil, "disk_usage", lambda path: usage(10**9, 10**9, free))
    found = get()
    assert found.exit_code == 1 and "494 MB of graphs to be built" in found.output and "make room" in found.output
    assert hub.asked == []


def test_a_disk_that_fills_up_during_the_build_is_said_and_nothing_is_fetched_again(
    hub, published, tmp_path, monkeypatch
):
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setitem(builder.TOWERS, "onnx/vision_encoder", full)
        found = get()
    assert found.exit_code == 1 and "No space left on device" in found.output.splitlines()[-1]
    assert not MODEL.folder().exists()
    before = len(hub.asked)
    assert get().exit_code == 0 and len(hub.asked) == before
    assert is_whole(published, tmp_path)


def test_later_weights_are_held_to_the_hash_of_the_first_ones(hub):
    assert get().exit_code == 0
    for path in MODEL.graph_files("int8"):
        (MODEL.folder() / path).unlink()
    hub.repos[SOURCE.repo][WEIGHTS] += b" "
    found = get()
    assert found.exit_code == 1 and f"{SOURCE.repo}/{WEIGHTS} on the hub is not the file" in found.output


def test_weights_that_are_kept_are_a_checkpoint_for_torch(hub, published, tmp_path):
    assert get("--keep").exit_code == 0
    assert on_disk() == {NAME, f"{NAME}-checkpoint"}
    item = [Input("a dog", role="query")]
    kept = load(str(MODEL.checkpoint_folder()), device="cpu").embed(item)
    assert np.abs(kept - load(str(published), device="cpu").embed(item)).max() == 0
    assert get().exit_code == 0 and f"{NAME}-checkpoint" in on_disk()


def test_two_programs_do_not_fetch_one_model_at_once(hub):
    from huggingface_hub.utils import WeakFileLock

    MODEL.folder().parent.mkdir(parents=True)
    with WeakFileLock(MODEL.folder().with_name(f".{NAME}.lock")):
        found = get()
    assert found.exit_code == 1 and "another program is fetching embeddinggemma-2" in found.output
    assert hub.asked == []
