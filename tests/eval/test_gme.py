"""GME is told and shown what its authors and the benchmark tell and show it, and gives their vectors.

`gme_cases.json` holds outputs of the original code on the tiny checkpoint of tests/model/parity, on a CPU, in float32
with eager attention, transformers 4.52.3 and Pillow 13. `benchmark`: TIGER-AI-Lab/VLM2Vec, commit 6e1e1d4, its
loaders, collator, `MMEBModel.encode_input` and `GmeQwen2VL`, on the first query of each of the 78 tasks of fixtures.py
and the first candidate of that query; vectors of one task for each of its 21 parsers. `own`: `Encoder` of
gme_v_models.py of embeddings-benchmark/mteb, commit a905523, on pictures of the parity cases. `sizes`: `fetch_image` of
GME, then the image processor. `message`: the prompt with one image token; `size`: (width, height) after `fetch_image`;
`ids`: the start of the SHA-256 of the token ids as int64.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import model
from data.mmeb.readers import read_task
from data.mmeb.task_data import ImageFile, TaskItem
from eval.__main__ import main
from eval.embedding import Prompter, Rank, items_of
from eval.protocols import GME, GME_OF_BENCHMARK, ScoringProtocol
from eval.runner import RunError, run
from eval.task_list import select
from model.inputs import Input
from model.qwen.embedder import Prepared, QwenVLEmbedder
from model.qwen.vision import Pixels, image_visual
from tests.eval.embedders import HashEmbedder

PARITY = Path(__file__).parents[1] / "model" / "parity"
CASES = json.loads((Path(__file__).parent / "gme_cases.json").read_text("utf-8"))
LIMITS = {"min_pixels": 4 * 28 * 28, "max_pixels": 1280 * 28 * 28}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The name tells that it is a GME."""
    return shutil.copytree(PARITY / "checkpoint", tmp_path_factory.mktemp("models") / "gme-tiny")


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> QwenVLEmbedder:
    loaded = model.load(str(tiny), device="cpu", dtype="float32", **LIMITS)
    assert isinstance(loaded, QwenVLEmbedder)
    return loaded


def check(case: dict[str, Any], prepared: Prepared, vector: np.ndarray) -> None:
    assert len(prepared) == case["tokens"]
    assert hashlib.sha256(np.asarray(prepared.ids, np.int64).tobytes()).hexdigest().startswith(case["ids"])
    assert [list(visual.grid) for visual in prepared.visuals] == ([case["grid"]] if case["grid"] else [])
    for visual in prepared.visuals:
        height, width = visual.stretch or visual.frames[0].shape[:2]
        assert [width, height] == case["size"]
    if "vector" in case:
        assert np.abs(vector - case["vector"]).max() < 2e-6


def pair_of(name: str, protocol: ScoringProtocol, root: Path) -> tuple[TaskItem, TaskItem]:
    """The first query of a task and the stored candidate among its own: the original takes moments in the order in
    which the file system names them."""
    (task,) = select([name], overrides=protocol.declarations)
    data = read_task(task, root)
    items = items_of(task, data, protocol)
    columns = data.local_candidates[0] if data.local_candidates else list(data.relevant[0])
    own = [items[len(data.queries) + column] for column in columns]
    picture = CASES["benchmark"][name]["candidate"]["picture"]
    return items[0], next((item for item in own if picture and shown(item).endswith(picture)), own[0])


def shown(item: TaskItem) -> str:
    """The file of the picture or of the middle frame; empty where there is none or it lies in a table."""
    frames = item.visual.images if item.visual else ()
    frame = frames[len(frames) // 2] if frames else None
    return str(frame.path) if isinstance(frame, ImageFile) else ""


@pytest.mark.parametrize("name", list(CASES["benchmark"]))
def test_by_the_benchmarks_rules_gme_has_the_inputs_and_vectors_of_the_benchmarks_code(
    name: str, mmeb: Path, embedder: QwenVLEmbedder
) -> None:
    prompter = Prompter(embedder, GME_OF_BENCHMARK)
    for side, item in zip(("query", "candidate"), pair_of(name, GME_OF_BENCHMARK, mmeb), strict=True):
        case = CASES["benchmark"][name][side]
        assert item.prompt == case["message"]
        assert not shown(item) or shown(item).endswith(case["picture"])
        frames = item.visual.read() if item.visual else []
        prepared = embedder.prepare([item.prompt], [frames[len(frames) // 2 :][:1]])[0]
        check(case, prepared, prompter.embed([item], [frames])[0])


@pytest.mark.parametrize("case", CASES["own"], ids=lambda case: f"{case['text']}, {case['image']}")
def test_by_its_authors_rules_gme_has_the_inputs_and_vectors_of_their_code(
    case: dict[str, Any], embedder: QwenVLEmbedder
) -> None:
    pictures = () if case["image"] is None else (np.asarray(Image.open(PARITY / "media" / case["image"])),)
    item = Input(
        text=case["text"],
        images=pictures,
        instruction=case["instruction"],
        role="query" if case["instruction"] else "document",
        kind="image" if pictures else "text",
    )
    check(case, embedder.prepare_inputs([item])[0], embedder.embed([item])[0])


def test_gmes_instruction_stands_before_queries_and_never_before_documents(mmeb: Path) -> None:
    for name in ("ViDoRe_docvqa", "OK-VQA", "MSVD"):
        query, candidate = pair_of(name, GME, mmeb)
        assert query.instruction and candidate.instruction is None


def test_gmes_first_resize_keeps_the_form_of_narrow_and_tiny_pictures() -> None:
    pixels = Pixels(LIMITS["min_pixels"], LIMITS["max_pixels"])
    for case in CASES["sizes"]:
        width, height = case["size"]
        visual = image_visual(np.zeros((height, width, 3), np.uint8), pixels, (4 * 28 * 28, 16384 * 28 * 28))
        assert visual.stretch is not None
        assert [*visual.stretch[::-1]] == case["first"] and list(visual.grid) == case["grid"]


@pytest.mark.slow
def test_only_by_the_benchmarks_rules_gme_stands_beside_the_benchmarks_figures_of_it(
    mmeb: Path, tmp_path: Path, tiny: Path
) -> None:
    at = ["--data", str(mmeb), "--cache_dir", str(tmp_path / "c"), "--device", "cpu", "--datasets", "OK-VQA"]
    for protocol, stands in (("gme", False), ("gme-benchmark", True)):
        out = tmp_path / protocol
        more = ["--model_path", str(tiny), "--output_dir", str(out), "--protocol", protocol]
        assert main([*at, *more]) == 0
        header = next(csv.reader(io.StringIO((out / "leaderboard.csv").read_text("utf-8"))))
        assert any(cell.startswith("GME-Qwen2-VL-7B") for cell in header) == stands
    with pytest.raises(RunError, match="cannot be scored by the protocol gme-benchmark"):
        run(select(["GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", protocol=GME_OF_BENCHMARK, rank=Rank())
