"""Nothing in a weight file runs, and what is damaged is refused."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

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
