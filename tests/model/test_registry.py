"""One name opens a model, or one line says why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from parity_cases import CHECKPOINT
from safetensors.torch import load_file, save_file

import model
from model.cards import CARDS, HUB
from model.embedder import ModelError
from model.hub_files import in_cache
from model.machine import Machine, chunks_per_hour, this_machine
from model.registry import catalogue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, folder)
    return folder


def one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    said = str(error.value)
    assert "\n" not in said and "Traceback" not in said
    return said


def change_config(folder: Path, **values: object) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | values))


def change_weights(folder: Path, name: str, value: object) -> None:
    weights = load_file(folder / "model.safetensors")
    if value is None:
        del weights[name]
    else:
        weights[name] = value  # type: ignore[assignment]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


NORM = "model.layers.1.input_layernorm.weight"


def test_nan_and_infinite_weights_are_named(copy: Path) -> None:
    for bad in (float("nan"), float("inf")):
        change_weights(copy, NORM, torch.full((64,), bad))
        with pytest.raises(ModelError, match=r"not numbers, in language_model\.layers\.1\.input_layernorm"):
            model.load(str(copy))


@pytest.mark.parametrize("keep", [0, 4, 1000, 100_000, -1])
def test_a_truncated_file_is_named(copy: Path, keep: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors") as error:
        model.load(str(copy))
    assert "again" in one_line(error)


def test_a_missing_a_strange_and_a_misshapen_weight_are_named(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    for name, value, said in (
        (NORM, None, "lacks 1 weights, first language_model.layers.1.input_layernorm"),
        ("model.layers.9.mlp.up_proj.weight", torch.zeros(128, 64), "fit nowhere"),
        (NORM, torch.zeros(32), "not shaped"),
    ):
        change_weights(copy, name, value)
        with pytest.raises(ModelError, match=said):
            model.load(str(copy))
        (copy / "model.safetensors").write_bytes(whole)


def test_weights_in_shards_load_and_a_missing_shard_is_named(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    names = sorted(weights)
    place = {}
    for shard, part in (("a.safetensors", names[:30]), ("b.safetensors", names[30:])):
        save_file({name: weights[name] for name in part}, copy / shard, {"format": "pt"})
        place |= dict.fromkeys(part, shard)
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    assert model.load(str(copy)).dim == 64
    (copy / "b.safetensors").unlink()
    with pytest.raises(ModelError, match=r"1 of its 2 weight files, first b\.safetensors"):
        model.load(str(copy))


def test_a_pickle_is_refused_and_never_opened(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    marker = tmp_path / "it-ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(marker), "w")

    torch.save(Bomb(), copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin, a pickle"):
        model.load(str(copy))
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["llama", "qwen3_vl", None])
def test_another_architecture_is_refused_by_name(copy: Path, kind: str | None) -> None:
    change_config(copy, model_type=kind)
    with pytest.raises(ModelError, match=f"kind {kind}"):
        model.load(str(copy))


def test_a_config_of_another_size_is_refused(copy: Path) -> None:
    change_config(copy, num_hidden_layers=5)
    with pytest.raises(ModelError, match="lacks 24 weights"):
        model.load(str(copy))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_a_broken_settings_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text('{"model_type": ')
    with pytest.raises(ModelError, match=name):
        model.load(str(copy))


def test_a_folder_without_a_model_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        model.load(str(tmp_path))
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ModelError, match="not a folder"):
        model.load(str(tmp_path / "photo.jpg"))
    with pytest.raises(ModelError, match="not a folder"):
        model.load("no-such-name")


def test_a_mistyped_folder_is_not_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="runs/v2 is not a folder"):
        model.load("runs/v2")


@pytest.mark.parametrize(
    "place, frames",
    [
        ("gme-Qwen2-VL-2B-Instruct", 1),
        ("models--Alibaba-NLP--gme-Qwen2-VL-2B-Instruct/snapshots/abc", 1),
        ("pigmented/model", 8),
        ("gme-experiments/my-vlm2vec", 8),
    ],
)
def test_gme_is_known_by_its_own_name_alone(tmp_path: Path, place: str, frames: int) -> None:
    folder = tmp_path / place
    shutil.copytree(CHECKPOINT, folder)
    assert model.load(str(folder)).max_frames == frames


def test_dim_is_refused_where_no_matryoshka_was_trained() -> None:
    with pytest.raises(ModelError, match="--dim"):
        model.load(str(CHECKPOINT), dim=16)


# -- the hub, away -----------------------------------------------------------------------------------


def load_elsewhere(name: str, cache: Path, **environment: str) -> str:
    """What a fresh process says on loading `name` with that hub cache and no network."""
    code = f"import model\ntry: print(model.load({name!r}).id)\nexcept model.ModelError as e: print('SAID', e)"
    here = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cache, env=here | environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_network_one_line_says_what_is_missing_where_and_what_to_do(tmp_path: Path, offline: str) -> None:
    said = load_elsewhere("vlm2vec-v2", tmp_path, HF_HUB_OFFLINE=offline)
    assert said.startswith("SAID") and "\n" not in said
    for part in (
        "VLM2Vec/VLM2Vec-V2.0",
        "Qwen/Qwen2-VL-2B-Instruct",
        str(tmp_path),
        "huggingface-cli download",
        "--model",
    ):
        assert part in said, said


def test_a_hub_id_in_the_cache_needs_no_network(tmp_path: Path) -> None:
    repository = tmp_path / "models--Some--Checkpoint"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(CHECKPOINT, repository / "snapshots" / "abc")
    assert load_elsewhere("Some/Checkpoint", tmp_path).startswith("Some/Checkpoint@")


def test_half_a_download_is_not_taken_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--Some--Checkpoint" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--Some--Checkpoint" / "refs").mkdir()
    (tmp_path / "models--Some--Checkpoint" / "refs" / "main").write_text("abc")
    shutil.copy(CHECKPOINT / "config.json", snapshot / "config.json")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert in_cache("Some/Checkpoint") is None


# -- the catalogue -----------------------------------------------------------------------------------

LAPTOP = Machine("laptop", 100.0, 16.0, False, 4)
CARD = Machine("card", 80_000.0, 24.0, True, 16)


def test_the_catalogue_names_what_a_person_chooses_by() -> None:
    cards = {card.name: card for card in catalogue(LAPTOP)}
    assert {"lite", "vlm2vec-v2", "gme-2b", "Qwen/Qwen3-VL-Embedding-2B"} <= set(cards)
    for card in cards.values():
        assert card.licence and card.dim and card.memory_gb and card.about and (card.chunks_per_hour or 0) > 0
        assert card.name in ("lite", "siglip2") or set(card.scores) == {"overall", "image", "video", "visdoc"}
    assert "preview" in cards["lite"].about and "Poor at" in cards["lite"].about
    assert cards["vlm2vec-v2"].scores["overall"] == 59.1


def test_exactly_one_model_is_recommended_lite_without_and_a_strong_one_with_a_card() -> None:
    assert [card.name for card in catalogue(LAPTOP) if card.recommended] == ["lite"]
    small_card = Machine("card", 80_000.0, 12.0, True, 16)
    assert [card.name for card in catalogue(small_card) if card.recommended] == ["Qwen/Qwen3-VL-Embedding-2B"]
    assert [card.name for card in catalogue(CARD) if card.recommended] == ["Qwen/Qwen3-VL-Embedding-8B"]


def test_what_is_on_this_disk_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not any(card.on_disk for card in catalogue(LAPTOP) if card.name != "lite")
    for hub_id in (HUB["vlm2vec-v2"], "Qwen/Qwen2-VL-2B-Instruct"):
        repository = tmp_path / f"models--{hub_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc")
        shutil.copytree(CHECKPOINT, repository / "snapshots" / "abc")
    assert [card.name for card in catalogue(LAPTOP) if card.on_disk and card.name != "lite"] == ["vlm2vec-v2"]


def test_speed_is_measured_and_slower_models_do_less() -> None:
    machine = this_machine()
    assert machine.gflops > 1 and machine.memory_gb > 0.5
    speeds = [chunks_per_hour(card.gflop_a_window, LAPTOP) for card in sorted(CARDS, key=lambda c: c.gflop_a_window)]
    assert speeds == sorted(speeds, reverse=True)


def test_the_catalogue_brings_up_no_torch() -> None:
    code = "import sys; from model.registry import catalogue; catalogue(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    # On a machine with an accelerator torch is what measures it.
    assert done.returncode == 0 and (done.stdout.strip() == "False" or torch.accelerator.is_available()), done.stderr
