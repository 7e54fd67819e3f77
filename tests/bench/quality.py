"""`make bench-quality`: does the built-in model find what it should, on real media with labelled questions?

One table a model: Hit@1, Hit@5 and MRR of each direction, alone and with all kinds mixed, beside the same
measure for search by file name and for the figures that the recipe reached as a prototype. A second table
compares the embedding calls with their bare parts. Needs the sample set (fetched at the first run).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.media import image, pdf
from model import load
from model.embedder import Embedder
from model.inputs import Input
from model.lite.embedder import LiteEmbedder
from model.lite.pixels import fit
from model.ocr import read_text
from tests.bench import answers, report
from tests.quality import samples
from tests.quality.answers import SampleLibrary, measured
from tests.quality.ranking import Table, embed_documents, measure_model, measure_names
from tests.quality.samples import SET
from tests.quality.sampleset import ROWS, Question, SampleSet

PROTOTYPE = {
    ("text→photo", "alone"): 0.562,
    ("text→stamp", "alone"): 0.328,
    ("text→video", "alone"): 0.792,
    ("text→page", "alone"): 0.903,
    ("text→photo", "mixed"): 0.368,
    ("text→stamp", "mixed"): 0.309,
    ("text→video", "mixed"): 0.229,
    ("text→page", "mixed"): 0.890,
    ("image→same image", "mixed"): 1.0,
    ("image→near-duplicate", "mixed"): 1.0,
    ("frame→video", "mixed"): 0.94,
    ("page image→page", "mixed"): 0.763,
}
"""MRR with int8 text on nearly the same media (a few were left out since); one standard error: about .055."""


def quality_table(found: Table, names: Table) -> str:
    rows = []
    for row in ROWS:
        for scope in ("alone", "mixed"):
            if (row, scope) not in found:
                continue
            m, by_name = found[row, scope], names.get((row, scope))
            rows.append(
                [row, scope, m.n, m.hit_1, m.hit_5, m.mrr, by_name and by_name.mrr, PROTOTYPE.get((row, scope))]
            )
    return report.table(
        ["direction", "searched", "n", "Hit@1", "Hit@5", "MRR", "MRR of file names", "MRR of the prototype"], rows
    )


def library_table(folder: Path, ocr: str) -> str:
    """The same questions through the product: the folder indexed, all kinds and every page in one list."""
    with tempfile.TemporaryDirectory() as scratch:
        library = SampleLibrary(folder.resolve(), Path(scratch), ocr)
        try:
            asked = [(q, library.query(q, n)) for n, q in enumerate(SampleSet(folder).questions())]
            chunks = library.library.status().chunks
            systems = [library.ask, library.by_meaning, library.by_words]
            found, meaning, words = (measured(asked, system) for system in systems)
        finally:
            library.close()
    rows = [
        [row, found[row].n, found[row].hit_1, found[row].hit_5, found[row].mrr, meaning[row].mrr, words[row].mrr]
        for row in ROWS
        if row in found
    ]
    head = ["direction", "n", "Hit@1", "Hit@5", "MRR", "MRR by meaning alone", "MRR by words alone"]
    return (
        f"As users get it: `Library.search` over {chunks} chunks (every page of the documents), --ocr {ocr}, "
        f"all kinds in one list.\n\n{report.table(head, rows)}"
    )


LANGUAGES = (SET.with_name("languages.json"), SET.with_name("languages_pages.json"))
"""By language, the English queries of the sample set that are translated, and what they are there. The second file has
the questions for pages that are not in the first; `tests.quality.letters` draws texts of the first."""


def languages_table(sample_set: SampleSet, questions: list[Question], embedder: Embedder, vectors: np.ndarray) -> str:
    """MRR of the translated queries by vectors alone, all kinds mixed, beside the same queries in English."""
    by_text = {question.asked.text: question for question in questions if question.asked.text}
    translated: dict[str, dict[str, str]] = {}
    for path in LANGUAGES:
        for language, texts in json.loads(path.read_text("utf-8")).items():
            translated.setdefault(language, {}).update(texts)
    english = {text: text for text in next(iter(translated.values()))}
    rows = []
    for language, texts in {"en": english, **translated}.items():
        asked = [
            replace(by_text[text], asked=replace(by_text[text].asked, text=other))
            for text, other in texts.items()
            if text in by_text
        ]
        found = measure_model(sample_set, asked, embedder, vectors)
        rows.append([language, *(found[row, "mixed"].mrr for row in ("text→photo", "text→page")), len(asked)])
    return report.table(["language", "MRR text→photo, mixed", "MRR text→page, mixed", "n"], rows)


READ_PAGES = {"faq": (13, 30), "gnuplot": (61,), "devref": (52,)}
READ_PHOTOS = 10


def ocr_table(folder: Path) -> str:
    """Reading text: the share of a page's words that are read off its picture, and seconds an item.

    Beside rapidocr's own code with the same networks where that package happens to be installed.
    """
    readers: dict[str, Callable[[np.ndarray], str]] = {"Sightline": read_text}
    try:
        from rapidocr import RapidOCR

        engine = RapidOCR(
            params={
                "Global.use_cls": False,
                "Global.log_level": "critical",
                "Det.limit_side_len": 640,
                "Det.limit_type": "max",
                "EngineConfig.onnxruntime.intra_op_num_threads": max(1, (os.cpu_count() or 1) // 2),
            }
        )
        readers["rapidocr"] = lambda picture: "\n".join(engine(picture[:, :, ::-1].copy()).txts or ())
    except ImportError:
        pass
    pages = [
        (pdf.page_image(path, page), _words(pdf.page_text(path, page)))
        for name, numbers in READ_PAGES.items()
        if (path := folder / "pdfs" / f"{name}.pdf").exists()
        for page in numbers
    ]
    photos = [image.read_image(path, 1280) for path in sorted((folder / "images").iterdir())[:READ_PHOTOS]]
    rows = []
    for name, read in readers.items():
        read(photos[0])  # loads
        start, shares = time.perf_counter(), []
        for picture, expected in pages:
            shares.append(sum((_words(read(picture)) & expected).values()) / sum(expected.values()))
        per_page = (time.perf_counter() - start) / len(pages)
        start = time.perf_counter()
        for picture in photos:
            read(picture)
        per_photo = (time.perf_counter() - start) / len(photos)
        rows.append([name, statistics.mean(shares), f"{per_page:.2f} s", f"{per_photo:.2f} s"])
    return report.table(["OCR", f"words read of {len(pages)} pages", "a dense page", "a photo"], rows)


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def overhead_table(embedder: LiteEmbedder) -> str:
    """Embedding calls beside the bare work in them: tokenise, resize and the networks' own run."""
    noise = np.random.default_rng(0)
    picture = noise.integers(0, 256, (853, 1280, 3), dtype=np.uint8)
    words = "the quick brown fox jumps over the lazy dog while it rains in the old town "
    query, passage = "a ginger cat looking at the camera", (words * 30)[:1200]

    def bare_text(text: str) -> Callable[[], object]:
        return lambda: embedder._text.run(None, {"ids": np.array(embedder._windows(text, 1), np.int64)})

    def bare_picture() -> object:
        return embedder._image.run(["features", "logits"], {"pixels": fit(picture, False)[None]})

    def run(item: Input) -> Callable[[], object]:
        return lambda: embedder.embed([item])

    def bare_net() -> object:
        return embedder._image.run(["features", "logits"], {"pixels": np.zeros((1, 224, 224, 3), np.uint8)})

    eight = [Input(images=(picture,), kind="image")] * 8
    cases: list[tuple[str, Callable[[], object], Callable[[], object], int]] = [
        ("text query", run(Input(text=query, role="query")), bare_text(query), 1),
        ("passage, 256 tokens", run(Input(text=passage, role="query")), bare_text(passage), 1),
        ("picture 1280 x 853", run(eight[0]), bare_picture, 1),
        ("8 pictures, each", lambda: embedder.embed(eight), bare_picture, 8),
        ("8 pictures, each, against the network alone", lambda: embedder.embed(eight), bare_net, 8),
    ]
    rows = []
    for name, ours, bare, count in cases:
        took, base = _milliseconds(ours, bare)
        rows.append([name, f"{took / count:.2f} ms", f"{base:.2f} ms", f"{took / count / base:.2f}"])
    return report.table(["call", "embed", "bare, one thread", "ratio"], rows)


def _milliseconds(*calls: Callable[[], object], repeats: int = 15) -> list[float]:
    """Medians, the calls taken in turn so that a busy moment strikes all of them."""
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, took, strict=True):
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1000)
    return [statistics.median(times) for times in took]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.quality", description=__doc__)
    parser.add_argument("--samples", type=Path, default=Path("samples"))
    parser.add_argument("--model", default="lite")
    parser.add_argument("--ocr", default="off", choices=("off", "auto", "all"))
    options = parser.parse_args()
    samples.fetch(options.samples)
    sample_set = SampleSet(options.samples)
    questions = sample_set.questions()
    embedder = load(options.model)
    vectors = embed_documents(embedder, sample_set.documents)
    by_vector = measure_model(sample_set, questions, embedder, vectors)
    names = measure_names(sample_set, questions)
    every_page = SampleSet(options.samples, every_page=True)
    every_page.documents = [document for document in every_page.documents if document.family == "page"]
    asked = [question for question in questions if question.row == "text→page"]
    pages = measure_model(every_page, asked, embedder)["text→page", "alone"]
    text = (
        f"Model {embedder.id}, by vectors alone, on {len(sample_set.documents)} chunks of the sample set. "
        "Mixed counts a stamp of the same thing as wrong, so it is a lower bound.\n\n"
        + quality_table(by_vector, names)
        + f"\n\nText→page among all {len(every_page.documents)} pages of the three documents: "
        f"Hit@1 {pages.hit_1:.3f}, Hit@5 {pages.hit_5:.3f}, MRR {pages.mrr:.3f}."
    )
    text += "\n\n" + languages_table(sample_set, questions, embedder, vectors)
    if options.model == "lite":
        text += "\n\n" + library_table(options.samples, options.ocr)
    if isinstance(embedder, LiteEmbedder):
        text += "\n\n" + overhead_table(embedder)
    text += "\n\n" + ocr_table(options.samples)
    report.write("quality", text)
    if isinstance(embedder, LiteEmbedder):
        answers.write(options.samples)


if __name__ == "__main__":
    main()
