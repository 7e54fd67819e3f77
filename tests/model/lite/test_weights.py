"""Weights that are not there, or not whole, are said to be so, with what to run."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from model import self_check
from model.embedder import ModelError
from model.lite import weights
from model.lite.embedder import LiteEmbedder
from model.ocr import TextReader


@pytest.fixture(scope="module")
def installed() -> Path:
    """The weights that `make setup` put in place."""
    return weights.find()


def test_the_installed_networks_are_byte_for_byte_those_pinned(installed: Path) -> None:
    for name, expected in weights.PINNED.items():
        assert hashlib.sha256((installed / name).read_bytes()).hexdigest() == expected, name


def test_missing_weights_say_what_where_and_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "places", lambda name="lite": [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ModelError) as caught:
        weights.find()
    said = str(caught.value)
    assert "run: sightline setup" in said
    assert str(tmp_path / "a") in said and str(tmp_path / "b") in said


def test_weights_of_an_older_version_are_said_to_be_so_and_newer_ones_preferred(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "text.onnx").write_bytes(b"1")
    (older / weights.MANIFEST).write_text('{"files": {"text.onnx": {"bytes": 1}}}')
    monkeypatch.setattr(weights, "places", lambda name="lite": [older])
    with pytest.raises(ModelError, match=r"of an older Sightline; run: sightline setup$"):
        LiteEmbedder.load()
    monkeypatch.setattr(weights, "places", lambda name="lite": [older, installed])
    assert weights.find() == installed


def test_ocr_networks_of_an_older_version_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sightline took the detector as it came, before it stopped where no letters are."""
    today = weights.find("ocr")
    older = Path(shutil.copytree(today, tmp_path / "ocr"))
    listed = json.loads((older / weights.MANIFEST).read_text())
    listed["files"]["detect.onnx"]["sha256"] = "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"
    (older / weights.MANIFEST).write_text(json.dumps(listed))
    with pytest.raises(ModelError, match=r"of an older Sightline; run: sightline setup$"):
        TextReader.load(older)
    monkeypatch.setattr(weights, "places", lambda name="lite": [older, today])
    assert weights.find("ocr") == today


def test_a_truncated_weight_file_is_noticed_at_load(installed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(installed, tmp_path / "lite"))
    content = (folder / "text.onnx").read_bytes()
    (folder / "text.onnx").write_bytes(content[:-1])
    with pytest.raises(ModelError, match=r"text\.onnx is damaged; run: sightline setup --again"):
        LiteEmbedder.load(folder)
    (folder / "text.onnx").write_bytes(bytes(len(content)))
    with pytest.raises(ModelError, match=r"does not load .*run: sightline setup --again"):
        LiteEmbedder.load(folder)


@pytest.mark.parametrize("name", ["image.onnx", "projection.npy", "meanings.npy"])
def test_a_damaged_file_for_pictures_is_noticed_at_the_first_picture(
    name: str, installed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(installed, tmp_path / "lite"))
    (folder / name).write_bytes(bytes((folder / name).stat().st_size))
    lite = LiteEmbedder.load(folder)
    self_check.check(lite, words_only=True)
    with pytest.raises(ModelError, match=r"does not load .*run: sightline setup --again"):
        self_check.check(lite)
