"""All 78 tasks in miniature: folders and tables shaped like the real sources, with made-up content.

`build(root, tasks)` writes them; the layout is the one `python -m data.download` leaves
(the hub's repositories as they are, media archives unpacked). The wording is the declared
one, pictures are coloured patterns of 56 × 56.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data.mmeb.task import Task

ROWS = 4
WORDS = [
    "amber",
    "boat",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "iris",
    "jetty",
    "kiln",
    "lagoon",
    "meadow",
    "north",
    "opal",
    "pier",
]


def picture(seed: int, side: int = 56) -> Image.Image:
    """Stripes and a block in colours that depend on `seed`."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3), np.uint8) + rng.integers(0, 256, 3, dtype=np.uint8)
    pixels[:: int(rng.integers(2, 9))] = rng.integers(0, 256, 3, dtype=np.uint8)
    x, y = rng.integers(0, side // 2, 2)
    pixels[y : y + side // 3, x : x + side // 3] = rng.integers(0, 256, 3, dtype=np.uint8)
    return Image.fromarray(pixels)


def png(seed: int) -> bytes:
    out = io.BytesIO()
    picture(seed).save(out, "PNG")
    return out.getvalue()


def phrase(seed: int, words: int = 3) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, words)) + f" {seed}"


def build(root: Path, tasks: Sequence[Task]) -> None:
    """Write every task of `tasks` under `root`."""
    for number, task in enumerate(tasks):
        SHAPES[task.reader](root, task, 1000 * (number + 1))


def _table(root: Path, task: Task, config: str | None, rows: list[dict[str, Any]], **kinds: pa.DataType) -> Path:
    folder = root / task.source.repo / (config or "data")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.source.split}-00000-of-00001.parquet"
    table = pa.Table.from_pylist(rows)
    for name, kind in kinds.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, path, row_group_size=3)
    return path


def _media(root: Path, task: Task) -> Path:
    assert task.media is not None
    folder = root / task.media.repo / task.media.folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _image(media: Path, path: str, seed: int) -> str:
    (media / path).parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(media / path)
    return path


def _frames(folder: Path, seed: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(seed * 100 + i).save(folder / f"frame_{i + 1}.jpg", quality=80)


def _stored(wording: Any, token: bool = True) -> str:
    return ("<|image_1|>\n" if token else "") + wording.instruction


def _image_rows(root: Path, task: Task, seed: int, make: Any) -> None:
    media = _media(root, task)
    _table(root, task, task.source.configs[0], [make(media, i, seed + 10 * i) for i in range(ROWS)])


def _image_to_text(root: Path, task: Task, seed: int) -> None:
    labels = [phrase(seed + i, 1) for i in range(5)]

    def row(media: Path, i: int, own: int) -> dict[str, Any]:
        said = phrase(own) if "{text}" in task.query.template else ""
        return {
            "qry_inst": _stored(task.query),
            "qry_text": said,
            "qry_img_path": _image(media, f"{task.name}/q{i}.png", own),
            "tgt_text": [labels[(i + j) % 5] for j in range(5)],
        }

    _image_rows(root, task, seed, row)


def _text_to_image(root: Path, task: Task, seed: int) -> None:
    stray = task.query.template.startswith("<|image_pad|>")
    captioned = "{text}" in task.target.template

    def row(media: Path, i: int, own: int) -> dict[str, Any]:
        paths = [_image(media, f"{task.name}/t{(i + j) % 5}.png", seed + (i + j) % 5) for j in range(5)]
        return {
            "qry_inst": _stored(task.query, token=stray),
            "qry_text": f"Q:{phrase(own)}\nA:yes" if task.name == "VisDial" else phrase(own),
            "tgt_inst": _stored(task.target),
            "tgt_text": [phrase(seed + (i + j) % 5) if captioned else "" for j in range(5)],
            "tgt_img_path": paths,
        }

    _image_rows(root, task, seed, row)


def _image_to_image(root: Path, task: Task, seed: int) -> None:
    asked = "{text}" in task.query.template
    captioned = "{text}" in task.target.template
    quoted = task.group == "I-VG"

    def said(own: int) -> str:
        return f'"{phrase(own)}"' if quoted else phrase(own)

    def row(media: Path, i: int, own: int) -> dict[str, Any]:
        # RefCOCO-Matching: several objects of one image, and one candidate listed twice.
        shared = task.name == "RefCOCO-Matching"
        order = [(i + j) % 5 for j in range(5)] + ([i, (i + 1) % 5] if shared else [])
        return {
            "qry_inst": _stored(task.query),
            "qry_text": said(seed + i if shared else own) if asked else "",
            "qry_img_path": _image(media, f"{task.name}/q{i}.png", own),
            "tgt_inst": _stored(task.target),
            "tgt_text": [said(seed + j) if captioned else "" for j in order],
            "tgt_img_path": [_image(media, f"{task.name}/t{j % 2 if shared else j}.png", seed + j) for j in order],
        }

    _image_rows(root, task, seed, row)


def _classification(root: Path, task: Task, seed: int) -> None:
    media = _media(root, task)
    labels = list(task.labels[:6]) or ["Holding pen", "Moving cup up", "Opening box", "Tearing paper"]
    rows = []
    for i in range(ROWS):
        _frames(media / f"vid_{i}", seed + i, (10, 8, 3, 1)[i])
        rows.append({"video_id": f"vid_{i}", "pos_text": labels[i]})
        if "candidates" in task.columns:
            rows[-1]["neg_text"] = [labels[(i + j) % 4] for j in range(4)]
    _table(root, task, None, rows)


def _questions(root: Path, task: Task, seed: int) -> None:
    media = _media(root, task)
    configs = task.source.configs or (None,)
    for c, config in enumerate(configs):
        rows: list[dict[str, Any]] = []
        for i in range(ROWS if len(configs) == 1 else 1):
            own = seed + 20 * c + i
            plain = [phrase(own * 7 + j, 2) for j in range(4)]
            right = (own + 1) % 4
            place = f"clip{i}" if task.name != "NExTQA" else str(4000 + i)
            name = {"video": place, "question": phrase(own, 5)}
            row: dict[str, Any]
            if task.name == "MVBench":
                row = {**name, "candidates": plain, "answer": plain[right]}
                folder = f"{config}/{place}"
            elif task.name == "Video-MME":
                lettered = [f"{'ABCD'[j]}. {plain[j]}." for j in range(4)]
                lettered[3] = "D.none"  # no ". ": only its last character is left
                row = {
                    "videoID": place,
                    "question": name["question"],
                    "options": lettered,
                    "answer": "ABCD"[right],
                    "question_id": f"00{i}-1",
                    "domain": "Knowledge",
                    "sub_category": "History",
                }
                folder = place
            elif task.name == "NExTQA":
                row = {**name, "answer": right, "qid": i, "type": "CW", "video": int(place)}
                row |= {f"a{j}": text for j, text in enumerate([*plain, phrase(own * 7 + 4, 2)])}
                folder = place
            elif task.name == "EgoSchema":
                options = [f"{'ABCDE'[j]}. {text}" for j, text in enumerate([*plain, phrase(own * 7 + 4, 2)])]
                row = {"video_idx": place, "question": name["question"], "answer": str(right)}
                row |= {"question_idx": str(i), "option": options}
                folder = place
            else:
                row = {"video_name": place, "question": name["question"], "answer": ("yes", "no")[i % 2]}
                row |= {"question_id": f"{place}_{i}"}
                folder = f"v_{place}"
            _frames(media / folder, own, 9 if i == 0 else 4)
            rows.append(row)
        if task.name == "MVBench":
            # That repository keeps one JSON file a config, which its README header names.
            folder_ = root / task.source.repo
            (folder_ / "json").mkdir(parents=True, exist_ok=True)
            (folder_ / "json" / f"{config}.json").write_text(json.dumps(rows), "utf-8")
        else:
            _table(root, task, config, rows)
    if task.name == "MVBench":
        header = "configs:\n" + "".join(
            f"- config_name: {c}\n  data_files:\n  - split: train\n    path: json/{c}.json\n" for c in configs
        )
        (root / task.source.repo / "README.md").write_text(f"---\n{header}---\n# Made up\n", "utf-8")


def _retrieval(root: Path, task: Task, seed: int) -> None:
    media = _media(root, task)
    rows = []
    for i in range(ROWS):
        key, caption = f"video{i}", phrase(seed + i, 4)
        listed: dict[str, Any] = {
            "DiDeMo": {"video": f"videos/{key}.mp4", "caption": caption},
            "MSR-VTT": {"video_id": key, "video": f"{key}.mp4", "caption": caption},
            "MSVD": {"video_id": key, "video": f"{key}.avi", "caption": [caption, "another one"]},
            "VATEX": {"videoID": key, "enCap": [caption, "another one"]},
            "YouCook2": {"id": key, "video_path": f"val/{key}.mp4", "sentence": caption},
        }[task.name]
        _frames(media / key, seed + i, 12 if i == 0 else 5)
        rows.append(listed)
    _table(root, task, task.source.configs[0] if task.source.configs else None, rows)


def _moment_folders(root: Path, task: Task, seed: int) -> None:
    media = _media(root, task)
    rows = []
    for i in range(ROWS):
        _frames(media / f"film_{i}" / "query", seed + 50 * i, 10)
        _frames(media / f"film_{i}" / "positive_0", seed + 50 * i + 1, 3)
        for j in range(3):
            _frames(media / f"film_{i}" / f"negative_{j}", seed + 50 * i + 2 + j, 2)
        rows.append({"query": phrase(seed + i, 4), "video_path": f"videos/film_{i}.mp4"})
    _table(root, task, None, rows)


def _moment_rows(root: Path, task: Task, seed: int) -> None:
    media = _media(root, task)
    rows = []
    for i in range(ROWS):
        brought = ("", "ask.jpg", "film/ask.mp4", "")[i]
        if brought.endswith(".jpg"):
            picture(seed + 999).save(media / f"query_{brought}")
        elif brought:
            _frames(media / "video_frames" / "film_ask", seed + 998, 4)
        clips = [f"film{i}/clip_{j}.mp4" for j in range(4)]
        for j, clip in enumerate(clips):
            _frames(media / "video_frames" / clip.replace("/", "_").split(".mp4")[0], seed + 40 * i + j, 2)
        positives = 2 if i == 3 else 1
        rows.append(
            {
                "query": phrase(seed + i, 4),
                "input_frames": brought,
                "positive_frames": [{"output_path": c, "start_time": 0.0} for c in clips[:positives]],
                "negative_frames": [{"output_path": c, "start_time": 0.0} for c in clips[positives:]],
            }
        )
    _table(root, task, None, rows)


def _documents(root: Path, task: Task, seed: int) -> None:
    # ViDoRe counts its pages, VisRAG and the long documents name them.
    counted = task.group.startswith("VD-ViDoRe")
    pages: list[Any] = list(range(8)) if counted else [f"report {seed}.pdf_{i}.png" for i in range(8)]
    asked: list[Any] = list(range(ROWS)) if counted else [f"q-{i}" for i in range(ROWS)]
    corpus = [
        {"corpus-id": page, "image": {"bytes": png(seed + i), "path": f"{i}.png"}} for i, page in enumerate(pages)
    ]
    queries = [{"query-id": q, "query": phrase(seed + 100 + i, 5), "language": "english"} for i, q in enumerate(asked)]
    qrels = []
    for i, q in enumerate(asked):
        grades = {i: 3, i + 1: 2, i + 2: 2} if task.graded else {i: 1, **({i + 4: 1} if i == 2 else {})}
        qrels += [{"query-id": q, "corpus-id": pages[p], "score": grade} for p, grade in grades.items()]
    qrels += [{**qrels[0], "score": 1}, {"query-id": asked[0], "corpus-id": pages[7], "score": 0}]
    for config, rows in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        _table(root, task, config, rows)


SHAPES = {
    "image_to_text": _image_to_text,
    "text_to_image": _text_to_image,
    "image_to_image": _image_to_image,
    "video_classification": _classification,
    "video_question_answering": _questions,
    "video_retrieval": _retrieval,
    "moment_folders": _moment_folders,
    "moment_rows": _moment_rows,
    "documents": _documents,
}
