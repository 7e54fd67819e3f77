"""The 78 declarations against the protocol's fact sheet, and the readers against both."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from data.download.download import file_sets
from data.mmeb.frame_indices import raw_indices, sample_indices
from data.mmeb.frames import natural, saved_clip
from data.mmeb.readers import read_task
from data.mmeb.sources import TASK_REPOSITORIES
from data.mmeb.tables import read_rows, table_files
from data.mmeb.task import DataVersion, Task
from data.mmeb.task_data import DataBroken, DataMissing, ImageError
from eval.runner import how_to_get
from eval.task_list import GROUPS, UnknownDataset, all_tasks, select
from tests.eval.fixtures import build
from tests.media import draw_video

FACTS = yaml.safe_load((Path(__file__).parent / "mmeb_tasks.yaml").read_text("utf-8"))["tasks"]
BY_NAME = {task.name: task for task in all_tasks()}
QA = "Given a video and a question, select the most accurate answer from the provided candidates. "
QA += "Return only the exact text of your chosen answer. Question:"


def test_there_are_78_tasks_in_the_groups_of_the_benchmark() -> None:
    assert [f["name"] for f in FACTS] == [t.name for t in all_tasks()]
    assert {f["name"]: (f["modality"], f["group"]) for f in FACTS} == {
        t.name: (t.modality, t.group) for t in all_tasks()
    }
    assert set(GROUPS) == {t.group for t in all_tasks()}


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f["name"])
def test_a_declaration_says_what_the_fact_sheet_says(fact: dict[str, Any]) -> None:
    task = BY_NAME[fact["name"]]
    assert task.metric == fact["main_metric"]
    assert task.scope == fact["eval_type"]
    assert task.queries == fact["num_queries"]
    assert task.source.repo == fact["source"]["hub_repo"]
    assert task.source.split == fact["source"]["split"]
    assert task.graded == fact.get("relevance", "").startswith("graded")
    if task.name != "MomentSeeker":
        assert task.query.instruction == fact["query_instruction"]
    wanted = "" if fact["target_instruction"] == "(none)" else fact["target_instruction"]
    assert task.target.instruction == wanted


def _pattern(template: str, instructions: dict[str, str]) -> re.Pattern[str]:
    parts = re.split(r"(\{[^{}]+\})", template)
    return re.compile(
        "".join(
            re.escape(instructions.get(p, p)) if p in instructions or not p.startswith("{") else "(?s:.+?)"
            for p in parts
        )
    )


SPELT_OUT = {"V-QA"}  # templates with lists of options; see the tests below


@pytest.mark.parametrize("fact", [f for f in FACTS if f["group"] not in SPELT_OUT], ids=lambda f: f["name"])
def test_prompts_are_the_exact_strings_of_the_protocol(fact: dict[str, Any], mmeb: Path) -> None:
    data = read_task(BY_NAME[fact["name"]], mmeb)
    said = {"{instruction}": fact["query_instruction"], "{target_instruction}": fact["target_instruction"]}
    templates = [fact["query_template"]]
    if fact["name"] == "MomentSeeker":
        templates = [part.split(": ", 1)[1] for part in fact["query_template"].split("; ")]
        instructions = re.findall(r'(\w+) row: "([^"]+)"', fact["query_instruction"])
        patterns = [_pattern(t, {"{instruction}": i}) for t, (_, i) in zip(templates, instructions, strict=True)]
    else:
        patterns = [_pattern(fact["query_template"], said)]
    for query in data.queries:
        assert any(p.fullmatch(query.prompt) for p in patterns), query.prompt
    target = _pattern(fact["target_template"], said)
    for candidate in data.candidates:
        assert target.fullmatch(candidate.prompt), candidate.prompt
    assert data.notes == []
    bare = fact["target_instruction"] == "(none)"
    assert all((c.prompt == c.text and c.visual is None) == bare for c in data.candidates)


def test_an_image_query_drops_the_placeholder_and_keeps_its_line(mmeb: Path) -> None:
    query = read_task(BY_NAME["ImageNet-1K"], mmeb).queries[0]
    assert query.prompt == "<|image_pad|>\nRepresent the given image for classification\n"
    assert (query.text, query.instruction) == ("", "Represent the given image for classification")


def test_only_webqa_and_edis_keep_an_image_token_without_an_image(mmeb: Path) -> None:
    stray = set()
    for task in select(["image"]):
        for query in read_task(task, mmeb).queries:
            if query.prompt.startswith("<|image_pad|>") and query.visual is None:
                stray.add(task.name)
    assert stray == {"WebQA", "EDIS"}


def test_visdial_ends_in_two_newlines_and_grounding_targets_in_none(mmeb: Path) -> None:
    assert read_task(BY_NAME["VisDial"], mmeb).queries[0].prompt.endswith("A:yes\n\n")
    for name in ("CIRR", "NIGHTS", "FashionIQ", "MSCOCO", "RefCOCO", "Visual7W-Pointing"):
        assert not read_task(BY_NAME[name], mmeb).candidates[0].prompt.endswith("\n")
    assert read_task(BY_NAME["RefCOCO-Matching"], mmeb).candidates[0].prompt.endswith('"\n')


def test_a_question_with_trailing_spaces_keeps_them_before_the_final_newline(tmp_path: Path) -> None:
    task = BY_NAME["VizWiz"]
    build(tmp_path, [task])
    _rewrite(
        table_files(tmp_path, task.source.repo, task.name, "test")[0], lambda r: {**r, "qry_text": "what is it?  "}
    )
    assert read_task(task, tmp_path).queries[0].prompt.endswith("question: what is it?  \n")


@pytest.mark.parametrize("stored", ["<|image_1|> {}", "<|image_1|>\n{} ", "{}\n"])
def test_a_stored_question_instruction_is_stripped_onto_its_own_line(stored: str, tmp_path: Path) -> None:
    """The original's parser of questions does so, and only that one (and those of picture to picture)."""
    task = BY_NAME["OK-VQA"]
    build(tmp_path, [task])
    wanted_prompts = [q.prompt for q in read_task(task, tmp_path).queries]
    row = {"qry_inst": stored.format(task.query.instruction)}
    _rewrite(table_files(tmp_path, task.source.repo, task.name, "test")[0], lambda r: {**r, **row})
    assert [q.prompt for q in read_task(task, tmp_path).queries] == wanted_prompts


def test_an_empty_caption_among_others_leaves_its_space(tmp_path: Path) -> None:
    """The original decides by the first caption of a row whether its targets have captions."""
    task = BY_NAME["EDIS"]
    build(tmp_path, [task])
    _rewrite(
        table_files(tmp_path, task.source.repo, task.name, "test")[0],
        lambda r: {**r, "tgt_text": [r["tgt_text"][0], *[""] * (len(r["tgt_text"]) - 1)]},
    )
    data = read_task(task, tmp_path)
    assert data.candidates[1].prompt == f"<|image_pad|>\n{task.target.instruction} \n"


def _question(mmeb: Path, name: str) -> tuple[Any, list[Any], dict[str, Any]]:
    task = BY_NAME[name]
    data = read_task(task, mmeb)
    config = task.source.configs[0] if task.source.configs else None
    row = next(iter(read_rows(mmeb, task.source.repo, config, task.source.split)))
    return data.queries[0], [data.candidates[c] for c in data.local_candidates[0]], row  # type: ignore[index]


def test_mvbench_writes_its_options_in_brackets_on_both_sides(mmeb: Path) -> None:
    query, options, row = _question(mmeb, "MVBench")
    a, b, c, d = row["candidates"]
    assert query.prompt == f"<|video_pad|> {QA}  {row['question']}\nOptions:\n(A) {a}\n(B) {b}\n(C) {c}\n(D) {d}"
    assert [o.prompt for o in options] == [f"(A) {a}", f"(B) {b}", f"(C) {c}", f"(D) {d}"]


def test_video_mme_shows_letters_and_embeds_options_without_them(mmeb: Path) -> None:
    query, options, row = _question(mmeb, "Video-MME")
    assert query.prompt == f"<|video_pad|> {QA}  {row['question']}\n" + "\n".join(row["options"])
    cut = [o[3:-1] for o in row["options"][:3]]
    assert [o.prompt for o in options] == [*cut, "e"]  # "D.none" has no ". "


def test_nextqa_lists_five_columns_and_embeds_them_plain(mmeb: Path) -> None:
    query, options, row = _question(mmeb, "NExTQA")
    plain = [row[f"a{i}"] for i in range(5)]
    listed = "\n".join(f"({'ABCDE'[i]}) {plain[i]}" for i in range(5))
    assert query.prompt == f"<|video_pad|> {QA}  {row['question']}\nOptions:\n{listed}"
    assert [o.prompt for o in options] == plain


def test_egoschema_glues_the_question_to_option_a(mmeb: Path) -> None:
    query, options, row = _question(mmeb, "EgoSchema")
    assert query.prompt == f"<|video_pad|> {QA}  {row['question']}" + " ".join(row["option"])
    assert [o.prompt for o in options] == [o[3:] for o in row["option"]]


def test_activitynetqa_appends_a_question_mark_and_offers_yes_and_no(mmeb: Path) -> None:
    query, options, row = _question(mmeb, "ActivityNetQA")
    assert query.prompt == f"<|video_pad|> {QA}  {row['question']}? (A) yes; (B) no."
    assert [o.prompt for o in options] == ["yes", "no"]


@pytest.mark.parametrize("task", select(["V-QA"]), ids=lambda t: t.name)
def test_the_right_answer_of_a_question_is_the_one_the_row_names(task: Task, mmeb: Path) -> None:
    data = read_task(task, mmeb)
    rows = []
    for config in task.source.configs or (None,):
        rows += list(read_rows(mmeb, task.source.repo, config, task.source.split))
    for i, row in enumerate(rows):
        (right,) = data.relevant[i]
        answer = row["answer"]
        wanted = {
            "MVBench": lambda: f"({'ABCD'[row['candidates'].index(answer)]}) {answer}",  # noqa: B023
            "Video-MME": lambda: row["options"]["ABCD".index(answer)],  # noqa: B023
            "NExTQA": lambda: row[f"a{answer}"],  # noqa: B023
            "EgoSchema": lambda: row["option"][int(answer)],  # noqa: B023
            "ActivityNetQA": lambda: answer,  # noqa: B023
        }[task.name]()
        assert data.keys[right] == wanted
        assert data.local_candidates is not None and right in data.local_candidates[i]


def test_an_answer_that_is_no_option_costs_its_row_and_of_equal_options_the_last_is_right(tmp_path: Path) -> None:
    task = BY_NAME["MVBench"]
    build(tmp_path, [task])
    changes = ({"answer": "nowhere"}, {"candidates": ["same", "other", "same"], "answer": "same"})
    for config, change in zip(task.source.configs, changes, strict=False):
        (table,) = table_files(tmp_path, task.source.repo, config, "train")
        rows = list(read_rows(tmp_path, task.source.repo, config, "train"))
        table.write_text(json.dumps([{**row, **change} for row in rows]), "utf-8")
    data = read_task(task, tmp_path)
    assert (data.relevant[0], data.missing[0]) == ({}, 1)
    assert [data.keys[c] for c in data.relevant[1]] == ["(C) same"]
    assert any("1 answers are none of their row's options" in note and "row 1" in note for note in data.notes)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("GQA", {"qry_img_path": None}),
        ("GQA", {"tgt_text": []}),
        ("CIRR", {"tgt_img_path": []}),
        ("OK-VQA", {"qry_text": 5}),
        ("MSVD", {"caption": None}),
        ("MomentSeeker", {"positive_frames": None}),
    ],
)
def test_a_row_that_is_not_as_declared_names_the_table_it_is_in(
    name: str, change: dict[str, Any], tmp_path: Path
) -> None:
    """One error class: the run leaves the task out and goes on with the other 77."""
    task = BY_NAME[name]
    build(tmp_path, [task])
    config = task.source.configs[0] if task.source.configs else None
    _rewrite(table_files(tmp_path, task.source.repo, config, task.source.split)[0], lambda r: {**r, **change})
    with pytest.raises(DataBroken, match=f"{name}: a row of {task.source.repo} is not as declared"):
        read_task(task, tmp_path)


def test_a_task_none_of_whose_clips_is_there_is_missing(tmp_path: Path) -> None:
    task = BY_NAME["QVHighlight"]
    build(tmp_path, [task])
    assert task.media is not None
    for folder in (tmp_path / task.media.repo / task.media.folder).iterdir():
        shutil.rmtree(folder)
    with pytest.raises(DataMissing, match="it has no candidates"):
        read_task(task, tmp_path)


def test_judgements_that_fit_no_query_are_no_score_of_zero(tmp_path: Path) -> None:
    task = BY_NAME["ViDoRe_docvqa"]
    build(tmp_path, [task])
    qrels = table_files(tmp_path, task.source.repo, "qrels", "test")[0]
    judged = pq.read_table(qrels).to_pylist()
    pq.write_table(pa.Table.from_pylist([r for r in judged if r["query-id"] != judged[0]["query-id"]]), qrels)
    assert "1 queries have no relevant page and count as missed" in read_task(task, tmp_path).notes
    _rewrite(qrels, lambda r: {**r, "query-id": f"q{r['query-id']}"})
    with pytest.raises(DataBroken, match="not one of its 4 queries has its right answer"):
        read_task(task, tmp_path)


def test_local_tasks_offer_the_rows_own_list_with_the_true_candidate_first(mmeb: Path) -> None:
    for task in select(["image"]):
        data = read_task(task, mmeb)
        assert data.local_candidates is not None
        assert all(list(r) == [o[0]] for r, o in zip(data.relevant, data.local_candidates, strict=True)), task.name


def test_candidates_with_one_key_are_embedded_once_and_the_first_wins(tmp_path: Path) -> None:
    task = BY_NAME["WebQA"]
    build(tmp_path, [task])
    table = table_files(tmp_path, task.source.repo, task.name, "test")[0]
    _rewrite(table, lambda r: {**r, "tgt_text": [f"{t} of {r['qry_text']}" for t in r["tgt_text"]]})
    data = read_task(task, tmp_path)
    assert len(data.keys) == 5
    first = next(iter(read_rows(tmp_path, task.source.repo, task.name, "test")))
    assert data.candidates[0].text == first["tgt_text"][0]


def test_objects_of_one_image_are_candidates_of_their_own(mmeb: Path) -> None:
    data = read_task(BY_NAME["RefCOCO-Matching"], mmeb)
    assert len({c.visual for c in data.candidates}) == 2
    assert len(data.keys) == 5
    assert data.local_candidates is not None and len(data.local_candidates[0]) == 7  # one candidate listed twice


def test_video_labels_come_from_the_fixed_list_and_from_the_rows(tmp_path: Path) -> None:
    task = BY_NAME["Breakfast"]
    build(tmp_path, [task])
    _rewrite(table_files(tmp_path, task.source.repo, None, "test")[0], lambda r: {**r, "pos_text": "toast"})
    data = read_task(task, tmp_path)
    assert len(data.keys) == 11 and "toast" in data.keys and data.local_candidates is None


def test_graded_judgements_keep_the_highest_of_a_repeated_pair_and_drop_zero(mmeb: Path) -> None:
    data = read_task(BY_NAME["ViDoSeek-doc"], mmeb)
    assert list(data.relevant[0].values()) == [3.0, 2.0, 2.0]


def test_momentseeker_rows_bring_words_an_image_or_a_clip(mmeb: Path) -> None:
    data = read_task(BY_NAME["MomentSeeker"], mmeb)
    assert [q.visual and q.visual.kind for q in data.queries] == [None, "image", "video", None]
    assert [len(r) for r in data.relevant] == [1, 1, 1, 2]


def test_clips_show_eight_frames_from_the_first_to_the_last() -> None:
    assert sample_indices(64, 8) == [0, 9, 18, 27, 36, 45, 54, 63]
    assert sample_indices(10, 8) == [0, 1, 2, 3, 5, 6, 7, 9]
    assert sample_indices(5, 8) == [0, 1, 2, 3, 4]
    assert sample_indices(70, None) == list(range(70))
    assert sorted(["frame_10.jpg", "frame_9.jpg", "Frame_1.jpg"], key=natural) == [
        "Frame_1.jpg",
        "frame_9.jpg",
        "frame_10.jpg",
    ]


def test_a_raw_video_shows_the_frames_that_the_benchmarks_code_would_save_and_show(tmp_path: Path) -> None:
    """450 frames: 64 of them by floor, of these the eight. Each frame is three times as grey as its number."""
    assert raw_indices(450, 8) == [0, 63, 126, 189, 253, 316, 379, 442]
    assert raw_indices(64, 8) == sample_indices(64, 8) and raw_indices(5, 8) == [0, 1, 2, 3, 4]
    grey = lambda second: Image.new("RGB", (64, 64), (round(90 * second),) * 3)  # noqa: E731
    draw_video(tmp_path / "clip.mp4", seconds=80 / 30, fps=30, size=(64, 64), frame=grey)
    frames = saved_clip(tmp_path / "clip", 8).read()
    assert [round(frame.mean() / 3) for frame in frames] == raw_indices(80, 8)


def test_a_clip_without_frames_is_an_error_only_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="cannot be opened"):
        saved_clip(tmp_path / "empty", 8).read()


def test_every_picture_of_every_task_can_be_read(mmeb: Path) -> None:
    seen = set()
    for task in all_tasks():
        data = read_task(task, mmeb)
        for item in [*data.queries, *data.candidates]:
            if item.visual is None or item.visual in seen:
                continue
            seen.add(item.visual)
            frames = item.visual.read()
            assert len(frames) >= 1 and frames[0].shape == (56, 56, 3)
    assert len(seen) > 500


def test_wording_that_differs_in_the_data_is_used_and_named(tmp_path: Path) -> None:
    task = BY_NAME["NIGHTS"]
    build(tmp_path, [task])
    table = table_files(tmp_path, task.source.repo, task.name, "test")[0]
    _rewrite(table, lambda r: {**r, "tgt_inst": "<|image_1|>\nRepresent the given image.\n"})
    data = read_task(task, tmp_path)
    assert data.candidates[0].prompt == "<|image_pad|>\nRepresent the given image.\n"
    assert len(data.notes) == 1 and "target wording" in data.notes[0]


def test_rows_without_instructions_get_the_declared_ones(tmp_path: Path) -> None:
    for name in ("ImageNet-1K", "OK-VQA", "VisDial", "CIRR", "EDIS", "RefCOCO"):
        task = BY_NAME[name]
        build(tmp_path, [task])
        with_stored = read_task(task, tmp_path)
        drop = lambda r: {k: v for k, v in r.items() if not k.endswith("_inst")}  # noqa: E731
        _rewrite(table_files(tmp_path, task.source.repo, task.name, "test")[0], drop)
        without = read_task(task, tmp_path)
        assert [q.prompt for q in without.queries] == [q.prompt for q in with_stored.queries]
        assert [c.prompt for c in without.candidates] == [c.prompt for c in with_stored.candidates]


def test_the_papers_data_are_other_repositories() -> None:
    changed = {
        t.name: (p.source.repo, t.source.repo)
        for t, p in zip(all_tasks(), all_tasks("paper"), strict=True)
        if t.source != p.source
    }
    assert changed == {
        "MomentSeeker": ("VLM2Vec/MomentSeeker_1k8", "VLM2Vec/MomentSeeker"),
        "ViDoSeek-page": ("VLM2Vec/ViDoSeek-page", "VLM2Vec/ViDoSeek-page-fixed"),
        "MMLongBench-page": ("VLM2Vec/MMLongBench", "VLM2Vec/MMLongBench-page-fixed"),
    }


def test_the_list_for_downloads_is_the_declarations_list() -> None:
    assert {t.name: t.repositories for t in all_tasks()} == dict(TASK_REPOSITORIES)


@pytest.mark.parametrize("version", ["current", "paper"])
def test_the_command_that_is_advised_fetches_what_is_missing(version: DataVersion, tmp_path: Path) -> None:
    for task in all_tasks(version):
        with pytest.raises(DataMissing) as caught:
            read_task(task, tmp_path)
        advised = how_to_get(caught.value, tmp_path, task).split("--only ")[1].split()
        assert set(task.repositories) <= {one.repo for one in file_sets(advised)}, task.name
    assert "VLM2Vec/MomentSeeker_1k8" not in {one.repo for one in [*file_sets(), *file_sets(["mmeb-eval"])]}


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["all"], 78),
        (["image"], 36),
        (["video"], 18),
        (["visdoc"], 24),
        (["I-VG"], 4),
        (["vidore-v1"], 10),
        (["mscoco", "K700"], 2),
    ],
)
def test_names_stand_for_tasks_groups_and_modalities(asked: list[str], count: int) -> None:
    assert len(select(asked)) == count


@pytest.mark.parametrize(
    ("asked", "offered"),
    [("ImageNet1K", "ImageNet-1K"), ("msrvtt", "MSR-VTT"), ("ViDoRe_docvq", "ViDoRe_docvqa"), ("vidio", "video")],
)
def test_an_unknown_name_is_answered_with_the_nearest(asked: str, offered: str) -> None:
    with pytest.raises(UnknownDataset, match=re.escape(offered)):
        select([asked])


def test_missing_data_name_the_repository_that_holds_them(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        read_task(BY_NAME["ViDoRe_docvqa"], tmp_path)
    assert caught.value.repositories == ("vidore/docvqa_test_subsampled_beir",)
    build(tmp_path, [BY_NAME["HMDB51"]])
    shutil.rmtree(tmp_path / "TIGER-Lab")
    with pytest.raises(DataMissing) as caught:
        read_task(BY_NAME["HMDB51"], tmp_path)
    assert caught.value.repositories == ("TIGER-Lab/MMEB-V2",)


@pytest.mark.parametrize("name", ["K700", "MSVD"])
def test_media_may_lie_a_folder_deeper(name: str, tmp_path: Path) -> None:
    task = BY_NAME[name]
    build(tmp_path, [task])
    assert task.media is not None
    declared = tmp_path / task.media.repo / task.media.folder
    deeper = declared.parent / "unpacked" / declared.name
    deeper.parent.mkdir()
    declared.rename(deeper)
    data = read_task(task, tmp_path)
    visual = next(i.visual for i in (*data.queries, *data.candidates) if i.visual)
    assert str(deeper) in visual.images[0].source and visual.read()
    shutil.rmtree(deeper)
    with pytest.raises(DataMissing, match="is not there"):
        read_task(task, tmp_path)


@pytest.mark.parametrize("name", ["GQA", "MSVD", "ViDoRe_arxivqa"])
def test_a_truncated_parquet_is_named(name: str, tmp_path: Path) -> None:
    task = BY_NAME[name]
    build(tmp_path, [task])
    table = next((tmp_path / task.source.repo).rglob("*.parquet"))
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    with pytest.raises(DataBroken, match=re.escape(table.name)):
        read_task(task, tmp_path)


def test_a_missing_column_is_named_with_the_ones_there(tmp_path: Path) -> None:
    task = BY_NAME["MSVD"]
    build(tmp_path, [task])
    _rewrite(table_files(tmp_path, task.source.repo, None, "test")[0], lambda r: {"video": "a", "text": "b"})
    with pytest.raises(DataBroken, match=r"no column 'video_id'; it has video, text"):
        read_task(task, tmp_path)


@pytest.mark.parametrize("layout", ["header", "data/test-x.jsonl", "test.json", "test.csv"])
def test_tables_are_found_in_the_layouts_of_the_hub(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "o" / "r"
    (folder / "data").mkdir(parents=True)
    rows = [{"a": "1"}, {"a": "2"}]
    if layout == "header":
        (folder / "odd").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "odd" / "name.parquet")
        entry = "- config_name: default\n  data_files:\n  - split: test\n    path: odd/*.parquet\n"
        (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{entry}---\ntext", "utf-8")
    elif layout.endswith("jsonl"):
        (folder / layout).write_text("\n".join(map(json.dumps, rows)), "utf-8")
    elif layout.endswith("csv"):
        (folder / layout).write_text("a\n1\n2\n", "utf-8")
    else:
        (folder / layout).write_text(json.dumps(rows), "utf-8")
    assert list(read_rows(tmp_path, "o/r", None, "test")) == rows


def test_a_header_may_name_several_files_of_a_split(tmp_path: Path) -> None:
    folder = tmp_path / "o" / "r"
    (folder / "odd").mkdir(parents=True)
    for name in "ab":
        pq.write_table(pa.Table.from_pylist([{"x": name}]), folder / "odd" / f"{name}.parquet")
    entry = "- config_name: default\n  data_files:\n  - split: test\n    path: [odd/b.parquet, odd/a.parquet]\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{entry}---\n", "utf-8")
    assert [row["x"] for row in read_rows(tmp_path, "o/r", None, "test")] == ["a", "b"]


def test_a_field_too_long_for_csv_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "o" / "r" / "test.csv"
    path.parent.mkdir(parents=True)
    path.write_text("a\n" + "x" * 200_000 + "\n", "utf-8")
    with pytest.raises(DataBroken, match=r"test\.csv cannot be read"):
        list(read_rows(tmp_path, "o/r", None, "test"))


def _rewrite(table: Path, change: Any) -> None:
    pq.write_table(pa.Table.from_pylist([change(row) for row in pq.read_table(table).to_pylist()]), table)
