"""What each family of models is told and shown in the benchmark.

`qwen3_vl_cases.json` holds the outputs of Qwen3-VL-Embedding's own code (QwenLM/Qwen3-VL-Embedding, commit 8ce3aab:
`data_prepare` of its data sets, then `format_model_input`) for the first rows of the 54 image and video tasks of
fixtures.py: the system text, then the content of the user's turn, pictures by path.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.mmeb.readers import read_task
from data.mmeb.task_data import TaskItem
from eval import leaderboard, published
from eval.__main__ import main
from eval.embedding import Prompter, Rank, items_of
from eval.protocols import (
    EMBEDDING_GEMMA,
    GME,
    LATE,
    OWN,
    PROTOCOLS,
    QWEN3_VL,
    VLM2VEC,
    ScoringProtocol,
    of_model,
    of_name,
)
from eval.runner import RunError, run
from eval.task_list import select
from model.cards import CARDS
from model.gemma.prompts import prompt_and_text
from model.gemma.torch_towers import MODEL_TYPE
from model.inputs import Input
from model.registry import is_embeddinggemma
from tests.eval.embedders import HashEmbedder
from tests.eval.fixtures import build

QWEN3_CASES = json.loads((Path(__file__).parent / "qwen3_vl_cases.json").read_text("utf-8"))


def _items(name: str, protocol: ScoringProtocol, root: Path) -> tuple[Any, list[TaskItem], list[TaskItem]]:
    (task,) = select([name], overrides=protocol.declarations)
    data = read_task(task, root)
    items = items_of(task, data, protocol)
    return data, items[: len(data.queries)], items[len(data.queries) :]


def _conversation(item: TaskItem, root: Path) -> dict[str, Any]:
    """The input of `SentenceTransformersEmbedder` in the form of the stored cases."""
    content: list[Any] = []
    if item.visual is not None:
        paths = [str(image.path.relative_to(root)) for image in item.visual.images]  # type: ignore[attr-defined]
        content.append({"frames": paths} if item.visual.kind == "video" else {"image": paths[0]})
    return {"system": item.instruction, "user": [*content, *([item.text] if item.text else [])]}


@pytest.mark.parametrize("name", list(QWEN3_CASES))
def test_qwen3_vl_is_told_and_shown_what_its_authors_tell_and_show_it(name: str, mmeb: Path) -> None:
    data, queries, candidates = _items(name, QWEN3_VL, mmeb)
    for row, case in enumerate(QWEN3_CASES[name]):
        stored = {"system": case["query"]["system"], "user": [part for part in case["query"]["user"] if part]}
        assert _conversation(queries[row], mmeb) == stored
        columns = data.local_candidates[row] if data.local_candidates else list(data.relevant[row])
        own = {json.dumps(_conversation(candidates[c], mmeb)) for c in columns}
        assert own == {json.dumps(c) for c in case["candidates"]}


def test_qwen3_vl_reads_every_document_task_with_one_instruction_and_no_target_instruction(mmeb: Path) -> None:
    for task in select(["visdoc"]):
        _, queries, pages = _items(task.name, QWEN3_VL, mmeb)
        assert {q.instruction for q in queries} == {"Find a document image that matches the given query."}
        assert {p.instruction for p in pages} == {"Represent the user's input."}


@pytest.mark.parametrize(
    ("size", "frames", "expected"),
    [
        # (height, width) of the images of qwen-vl-utils 0.0.14, by its formulas
        ((3000, 2000), 0, (1632, 1088)),
        ((30, 40), 0, (64, 64)),
        ((640, 480), 64, (544, 416)),
        ((640, 480), 8, (640, 480)),
        ((1080, 1920), 7, (640, 1152)),
        ((100, 100), 3, (384, 384)),
    ],
)
def test_qwen3_vl_sees_pictures_and_clips_in_its_authors_sizes(
    size: tuple[int, int], frames: int, expected: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    item = Input(video=np.stack([pixels] * frames)) if frames else Input(images=(pixels,))
    shown = QWEN3_VL.prepare(item)
    if frames:
        assert shown.video is not None and shown.video.shape == (frames + frames % 2, *expected, 3)
    else:
        assert shown.images[0].shape == (*expected, 3)


def test_qwen3_vl_sees_a_transparent_picture_on_white_and_others_see_its_colours(tmp_path: Path) -> None:
    build(tmp_path, select(["NIGHTS"]))
    file = next((tmp_path / "TIGER-Lab").rglob("q0.png"))
    Image.new("RGBA", (64, 64), (200, 10, 10, 0)).save(file)
    for protocol, colour in ((QWEN3_VL, [255, 255, 255]), (OWN, [200, 10, 10])):
        visual = _items("NIGHTS", protocol, tmp_path)[1][0].visual
        assert visual is not None and visual.read()[0][0, 0].tolist() == colour


GEMMA_CASES = {  # the recipe of EmbeddingGemma 2's wrapper in mteb 2.26.24: a query, a candidate
    "CIRR": ("", ""),
    "NIGHTS": ("", ""),
    "VisualNews_i2t": ("", "title: none | text: "),
    "Country211": ("", "task: classification | query: "),
    "OVEN": ("task: question answering | query: ", "title: none | text: "),
    "WebQA": ("task: search result | query: ", "title: none | text: "),
    "ViDoRe_docvqa": ("task: question answering | query: ", "title: none | text: "),
    "ViDoRe_tatdqa": ("task: search result | query: ", ""),
    "ViDoRe_infovqa": ("task: search result | query: ", "title: none | text: "),
    "OK-VQA": ("task: question answering | query: ", "title: none | text: "),
    "K700": ("task: classification | query: ", "task: classification | query: "),
    "MSR-VTT": ("task: search result | query: ", "title: none | text: "),
}


@pytest.mark.parametrize("name", list(GEMMA_CASES))
def test_embeddinggemma_has_the_prompts_of_its_authors_benchmark(name: str, mmeb: Path) -> None:
    _, queries, candidates = _items(name, EMBEDDING_GEMMA, mmeb)
    prompts = []
    for item in (queries[0], candidates[0]):
        pictures = item.visual is not None and item.visual.kind == "image"
        shown = Input(
            text=item.text or None,
            images=(np.zeros((8, 8, 3), np.uint8),) if pictures else (),
            video=np.zeros((2, 8, 8, 3), np.uint8) if item.visual is not None and not pictures else None,
            instruction=item.instruction,
            role=item.role,
            kind=item.kind,
        )
        prompt, text = prompt_and_text(shown)
        prompts.append(prompt)
        assert text == item.text
    assert tuple(prompts) == GEMMA_CASES[name]


def test_the_benchmarks_own_model_is_told_its_prompts_to_the_byte(mmeb: Path) -> None:
    for task in select(["OK-VQA", "MSVD", "ViDoRe_docvqa"]):
        data = read_task(task, mmeb)
        assert items_of(task, data, VLM2VEC) == [*data.queries, *data.candidates]
        prompter = Prompter(HashEmbedder(), VLM2VEC)
        assert [prompter.parts(i) for i in data.queries] == [("prompt", i.prompt) for i in data.queries]


def test_a_model_is_scored_as_its_family_is() -> None:
    assert of_name("Qwen/Qwen3-VL-Embedding-2B") is QWEN3_VL
    assert of_name("/hub/models--Qwen--Qwen3-VL-Embedding-8B/snapshots/abc") is QWEN3_VL
    assert of_name("embeddinggemma-2") is EMBEDDING_GEMMA and of_name("google/embeddinggemma-2") is EMBEDDING_GEMMA
    assert of_name("lite") is None and of_name("vlm2vec-v2") is None and of_name("Qwen/Qwen3-VL-2B-Instruct") is None
    assert of_model(HashEmbedder()) is OWN
    assert of_model(HashEmbedder("Qwen/Qwen3-VL-Embedding-2B@abc-st2")) is QWEN3_VL


def test_a_model_in_the_working_directory_is_scored_as_its_family_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Qwen3-VL-Embedding-2B"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert of_name(".") is QWEN3_VL is of_name(str(folder))
    (tmp_path / "notes-on-qwen3-vl-embedding" / "mine").mkdir(parents=True)
    assert of_name(str(tmp_path / "notes-on-qwen3-vl-embedding" / "mine")) is None, "its own name counts, as in its id"


def test_embeddinggemma_is_known_by_what_is_in_its_folder_and_by_name_only_where_it_is_not_here(tmp_path: Path) -> None:
    for name in ("other", "embedding-gemma-2-notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": MODEL_TYPE}))
    assert of_name(str(tmp_path / "other")) is EMBEDDING_GEMMA and is_embeddinggemma(str(tmp_path / "other"))
    assert of_name(str(tmp_path / "embedding-gemma-2-notes")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model_path", "Qwen/Qwen3-VL-Embedding-2B", "--max_pixels", "9000"],
            "authors' sizes; --protocol own takes",
        ),
        (["--model_path", "lite", "--min_pixels", "9000", "--max_pixels", "9000"], "lite is loaded as it is"),
        (["--model_path", "siglip2", "--max_pixels", "9000"], "siglip2 takes no limits of pixels"),
        (["--model_path", "embeddinggemma-2", "--max_pixels", "9000"], "set them with --detail"),
        (["--model_path", "colpali", "--max_pixels", "9000"], "which is loaded as it is"),
        (["--model_path", "colqwen2", "--dim", "64"], "--dim would change nothing"),
        (["--model_path", "vlm2vec-v2", "--through_index", "--protocol", "own"], "words as Sightline does"),
        (["--model_path", "lite", "--rerank", "colpali"], "it is for --through_index"),
        (["--model_path", "vlm2vec-v2", "--through_index", "--max_pixels", "9000"], "words as Sightline does"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "would change nothing: " in last and message in last


def test_a_protocol_that_does_not_fit_a_model_is_refused_in_one_line(mmeb: Path, tmp_path: Path) -> None:
    for protocol in (VLM2VEC, LATE):
        with pytest.raises(RunError, match=f"cannot be scored by the protocol {protocol.name}"):
            run(select(["GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", protocol=protocol, rank=Rank())


def test_another_protocol_is_another_run_and_shares_no_vector(mmeb: Path, tmp_path: Path) -> None:
    embedder = HashEmbedder()

    def score(protocol: ScoringProtocol, name: str) -> int:
        tasks = select(["NExTQA"], overrides=protocol.declarations)
        (outcome,) = run(tasks, embedder, mmeb, tmp_path, tmp_path / "c", name=name, protocol=protocol, rank=Rank())
        return outcome.embedded

    assert score(OWN, "m") > 0 and score(OWN, "again") == 0
    with pytest.raises(RunError, match="protocol was 'own' and is 'qwen3-vl-embedding'"):
        score(QWEN3_VL, "m")
    assert score(QWEN3_VL, "other") > 0
    assert embedder.clip_rate == 2.0  # type: ignore[attr-defined]


def _columns(protocol: ScoringProtocol, version: Any = "current") -> list[str]:
    return [c.model for c in published.columns(version) if c.rules & protocol.figures]


def test_published_figures_stand_only_beside_runs_of_the_same_rules_and_data() -> None:
    board, ours, others = "Qwen3-VL-Embedding-2B", "VLM2Vec-V2.0-Qwen2VL-2B", ("GME-Qwen2-VL-7B", "ColPali-v1.3-3B")
    for name in (QWEN3_VL, GME, EMBEDDING_GEMMA, OWN):
        assert {board, ours} <= set(_columns(name)) and not set(others) & set(_columns(name))
    assert {ours, *others} <= set(_columns(LATE)) and board not in _columns(LATE)
    assert {board, ours, *others} <= set(_columns(VLM2VEC))
    assert board not in _columns(VLM2VEC, "paper") and board not in _columns(OWN, "paper")


def test_the_files_say_by_which_rules_and_on_which_data_a_column_was_made(mmeb: Path, tmp_path: Path) -> None:
    out = run(select(["GQA"]), HashEmbedder(), mmeb, tmp_path, tmp_path / "c", name="m", rank=Rank())
    leaderboard.write(tmp_path, "m", out, {"data_version": "current"}, "current", OWN)
    header = next(csv.reader(io.StringIO((tmp_path / "leaderboard.csv").read_text("utf-8"))))
    columns = [cell for cell in header if "(" in cell]
    assert columns and all(cell.endswith("protocol, current data)") for cell in columns)
    assert "VLM2Vec-V2.0-Qwen2VL-2B (repo_v2.0.1, benchmark's protocol, current data)" in columns
    assert "Protocol: own." in (tmp_path / "leaderboard.md").read_text("utf-8")
    alone = ScoringProtocol("own", figures=frozenset())
    leaderboard.write(tmp_path, "m", out, {"data_version": "current"}, "current", alone)
    assert "No published figures were made by the same rules" in (tmp_path / "leaderboard.md").read_text("utf-8")
    assert json.loads((tmp_path / "scores.json").read_text("utf-8"))["metadata"]["protocol"] == "own"


@pytest.mark.parametrize("changed", [["--protocol", "own"], ["--max_pixels", "50176"]], ids=["wording", "sizes"])
def test_own_settings_of_a_model_with_a_protocol_have_no_published_figures_beside_them(
    changed: list[str], mmeb: Path, tmp_path: Path
) -> None:
    tiny = Path(__file__).parents[1] / "model" / "parity" / "checkpoint"
    at = ["--data", str(mmeb), "--output_dir", str(tmp_path), "--cache_dir", str(tmp_path / "c"), "--device", "cpu"]
    assert main(["--model_path", str(tiny), *at, "--datasets", "OK-VQA", "--name", "t", *changed]) == 0
    header = next(csv.reader(io.StringIO((tmp_path / "leaderboard.csv").read_text("utf-8"))))
    assert header[-1] == "t"


def test_a_card_has_the_figure_that_the_leaderboard_shows_for_that_model() -> None:
    columns = {c.model: c.groups for c in published.columns("current")}
    models = {"vlm2vec-v2": "VLM2Vec-V2.0-Qwen2VL-2B", "gme-2b": "GME-Qwen2-VL-2B"}
    models |= {f"Qwen/{name}": name for name in ("Qwen3-VL-Embedding-2B", "Qwen3-VL-Embedding-8B")}
    models |= {"tencent/WeMM-Embedding-2B": "WeMM-Embedding-2B"}
    for card in CARDS:
        if card.name in models:
            own = columns[models[card.name]]
            scores = {key: round(own["all" if key == "overall" else key], 1) for key in card.scores}
            assert card.scores == scores, card.name


def test_every_protocol_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in PROTOCOLS)
