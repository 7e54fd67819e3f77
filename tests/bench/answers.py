"""Answers through the one search path: part of `make bench-quality`.

Over the sample set as a real library: what meaning and words give alone and together, how often the
library says that it has no answer, whether exact text wins, where a jump lands in a film, and what a
query costs beside its bare parts. One function a table; knows nothing of how answers are made.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.library import Library
from indexer.moments import Moments
from indexer.records import Kind, Part, Query
from tests import media
from tests.bench import report
from tests.quality.answers import SampleLibrary, measured, unanswerable
from tests.quality.sampleset import ROWS, Question, SampleSet

PLANTED = 120
KIND_OF: dict[str, tuple[Kind, ...]] = {
    "photo": ("image",),
    "stamp": ("image",),
    "video": ("video",),
    "page": ("pdf",),
}
"""Family of the sample set -> the kind that is searched when it is searched alone, distractors and all."""
SURE_AT = (4.0, 5.0, 5.5, 6.0, 6.25, 6.5, 7.0, 8.0, 10.0)


def rows_table(library: SampleLibrary, questions: Sequence[Question]) -> str:
    """MRR of meaning alone, words alone, and both; all kinds mixed and each family alone."""
    asked = [(q, library.query(q, n)) for n, q in enumerate(questions)]
    rows = []
    for scope in ("mixed", "alone"):
        queries = [(q, replace(x, kinds=KIND_OF[ROWS[q.row]]) if scope == "alone" else x) for q, x in asked]
        meaning = measured(queries, library.by_meaning)
        words = measured([pair for pair in queries if pair[1].text], library.by_words)
        both = measured(queries, library.ask)
        for row, found in both.items():
            by_words = words[row].mrr if row in words else None
            better = max(meaning[row].mrr, by_words or 0.0)
            rows.append(
                [row, scope, found.n, meaning[row].mrr, by_words, found.mrr, found.mrr / better, found.hit_5]
            )
    head = [
        "direction",
        "searched",
        "n",
        "meaning",
        "words",
        "both",
        "both / better of the two",
        "Hit@5 of both",
    ]
    return report.table(head, rows)


def refusal_table(library: SampleLibrary, questions: Sequence[Question]) -> str:
    """The whole curve: share of queries answered with "nothing close", by where the line is drawn."""
    from indexer import ranking

    answerable = [(q.row, q.asked.text or "") for q in questions if q.asked.text]
    rows: list[list[object]] = []
    kept = ranking.SURE
    try:
        for line in SURE_AT:
            ranking.SURE = line
            refused = [_refused(library, text) for text in unanswerable()]
            wrongly = [_refused(library, text) for _, text in answerable]
            mark = f"{line}{' (ours)' if line == kept else ''}"
            rows.append([mark, float(np.mean(refused)), float(np.mean(wrongly))])
    finally:
        ranking.SURE = kept
    head = [
        "line",
        f"unanswerable refused ({len(unanswerable())})",
        f"answerable refused ({len(answerable)})",
    ]
    return report.table(head, rows)


def _refused(library: SampleLibrary, text: str) -> bool:
    return not any(r.relevant for r in library.searcher.rank(Query((Part(text=text),)), 50))


def planted_table(library: SampleLibrary) -> str:
    """Exact strings put into the library: numbers and phrases in PDFs, file names; at rank 1?"""
    rng = np.random.default_rng(11)
    folder = Path(tempfile.mkdtemp(prefix="sightline-planted-"))
    words = [
        "amber",
        "birch",
        "cobalt",
        "delta",
        "ember",
        "fjord",
        "garnet",
        "harbor",
        "indigo",
        "juniper",
        "kestrel",
        "lagoon",
    ]
    planted: list[tuple[str, str, str]] = []
    try:
        for number in range(PLANTED // 3):
            code = f"INV-{rng.integers(1900, 2030)}-{rng.integers(10_000, 99_999)}"
            phrase = " ".join(rng.choice(words, 4, replace=False))
            name = f"{rng.choice(words)}_{rng.choice(words)}_{rng.integers(100, 999)}"
            pages = [
                f"Statement of account. Reference {code}. Please keep it for your records.",
                f"Notes of the meeting: the project is called {phrase} from now on, agreed.",
            ]
            media.draw_pdf(folder / f"scan{number:03}.pdf", pages)
            media.draw_image(folder / f"{name}.png", seed=number)
            planted += [
                ("number in a PDF", code, f"scan{number:03}_1"),
                ("phrase in a PDF", phrase, f"scan{number:03}_2"),
                ("file name", name, name),
            ]
        library.library.index([folder])
        rows: dict[str, list[bool]] = {}
        for sort, text, item in planted:
            first = library.library.search(Query((Part(text=text),)), 1).hits[:1]
            stem = [Path(h.path).stem + (f"_{h.page}" if h.page else "") for h in first]
            rows.setdefault(sort, []).append(stem == [item])
        table = [[sort, len(hits), float(np.mean(hits))] for sort, hits in rows.items()]
        return report.table(["planted", "n", "at rank 1 (target ≥ 0.98)"], table)
    finally:
        library.library.forget(folder)
        shutil.rmtree(folder, ignore_errors=True)


def jump_table() -> str:
    """Films in which a picture is seen for four seconds: how far from it does the jump land?"""
    from tests.indexer.shelf import drawing

    folder = Path(tempfile.mkdtemp(prefix="sightline-jump-"))
    rng = np.random.default_rng(12)
    rough, sharp = [], []
    try:
        events = []
        for film in range(8):
            at = float(rng.uniform(5, 110))

            def frame(t: float, film: int = film, at: float = at) -> Image.Image:
                seed = 500 + film if at <= t < at + 4 else 600 + film * 7 + int(t // 20)
                return Image.fromarray(drawing(seed)).resize((160, 120))

            media.draw_video(folder / f"film{film}.mp4", 120.0, fps=4, frame=frame)
            events.append(at)
        with Library.open(folder / "library", ocr="off", nice=False) as library:
            library.index([folder])
            finder = Moments(library.searcher())
            for film, at in enumerate(events):
                asked = folder / "asked.png"
                Image.fromarray(drawing(500 + film)).resize((160, 120)).save(asked)
                info = library.catalogue.file_at(str(folder / f"film{film}.mp4"))
                query = Query((Part(file=asked),), file_id=info.file_id if info else None)
                moment = finder.find(query, 1)[0]
                window = ((moment.hit.start_s or 0.0) + (moment.hit.end_s or 0.0)) / 2
                rough.append(abs(window - at - 2))
                sharp.append(abs(moment.at_s - at - 2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        ["middle of the window", float(np.mean(rough)), float(np.max(rough))],
        ["after the closer look (target: mean ≤ 5)", float(np.mean(sharp)), float(np.max(sharp))],
    ]
    return report.table(["jump", "mean error, s", "worst, s"], rows)


def cost_table(sizes: Sequence[int] = (10_000, 100_000)) -> str:
    """A text query beside the bare embedding and the bare FAISS search, and beside vector search alone."""
    import faiss

    from indexer.embeddings import StoredEmbeddings
    from indexer.faiss_index import FaissIndex
    from indexer.search import Searcher
    from model.inputs import Input
    from model.lite import LiteEmbedder
    from tests.bench.made_library import make

    embedder = LiteEmbedder.load()
    rng = np.random.default_rng(1)
    things = ("dog", "car", "beach", "house", "invoice", "train", "children", "snow", "mountain", "river")
    rows = []
    for size in sizes:
        folder = Path(tempfile.mkdtemp(prefix="sightline-cost-"))
        try:
            catalogue = make(folder / "catalogue.sqlite", size, embedder)
            model = catalogue.answering()
            assert model is not None
            source = StoredEmbeddings(catalogue, model.id, model.dim)
            index = FaissIndex(folder / "index", model.name, model.dim, source)
            searcher = Searcher(catalogue, index, embedder, None)  # type: ignore[arg-type]
            bare = faiss.IndexScalarQuantizer(
                model.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            stored = np.concatenate([v for g in range(3) for _, v in source.vectors(g)]).astype(np.float32)
            bare.train(stored[:10])
            bare.add(stored)
            del stored
            took: dict[str, list[float]] = {"embed": [], "faiss": [], "vectors": [], "query": []}
            searcher.search(Query((Part(text="warm up"),)))
            for number in range(200):
                text = f"{rng.choice(things)} and {rng.choice(things)} w{rng.integers(50, 20_000):05}"
                marks = [time.perf_counter()]
                vector = embedder.embed([Input(text=text, role="query")])
                marks.append(time.perf_counter())
                bare.search(vector, 10)
                marks.append(time.perf_counter())
                index.search(vector, 10)
                marks.append(time.perf_counter())
                searcher.search(Query((Part(text=f"{text} {number}"),)))
                marks.append(time.perf_counter())
                for name, seconds in zip(took, np.diff(marks), strict=True):
                    took[name].append(float(seconds) * 1000)
            p50 = {name: statistics.median(values) for name, values in took.items()}
            rows.append(
                [
                    f"{size:,}",
                    p50["query"],
                    float(np.percentile(took["query"], 99)),
                    p50["embed"],
                    p50["faiss"],
                    p50["query"] / (p50["embed"] + p50["faiss"]),
                    p50["query"] / (p50["embed"] + p50["vectors"]),
                ]
            )
            searcher.close()
            index.close()
            catalogue.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    head = [
        "chunks",
        "query p50, ms",
        "p99, ms",
        "bare embed, ms",
        "bare FAISS, ms",
        "query / (embed + FAISS), ≤ 1.3 at 10,000",
        "query / vector search alone, ≤ 1.5 at 100,000",
    ]
    return report.table(head, rows)


def measure(samples: Path, ocr: str = "auto") -> str:
    """All tables, as Markdown. The library is made in a folder of its own and thrown away."""
    data_dir = Path(tempfile.mkdtemp(prefix="sightline-answers-"))
    try:
        library = SampleLibrary(samples.resolve(), data_dir, ocr, samples.resolve() / "distractors")
        questions = [q for q in SampleSet(samples).questions() if q.row != "frame→video"]
        tables = [
            rows_table(library, questions),
            refusal_table(library, questions),
            planted_table(library),
        ]
        library.close()
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    return "\n\n".join([*tables, jump_table(), cost_table()])


def main() -> None:
    report.write("answers", measure(Path("samples")))


if __name__ == "__main__":
    main()
