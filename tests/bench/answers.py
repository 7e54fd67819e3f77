"""Answers through the one search path: part of `make bench-quality`.

Over the sample set as a real library: what meaning and words give alone and together, how often the
library says that it has no answer, whether exact text wins, where a jump lands in a film, and what a
query costs beside its bare parts. One function a table; knows nothing of how answers are made.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from indexer.features.moments import Moments
from indexer.library import Library
from indexer.types import Filters, Kind, Part, Query
from tests import media
from tests.bench import report
from tests.quality.answers import SampleLibrary, half_of, measured, ranks_of, unanswerable
from tests.quality.ranking import Row
from tests.quality.sampleset import ROWS, Question, SampleSet

PLANTED = 120
KIND_OF: dict[str, tuple[Kind, ...]] = {"photo": ("image",), "stamp": ("image",), "video": ("video",), "page": ("pdf",)}
"""Family of the sample set -> the kind that is searched when it is searched alone, distractors and all."""
LINES = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)
MOVED = ("image_line", "page_line", "video_line", "name_line", "speech_line")
"""The lines of the profile, moved together by these standard deviations."""
PLATES, SIGNS = 20, 20
COMBINED = 60


def rows_table(library: SampleLibrary, questions: Sequence[Question]) -> str:
    """MRR of meaning alone, words alone, and both; all kinds mixed and each family alone."""
    asked = [(q, library.query(q, n)) for n, q in enumerate(questions)]
    rows: list[list[object]] = []
    ratios: dict[str, float] = {}
    within: dict[str, dict[str, list[float]]] = {}
    for scope in ("mixed", "alone"):
        queries = [
            (q, replace(x, filters=Filters(kinds=KIND_OF[ROWS[q.row]])) if scope == "alone" else x) for q, x in asked
        ]
        meaning = measured(queries, library.by_meaning)
        words = measured([pair for pair in queries if pair[1].text], library.by_words)
        within[scope] = ranks_of(queries, library.ask)
        for row, ranks in within[scope].items():
            found = Row.of(ranks)
            by_words = words[row].mrr if row in words else None
            better = max(meaning[row].mrr, by_words or 0.0)
            ratio = found.mrr / better
            if scope == "mixed":
                ratios[row] = ratio
            rows.append([row, scope, found.n, meaning[row].mrr, by_words, found.mrr, ratio, found.hit_5])
    head = [
        "direction",
        "searched",
        "n",
        "meaning",
        "words",
        "both",
        "both / better of the two (target ≥ 1)",
        "Hit@5 of both",
    ]
    in_words = [ratio for row, ratio in ratios.items() if row.startswith("text")]
    told = (
        f"Both / better of the two, mean of the mixed rows: {np.mean(list(ratios.values())):.3f}; "
        f"of those asked in words: {np.mean(in_words):.3f} (target ≥ 1.1)."
    )
    return f"{report.table(head, rows)}\n\n{told}\n\n{_share_table(within)}"


def _share_table(within: dict[str, dict[str, list[float]]]) -> str:
    """Of the questions whose right item is among the first five of its own kind, those where it is among
    the first five of all kinds."""
    rows: list[list[object]] = []
    own_all = mixed_all = 0
    for row, ranks in within["alone"].items():
        own = [n for n, rank in enumerate(ranks) if rank <= 5]
        mixed = sum(within["mixed"][row][n] <= 5 for n in own)
        own_all, mixed_all = own_all + len(own), mixed_all + mixed
        rows.append([row, len(ranks), len(own), mixed, mixed / max(1, len(own))])
    rows.append(["**all**", "", own_all, mixed_all, mixed_all / own_all])
    head = ["direction", "n", "in the top 5 of its kind", "of these in the mixed top 5", "share (target ≥ 0.9)"]
    return report.table(head, rows)


def refusal_table(library: SampleLibrary, questions: Sequence[Question]) -> str:
    """The whole curve: share of queries answered with "nothing close", by where the line is drawn."""
    tuned = library.searcher.profile
    asked = [("none", half_of(text), text) for text in unanswerable()]
    asked += [("some", q.half, q.asked.text) for q in questions if q.asked.text]
    rows: list[list[object]] = []
    try:
        for moved in LINES:
            library.searcher.profile = replace(tuned, **{name: getattr(tuned, name) + moved for name in MOVED})
            refused: dict[tuple[str, str], list[bool]] = {}
            for sort, half, text in asked:
                refused.setdefault((sort, half), []).append(_refused(library, text))
            shares = [
                float(np.mean([x for half in halves for x in refused[sort, half]]))
                for sort in ("none", "some")
                for halves in (("tune", "test"), ("tune",), ("test",))
            ]
            rows.append([f"{moved:+.1f}" if moved else "ours", *shares])
    finally:
        library.searcher.profile = tuned
    n = sum(sort == "none" for sort, _, _ in asked)
    head = [
        "line, standard deviations",
        f"unanswerable refused ({n}; target ≥ 0.8)",
        "tune half",
        "test half",
        f"answerable refused ({len(asked) - n}; target ≤ 0.1)",
        "tune half",
        "test half",
    ]
    return report.table(head, rows)


def exact_table(library: SampleLibrary, questions: Sequence[Question]) -> str:
    """What the rule that exact text wins costs the questions whose answers are not exact text."""
    from indexer.search import ranking

    asked = [(q, library.query(q, n)) for n, q in enumerate(questions) if q.asked.text]
    ruled = measured(asked, library.ask)
    kept = ranking.EXACT_BONUS
    try:
        ranking.EXACT_BONUS = 0.0
        free = measured(asked, library.ask)
    finally:
        ranking.EXACT_BONUS = kept
    rows: list[list[object]] = [
        [row, ruled[row].n, free[row].mrr, ruled[row].mrr, ruled[row].mrr / free[row].mrr - 1] for row in ruled
    ]
    return report.table(["direction", "n", "MRR without the rule", "with it", "change (target > −0.01)"], rows)


def combined_table(library: SampleLibrary, samples: SampleSet) -> str:
    """ "This, but …": a picture of one thing with the words for another of its sort, which is right. And
    things to avoid: the words for the first wrong one."""
    told = {
        item: q.asked.text for q in samples.questions() if q.row == "text→stamp" and q.asked.text for item in q.right
    }
    paths = {d.item: d.path for d in samples.documents if d.family == "stamp" and d.item in told}
    sorts: dict[str, list[str]] = {}
    for item in sorted(paths):
        sorts.setdefault("_".join(item.split("_")[:2]), []).append(item)
    pairs = [(a, b) for items in sorts.values() for a, b in zip(items, items[1:] + items[:1], strict=True)]
    chosen = np.random.default_rng(5).permutation(len([p for p in pairs if told[p[0]] != told[p[1]]]))
    pairs = [p for p in pairs if told[p[0]] != told[p[1]]]
    ranks: dict[str, list[float]] = {"words": [], "picture": [], "both": []}
    for at in chosen[:COMBINED]:
        shown, wanted = pairs[at]
        words, picture = Part(text=told[wanted]), Part(file=paths[shown])
        for name, parts in (("words", (words,)), ("picture", (picture,)), ("both", (words, picture))):
            items = [i for i in dict.fromkeys(library.ask(Query(parts))) if i != shown]
            ranks[name].append(items.index(wanted) + 1 if wanted in items else float("inf"))
    rows: list[list[object]] = [
        ["a picture of one, the words for another of its sort", name, len(r), Row.of(r).mrr, Row.of(r).hit_5]
        for name, r in ranks.items()
    ]
    before: list[float] = []
    after: list[float] = []
    stayed: list[bool] = []
    for at in chosen[:COMBINED]:
        wanted = pairs[at][1]
        text = Part(text=told[wanted])
        items = list(dict.fromkeys(library.ask(Query((text,)))))
        wrong = next((i for i in items[:10] if i in told and told[i] != told[wanted]), None)
        if wrong is None or wanted not in items:
            continue
        avoiding = list(dict.fromkeys(library.ask(Query((text, Part(text=told[wrong], weight=-1.0))))))
        before.append(items.index(wanted) + 1)
        after.append(avoiding.index(wanted) + 1 if wanted in avoiding else float("inf"))
        stayed.append(wrong in avoiding[:10])
    rows.append(["the words for one", "nothing avoided", len(before), Row.of(before).mrr, Row.of(before).hit_5])
    kept = f"first wrong one avoided; it stays among ten in {np.mean(stayed):.2f}"
    rows.append(["the words for one", kept, len(after), Row.of(after).mrr, Row.of(after).hit_5])
    return report.table(["asked", "with", "n", "MRR", "Hit@5"], rows)


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
        planted += lettered(folder, rng, words)
        library.library.index([folder])
        rows: dict[str, list[bool]] = {}
        for sort, text, item in planted:
            first = library.library.search(Query((Part(text=text),)), 1).hits[:1]
            stem = [Path(h.path).stem + (f"_{h.span.page}" if h.span.page else "") for h in first]
            rows.setdefault(sort, []).append(stem == [item])
        table = [[sort, len(hits), float(np.mean(hits))] for sort, hits in rows.items()]
        return report.table(["planted", "n", "at rank 1 (target ≥ 0.98)"], table)
    finally:
        library.library.forget(folder)
        shutil.rmtree(folder, ignore_errors=True)


def lettered(folder: Path, rng: np.random.Generator, words: Sequence[str]) -> list[tuple[str, str, str]]:
    """Pictures that show words, named as cameras name: number plates and signs, read by OCR alone."""
    planted = []
    for number in range(PLATES + SIGNS):
        if number < PLATES:
            letters = "".join(rng.choice(list("ABCDEFGHJKLMNPRSTUVWXYZ"), 2))
            sort, text = "plate in a picture", f"{letters} {rng.integers(1000, 9999)}"
        else:
            sort, text = "sign in a picture", f"{' '.join(rng.choice(words, 2, replace=False))} road".upper()
        picture = Image.fromarray(rng.integers(90, 150, (480, 640, 3), dtype=np.uint8))
        picture = picture.resize((160, 120)).resize((640, 480))  # a soft ground, as a wall out of focus
        size = next(size for size in range(44, 8, -2) if ImageFont.load_default(size).getlength(text) < 500)
        font = ImageFont.load_default(size)  # so that no letter is beyond the picture's edge
        left, top = (int(x) for x in rng.integers(40, 120, 2))
        box = ImageDraw.Draw(picture)
        around = box.textbbox((left, top), text, font=font)
        box.rectangle((around[0] - 14, around[1] - 12, around[2] + 14, around[3] + 12), "white", "black", 3)
        box.text((left, top), text, "black", font=font)
        picture.save(folder / f"DSC_{number:04}.jpg", quality=88)
        planted.append((sort, text, f"DSC_{number:04}"))
    return planted


def jump_table() -> str:
    """Films in which a picture is seen for four seconds: how far from it does the jump land?"""
    from tests.indexer.written_library import drawing

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
        with Library.open(folder / "library", ocr="off", speech="off", nice=False) as library:
            library.index([folder])
            finder = Moments(library.searcher())
            for film, at in enumerate(events):
                asked = folder / "asked.png"
                Image.fromarray(drawing(500 + film)).resize((160, 120)).save(asked)
                info = library.catalogue.files.at(str(folder / f"film{film}.mp4"))
                query = Query((Part(file=asked),), Filters(file_id=info.file_id if info else None))
                moment = finder.find(query, 1)[0]
                window = sum(moment.hit.span.seconds) / 2
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

    from indexer.search.searcher import Searcher
    from indexer.vectors.faiss.index import FaissIndex
    from indexer.vectors.source import StoredEmbeddings
    from model.inputs import Input
    from model.lite.embedder import LiteEmbedder
    from tests.bench.made_library import make

    embedder = LiteEmbedder.load()
    rng = np.random.default_rng(1)
    things = ("dog", "car", "beach", "house", "invoice", "train", "children", "snow", "mountain", "river")
    rows = []
    for size in sizes:
        folder = Path(tempfile.mkdtemp(prefix="sightline-cost-"))
        try:
            catalogue = make(folder / "catalogue.sqlite", size, embedder)
            model = catalogue.models.answering()
            assert model is not None
            source = StoredEmbeddings(catalogue.database, model.id, model.dim)
            index = FaissIndex(folder / "index", model.name, model.dim, source)
            searcher = Searcher(catalogue, index, embedder, None)  # type: ignore[arg-type]
            bare = faiss.IndexScalarQuantizer(model.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
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
    sample_set = SampleSet(samples)
    questions = sample_set.questions()
    in_words = [q for q in questions if q.asked.text]
    try:
        without = SampleLibrary(samples.resolve(), data_dir, "off")
        unread = measured([(q, without.query(q, 0)) for q in in_words], without.ask)
        without.close()
        library = SampleLibrary(samples.resolve(), data_dir, ocr)
        read = measured([(q, library.query(q, 0)) for q in in_words], library.ask)
        library.surround(samples.resolve() / "distractors")
        tables = [
            _about(library),
            rows_table(library, questions),
            refusal_table(library, questions),
            exact_table(library, questions),
            combined_table(library, sample_set),
            report.table(
                ["direction, without distractors", "n", "MRR, --ocr off", f"MRR, --ocr {ocr}"],
                [[row, read[row].n, unread[row].mrr, read[row].mrr] for row in read],
            ),
            planted_table(library),
        ]
        library.close()
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    return "\n\n".join([*tables, jump_table()])


def _about(library: SampleLibrary) -> str:
    status = library.library.status()
    return (
        f"The sample set ({library.own} chunks) among distractors: {status.chunks} chunks in all, of which "
        f"{library.embedded} are other drawings, pages and films really embedded and {library.mixed} are "
        "vectors mixed of two of those. Everything is asked through `Searcher`, as the page, the API and the "
        "command line ask."
    )


def write(samples: Path) -> None:
    """Two sections: what is found, which no load changes, and what it costs."""
    report.write("answers", measure(samples))
    report.write("cost", cost_table())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.answers", description=__doc__)
    parser.add_argument("--no-cost", action="store_true", help="leave out what a query costs (for a busy machine)")
    if parser.parse_args().no_cost:
        report.write("answers", measure(Path("samples")))
    else:
        write(Path("samples"))


if __name__ == "__main__":
    main()
