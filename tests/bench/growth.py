"""`make bench-growth`: does one query get one verdict, whatever the library's size?

Built around the sample set under names as cameras give them (`IMG_0001.jpg`), among more and more of the distractors
of `tests/quality/distractors.py`: the same questions are asked at each step, of the real `Searcher`. It knows
nothing of how a verdict is made.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.library import Library
from indexer.search.ranking import Ranked
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests.bench import report
from tests.bench.index import scratch
from tests.quality.answers import SampleLibrary, asked_texts, half_of, rank_of, unanswerable
from tests.quality.distractors import DECIDES_NOTHING, Answers, Distractor, embedded, fetch, fill, padded, words_of
from tests.quality.ranking import Row
from tests.quality.samples import SET
from tests.quality.sampleset import Question, SampleSet

SIZES = (100, 376, 1_414, 5_318, 20_000)
"""Chunks at each step, each 3.76 times the one before."""
DEPTH = 60
PREFIX = {"image": "IMG", "video": "MVI", "pdf": "SCN"}

SORTS = {
    "ball": "basketball football cricketball",
    "bee": "bumblebee",
    "beetle": "ladybird ladybug",
    "bulb": "lightbulb",
    "bunny": "rabbit",
    "camel": "dromedary",
    "chicken": "hen rooster chick",
    "cup": "mug",
    "deer": "doe caribou wapiti reindeer elk moose",
    "dog": "dingo puppy",
    "duck": "drake duckling",
    "fish": "butterflyfish clownfish dolphinfish trout wrasse lionfish groper seahorse salmon tuna shark",
    "flower": "daffodil rose iris gazania marigold tulip lily sunflower daisy",
    "flowers": "flower daffodil rose iris gazania marigold tulip lily sunflower daisy",
    "fly": "hoverfly",
    "fowl": "hen rooster chicken chick turkey duck drake gander goose guineafowl",
    "fruit": "apple banana apricot lemon lime mango orange pear pineapple pomegranate raspberry strawberry kiwifruit"
    " grape cherry cherimoya peach plum melon watermelon",
    "goat": "mountaingoat",
    "gravestone": "headstone tombstone",
    "gull": "seagull",
    "hat": "fedora sombrero",
    "headstone": "gravestone tombstone",
    "lightbulb": "bulb",
    "mug": "cup",
    "mushroom": "cep toadstool",
    "pig": "boar",
    "rabbit": "bunny",
    "raptor": "vulture owl eagle falcon hawk",
    "seagull": "gull",
    "sheep": "ram lamb ewe",
    "squash": "pumpkin zucchini courgette",
    "tombstone": "gravestone headstone",
    "wapiti": "elk",
    "whale": "orca",
    "wrench": "spanner",
}
"""A word of an object -> the words of its sorts, and other words for it, as a dictionary has them. A dingo is a dog."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Chunks in the order in which they come in: facts, the item of the sample set that each is ("" for a
    distractor), vectors float32 [n, dim]."""

    facts: list[Distractor]
    items: list[str]
    vectors: np.ndarray

    @classmethod
    def of(cls, samples: Path, library: SampleLibrary) -> Corpus:
        """The sample set in an order of its own, then distractors."""
        own = sorted(_facts(library), key=lambda row: hashlib.sha256(row[1].encode()).digest())
        folder = samples / "distractors"
        fetch(folder)
        others, vectors = embedded(folder, library.searcher.embedder, Answers(asked_texts(samples)))
        order = np.random.default_rng(22).permutation(len(others))
        others, vectors = padded([others[n] for n in order], vectors[order], SIZES[-1] - len(own))
        facts = [fact for fact, _, _ in own]
        return cls(
            [*facts, *others],
            [item for _, item, _ in own] + [""] * len(others),
            np.concatenate([np.stack([vector for _, _, vector in own]), vectors]),
        )


def _facts(library: SampleLibrary) -> Iterator[tuple[Distractor, str, np.ndarray]]:
    """Each chunk of the sample set under a camera's name: its facts, its item, its vector."""
    numbers: dict[bytes, int] = {}
    rows = library.connections.get().execute(
        "SELECT c.hash, c.kind, k.ordinal, k.page, k.text, e.vector, f.path FROM chunk k"
        " JOIN content c ON c.hash = k.content_hash JOIN embedding e ON e.chunk_id = k.id"
        " JOIN file f ON f.id = (SELECT min(id) FROM file WHERE content_hash = c.hash) ORDER BY f.path, k.ordinal"
    )
    for digest, kind, ordinal, page, text, vector, path in rows.fetchall():
        number = numbers.setdefault(digest, len(numbers) + 1)
        stem = Path(path).stem
        name = f"DCIM/{PREFIX[kind]}_{number:04}{Path(path).suffix}"
        fact = Distractor(kind, name, ordinal, page, text or "")
        yield fact, stem if page is None else f"{stem}_{page}", np.frombuffer(vector, "<f2").astype(np.float32)


@contextmanager
def grown(corpus: Corpus, size: int, model: tuple[str, int]) -> Iterator[tuple[Searcher, dict[int, str]]]:
    """The first `size` chunks of a corpus as a library: its searcher, and chunk id -> item; each distractor is an item
    of its own, so that it takes a place. A page keeps its number, and a file the chunks that are in."""
    data_dir = Path(tempfile.mkdtemp(prefix="sightline-growth-"))
    try:
        with Library.open(data_dir, ocr="off", speech="off") as library:
            library.catalogue.models.add(*model, source='{"name": "lite"}')
            fill(library.catalogue, data_dir / "media", corpus.facts[:size], corpus.vectors[:size])
        with Library.open(data_dir, ocr="off", speech="off") as library:
            searcher = library.searcher()
            with library.catalogue.database.reader() as c:
                rows = c.exec_driver_sql(
                    "SELECT k.id, f.path, k.ordinal FROM chunk k JOIN file f ON f.content_hash = k.content_hash"
                ).fetchall()
            item = {
                (str(data_dir / "media" / f.path), f.ordinal): i
                for f, i in zip(corpus.facts, corpus.items, strict=True)
            }
            yield searcher, {number: item[path, ordinal] or f"distractor {number}" for number, path, ordinal in rows}
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def verdict(ranking: Sequence[Ranked], items: dict[int, str], right: frozenset[str]) -> bool | None:
    """Whether a right answer stands above the line; None if none is listed."""
    places = [place.relevant for place in ranking if items[place.fact.chunk_id] in right]
    return any(places) if places else None


def object_words(samples: Path) -> dict[str, frozenset[str]]:
    """One-word queries of objects and their right items: the last words of the stamps' short texts ("A crowned
    crane." → crane), each with every stamp and photo whose text has the word or one of its `SORTS`. Without words
    that distractors may have in their names ("light"): an image with the word in its name is above the line whatever
    it shows."""
    texts = dict(json.loads((samples / "stamps.json").read_text("utf-8")))
    for text, items in json.loads(SET.read_text("utf-8"))["text_to_image"].items():
        texts |= {item: f"{texts.get(item, '')} {text}" for item in items}
    words = {item: set(re.findall(r"[a-z]+", text.lower())) for item, text in texts.items()}
    heads = {text.rstrip(".").split()[-1].lower() for text in texts.values() if len(text.split()) in (2, 3)}
    named = {
        head: {form for word in (head, *SORTS.get(head, "").split()) for form in (word, f"{word}s")} for head in heads
    }
    unnamed = words_of(" ".join(DECIDES_NOTHING))
    return {
        head: frozenset(item for item, has in words.items() if has & named[head])
        for head in sorted(heads)
        if head.isalpha() and not words_of(head) & unnamed
    }


@dataclass(frozen=True, eq=False)
class Step:
    """What a library of one size answers. `verdicts`: question -> whether its right answer is above the line."""

    size: int
    verdicts: dict[tuple[str, str], bool]
    ranks: dict[str, list[float]]
    refused: dict[tuple[str, str], list[bool]]
    """("some" or "none", half) -> of each question, whether nothing is above the line."""
    seen_refused: list[bool]
    """The same, of the questions whose right answer is among the first ten."""
    shown: list[bool]
    """Of each image above the line for a one-word object query, whether it is right."""
    found: list[bool]
    """Of each such query, whether a right image is above the line."""


def asked(searcher: Searcher, items: dict[int, str], size: int, samples: Path, questions: Sequence[Question]) -> Step:
    """Ask everything of one library."""
    here = set(items.values())
    step = Step(size, {}, {}, {}, [], [], [])

    def ranking(text: str) -> list[Ranked]:
        return searcher.rank(Query((Part(text=text),)), DEPTH)

    for question in questions:
        if not question.asked.text or not question.right & here:
            continue
        places = ranking(question.asked.text)
        seen = [items[place.fact.chunk_id] for place in places]
        rank = rank_of(seen, question)
        step.ranks.setdefault(question.row, []).append(rank)
        step.verdicts[question.row, question.asked.text] = bool(verdict(places, items, question.right))
        relevant = any(place.relevant for place in places)
        step.refused.setdefault(("some", question.half), []).append(not relevant)
        if rank <= 10:
            step.seen_refused.append(not relevant)
    for text in unanswerable():
        relevant = any(place.relevant for place in ranking(text))
        step.refused.setdefault(("none", half_of(text)), []).append(not relevant)
    for word, right in object_words(samples).items():
        if right & here:
            images = [place for place in ranking(word) if place.relevant and place.fact.kind == "image"]
            shown = [items[place.fact.chunk_id] in right for place in images]
            step.shown.extend(shown)
            step.found.append(any(shown))
    return step


def tables(steps: Sequence[Step]) -> str:
    """The growth table and, from the third size on, the quality under camera names."""
    rows: list[list[object]] = []
    before: Step | None = None
    for step in steps:
        both = [] if before is None else [q for q in step.verdicts if q in before.verdicts]
        flips = None if before is None else sum(step.verdicts[q] != before.verdicts[q] for q in both)
        rows.append(
            [
                f"{step.size:,}",
                len(step.verdicts),
                sum(step.verdicts.values()) / len(step.verdicts),
                None if flips is None else f"{flips} of {len(both)} = {flips / len(both):.3f}",
                *[float(np.mean(step.refused[sort, "test"])) for sort in ("none", "some")],
                *[float(np.mean(step.refused[sort, "tune"])) for sort in ("none", "some")],
                f"{np.mean(step.seen_refused):.3f} of {len(step.seen_refused)}",
                f"{np.mean(step.shown):.3f} of {len(step.shown)}",
                f"{np.mean(step.found):.3f} of {len(step.found)}",
            ]
        )
        before = step
    head = [
        "chunks",
        "questions with their answer in it",
        "right answer above the line",
        "verdicts that flipped (target ≤ 0.03)",
        "unanswerable refused, test half (≥ 0.9)",
        "answerable refused, test half (≤ 0.08)",
        "unanswerable refused, tune half",
        "answerable refused, tune half",
        "of those with a right answer among the first ten, refused",
        "right of the images above the line, one-word objects (≥ 0.7)",
        "one-word objects with a right image above the line",
    ]
    quality = [
        [f"{step.size:,}", row, Row.of(ranks).n, Row.of(ranks).hit_1, Row.of(ranks).hit_5, Row.of(ranks).mrr]
        for step in steps[2:]
        for row, ranks in step.ranks.items()
    ]
    named = report.table(["chunks", "direction", "n", "Hit@1", "Hit@5", "MRR"], quality)
    return f"{report.table(head, rows)}\n\nUnder camera names, all kinds in one list:\n\n{named}"


def measure(samples: Path, data_dir: Path) -> str:
    """Both tables, as Markdown."""
    library = SampleLibrary(samples, data_dir, "off")
    embedder = library.searcher.embedder
    corpus = Corpus.of(samples, library)
    library.close()
    questions = SampleSet(samples, every_page=True).questions()
    steps = []
    for size in SIZES:
        with grown(corpus, size, (embedder.id, embedder.dim)) as (searcher, items):
            steps.append(asked(searcher, items, size, samples, questions))
        print(f"{size:,} chunks asked", file=sys.stderr, flush=True)
    return f"Model {embedder.id}.\n\n{tables(steps)}"


def main() -> None:
    with scratch() as folder:
        report.write("growth", measure(Path("samples").resolve(), folder))


if __name__ == "__main__":
    main()
