"""Rows of the 25 declared subsets become pairs with the original's exact prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.media.image import read_image
from data.mmeb.task_data import ImageFile, TaskVisual
from data.sources.pair import IMAGE, VIDEO, Media, MissingMedia, Pair, Side, SourceError, load
from data.sources.recipe import open_subset, subsets

MMEB = "TIGER-Lab/MMEB-train"


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def mmeb_row(**fields: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path"), "")
    return empty | fields


def one_pair(name: str, root: Path, row: int = 0) -> Pair:
    return open_subset(name, root)[row]


def test_all_25_subsets_are_declared_with_weights_that_sum_to_52() -> None:
    assert len(subsets()) == 25
    assert sum(s.weight for s in subsets().values()) == 52
    assert [s.parser for s in subsets().values()].count("mmeb") == 20
    assert all(s.licence for s in subsets().values())


@pytest.mark.parametrize("emptied", ["qry", "pos_text"])
def test_a_row_with_an_empty_side_is_skipped_as_in_the_original(tmp_path: Path, emptied: str) -> None:
    row = mmeb_row(**({"qry": "asked", "pos_text": "answered"} | {emptied: ""}))
    write_parquet(tmp_path / MMEB / "WebQA/original-00000-of-00001.parquet", [row])
    with pytest.raises(MissingMedia, match="WebQA, row 0: its query or its target is empty"):
        one_pair("WebQA", tmp_path)


def test_mmeb_rows_keep_their_words_and_newlines(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / MMEB / "ImageNet_1K/original-00000-of-00001.parquet",
        [
            mmeb_row(
                qry="<|image_1|>\nRepresent the given image for classification\n",
                qry_image_path="ImageNet_1K/Train/a.jpg",
                pos_text="tench",
                neg_text="goldfish",
            )
        ],
    )
    picture = tmp_path / MMEB / "images/ImageNet_1K/Train/a.jpg"
    pair = one_pair("ImageNet_1K", tmp_path)
    assert pair.query.text == "<|image_pad|>\nRepresent the given image for classification\n"
    assert pair.query.media is not None and pair.query.media.path == str(picture)
    assert (pair.positive.text, pair.positive.media) == ("tench", None)
    assert [n.text for n in pair.negatives] == ["goldfish"]
    assert pair.query.exact and pair.positive.exact
    assert (pair.source, pair.row) == ("ImageNet_1K", 0)


def test_mmeb_stray_image_tokens_stay_without_a_picture(tmp_path: Path) -> None:
    """WebQA queries hold the placeholder but no image: the model has seen it as an ordinary token."""
    write_parquet(
        tmp_path / MMEB / "WebQA/original-00000-of-00001.parquet",
        [mmeb_row(qry="<|image_1|>\nFind a Wikipedia image …\n", pos_text="x", pos_image_path="WebQA/1.jpg")],
    )
    pair = one_pair("WebQA", tmp_path)
    assert pair.query.text.startswith("<|image_pad|>\n")
    assert pair.query.media is None


def test_colpali_is_page_question_answering(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "vidore/colpali_train_set/data/train-00000-of-00001.parquet",
        [{"query": "What?", "image": {"bytes": b"png", "path": "p.png"}, "answer": "['ten']", "prompt": "no"}],
    )
    pair = one_pair("colpali_train_set", tmp_path)
    assert (pair.query.text, pair.positive.text) == ("<|image_pad|> What?", "['ten']")
    assert pair.query.media is not None and pair.query.media.data == b"png"


def test_visrag_prompts_have_the_originals_spaces(tmp_path: Path) -> None:
    rows = [
        {"query": "how?", "image": {"bytes": b"1", "path": None}, "source": "SlideVQA"},
        {"query": "why?", "image": {"bytes": b"2", "path": None}, "source": "Elsewhere"},
    ]
    write_parquet(tmp_path / "openbmb/VisRAG-Ret-Train-In-domain-data/data/train-0.parquet", rows)
    slide, other = (one_pair("visrag-indomain", tmp_path, row) for row in (0, 1))
    assert slide.query.text.endswith("to the query:  how? ")
    assert slide.positive.text == ("A presentation slide with text, bullet points, and diagrams.  <|image_pad|>")
    assert (other.query.text, other.positive.text) == ("why? ", " <|image_pad|>")
    assert slide.positive.key != other.positive.key


@pytest.fixture
def hound(tmp_path: Path) -> Path:
    folder = tmp_path / "ShareGPTVideo/train_video_and_instruction/video_instruction/train/sft"
    folder.mkdir(parents=True)
    asked = {"from": "human", "value": "<video>\nWhat is shown?"}
    row = {"id": "1", "video": "v_1", "conversations": [asked, {"from": "gpt", "value": "A cat."}]}
    for name in ("video_caption_300k", "video_240k_caption_15k"):
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "name, query, target",
    [
        ("video_caption_300k", "<|video_pad|>\nWhat is shown?", "A cat."),
        (
            "video_caption_300k-video",
            "Find a video that contains the following visual content: A cat.",
            "Understand the content of the provided video: <|video_pad|>",
        ),
        ("video_qa_240k", "Answer a question based on the content of a video. <|video_pad|>\nWhat is shown?", "A cat."),
    ],
)
def test_llava_hound_in_its_three_directions(hound: Path, name: str, query: str, target: str) -> None:
    pair = one_pair(name, hound)
    assert (pair.query.text, pair.positive.text) == (query, target)
    clip = pair.positive.media if name.endswith("-video") else pair.query.media
    assert clip is not None and clip.kind == "frames"
    assert clip.path.endswith("train_video_and_instruction/train_300k/v_1")


def test_only_the_declared_number_of_rows_is_read(tmp_path: Path) -> None:
    rows = [mmeb_row(qry=str(i), pos_text="x") for i in range(9)]
    write_parquet(tmp_path / MMEB / "VOC2007/original-00000-of-00001.parquet", rows)
    source = open_subset("VOC2007", tmp_path, limit=5)
    assert len(source) == 5 and source.groups.tolist() == [2, 2, 1]
    assert [source[i].query.text for i in (4, 0, 3)] == ["4", "0", "3"]


def test_a_subset_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.download --root .* --only train/WebQA"):
        open_subset("WebQA", tmp_path)
    with pytest.raises(SourceError, match="did you mean WebQA"):
        open_subset("WebQa", tmp_path)


def test_a_corrupt_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / MMEB / "VOC2007/original-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match=r"original-00000-of-00001\.parquet is not a readable Parquet file"):
        open_subset("VOC2007", tmp_path)


def test_a_parquet_file_broken_inside_is_named_when_the_row_is_read(tmp_path: Path) -> None:
    rows = [mmeb_row(qry="words " * 50 + str(i), pos_text="x") for i in range(500)]
    path = write_parquet(tmp_path / MMEB / "VOC2007/original-00000-of-00001.parquet", rows, group=250)
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes(200) + whole[240:])
    with pytest.raises(SourceError, match=r"row group 0 cannot be read|not as declared"):
        open_subset("VOC2007", tmp_path)[3]


def test_parquet_with_other_columns_is_refused_with_their_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / MMEB / "VOC2007/original-0.parquet", [{"question": "?"}])
    with pytest.raises(SourceError, match=r"has no column qry, .*it has question"):
        open_subset("VOC2007", tmp_path)


def test_equal_labels_have_equal_keys_and_others_do_not(tmp_path: Path) -> None:
    rows = [mmeb_row(qry="q", pos_text=label) for label in ("dog", "dog", "cat")]
    write_parquet(tmp_path / MMEB / "VOC2007/original-0.parquet", rows)
    keys = [one_pair("VOC2007", tmp_path, i).positive.key for i in range(3)]
    assert keys[0] == keys[1] != keys[2]
    assert all(0 <= key < np.iinfo(np.int64).max for key in keys)


def _hostile(folder: Path) -> list[Path]:
    """Pictures that a friendly reader turns, lays on white or rescales, and the benchmark does not."""
    colours = np.random.default_rng(0).integers(0, 255, (30, 46, 4), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colours[..., :3]).save(folder / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(colours, "RGBA").save(folder / "clear.png")
    Image.fromarray(colours, "RGBA").save(folder / "clear.webp", lossless=True)
    Image.fromarray(colours[..., 0].astype(np.uint16) * 200).save(folder / "sixteen.png")
    Image.fromarray(colours[..., :3]).convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(colours[..., :3]).save(folder / "plain.png")
    return sorted(folder.iterdir())


def test_the_recipe_trains_on_the_pixels_that_evaluation_sees(tmp_path: Path) -> None:
    """The original's `convert("RGB")` for both; a person's own pictures are decoded as Sightline indexes them."""
    differing = set()
    for path in _hostile(tmp_path):
        (seen,) = TaskVisual("image", (ImageFile(path),)).read()
        with Image.open(path) as image:
            assert (seen == np.asarray(image.convert("RGB"))).all()
        for media in (Media("image", str(path)), Media("image", "in a table", path.read_bytes())):
            (trained,) = load(Side(IMAGE, media, exact=True)).frames
            assert trained.shape == seen.shape and (trained == seen).all()
        (own,) = load(Side("", Media("image", str(path)))).frames
        assert (own == read_image(path)).all()
        if own.shape != seen.shape or (own != seen).any():
            differing.add(path.name)
    assert {"turned.jpg", "clear.png", "sixteen.png"} <= differing and "plain.png" not in differing

    frames = tmp_path / "clip"
    frames.mkdir()
    (tmp_path / "turned.jpg").rename(frames / "0.jpg")
    (frame,) = load(Side(VIDEO, Media("frames", str(frames)), exact=True)).frames
    assert frame.shape == (30, 46, 3)
    (frames / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(MissingMedia, match="is not a readable image"):
        load(Side(VIDEO, Media("frames", str(frames)), exact=True))
