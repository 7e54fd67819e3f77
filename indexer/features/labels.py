"""Zero-shot labels: every chunk scored against label prompts; moderation rules that hide or flag.

Built around one pass over the library's vectors: a chunk gets its best labels whose standardised scores stand
out. They are stored in the catalogue (`label:dog` in a query filters by them); moderation hides chunks by the
same table. It knows nothing of how vectors are made, except that a text query can be embedded.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from data.span import Span, flat
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.schema import clean_text
from indexer.catalogue.settings import MODERATION, put
from indexer.errors import LibraryError
from indexer.features.csv_rows import row_of
from indexer.search.searcher import Searcher
from indexer.types import Kind
from indexer.vectors.source import GROUPS
from model.inputs import Input

PROMPT = "a photo of a {}"
PROMPTS = {"imagenet": PROMPT, "kinetics": "a video of {}"}
"""Prompts of the built-in lists: things of ImageNet, activities of Kinetics."""
LINE = 3.0
"""Standard deviations above the background from which a chunk gets a label."""
BY_HAND = LINE
"""The score of a label that a person gave; no computed one is exactly that. Labels of a program do not replace it."""
MOST = 5
"""The most labels of a chunk."""
PROMPTS_AT_ONCE = 64

_SCORE = f"CASE WHEN label.score = {BY_HAND} THEN label.score ELSE excluded.score END"


@dataclass(frozen=True)
class Labelled:
    """A chunk's label. `score`: standard deviations above the background, not a probability."""

    path: str
    kind: Kind
    chunk_id: int
    label: str
    score: float
    span: Span = Span()
    action: str = ""


@dataclass(frozen=True)
class Rule:
    """A line of a moderation file: chunks whose score for `label` reaches `threshold` are hidden or flagged."""

    label: str
    threshold: float
    action: Literal["hide", "flag"]


def names(source: str) -> list[str]:
    """The labels of a file, one a line, or of a built-in list: `imagenet` (1,000 things) or `kinetics` (400
    activities). Raises LibraryError."""
    if source == "imagenet":
        from model.embedder import ModelError
        from model.lite.weights import find

        try:
            labels: list[str] = json.loads((find() / "class_names.json").read_text("utf-8"))
        except (ModelError, OSError) as error:
            raise LibraryError(f"The names of ImageNet come with the lite model: {error}") from error
        return labels
    try:
        kinetics = resources.files("indexer.features").joinpath("label_lists/kinetics.txt")
        lines = (kinetics if source == "kinetics" else Path(source)).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(f"{source} cannot be read: give a text file with a label on each line.") from error
    labels = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not labels:
        raise LibraryError(f"{source} holds no labels: write one on each line.")
    return list(dict.fromkeys(labels))


def label_by(searcher: Searcher, source: str) -> int:
    """`label` with the labels that `names(source)` returns. Raises LibraryError."""
    return label(searcher, names(source), prompt=PROMPTS.get(source, PROMPT))


def label(
    searcher: Searcher, labels: Sequence[str], *, line: float = LINE, most: int = MOST, prompt: str = PROMPT
) -> int:
    """Score every chunk against `labels` and store those that reach `line`. Returns how many were stored.

    Earlier rows of these labels are replaced; other labels stay.
    """
    rows = [
        (labels[at], score, number)
        for number, scores in _scores(searcher, labels, prompt)
        for at in np.argsort(-scores)[:most].tolist()
        if (score := float(scores[at])) >= line
    ]
    with searcher.catalogue.database.writer() as c:
        for name in labels:
            c.exec_driver_sql("DELETE FROM label WHERE name = ? AND hidden = 0 AND score <> ?", (name, BY_HAND))
        if rows:
            c.exec_driver_sql(
                "INSERT INTO label (chunk_id, name, score) SELECT id, ?, ? FROM chunk WHERE id = ?"
                f" ON CONFLICT (chunk_id, name) DO UPDATE SET score = {_SCORE}",
                rows,
            )
    return len(rows)


def give(catalogue: Catalogue, name: str, chunk_ids: Sequence[int]) -> int:
    """Give chunks a label by hand. Returns how many did not have it. Raises LibraryError without a name."""
    name = clean_text(" ".join(name.split()))
    if not name or any(unicodedata.category(character) == "Cc" for character in name):
        raise LibraryError("A label needs a name of letters.")
    with catalogue.database.writer() as c:
        return sum(
            c.exec_driver_sql(
                "INSERT INTO label (chunk_id, name, score) SELECT id, ?, ? FROM chunk WHERE id = ?"
                " ON CONFLICT (chunk_id, name) DO NOTHING",
                (name, BY_HAND, number),
            ).rowcount
            for number in chunk_ids
        )


def take(catalogue: Catalogue, name: str, chunk_ids: Sequence[int]) -> int:
    """Take a label from chunks; one by which moderation hides or flags them stays. Returns how many had it."""
    with catalogue.database.writer() as c:
        return sum(
            c.exec_driver_sql(
                "DELETE FROM label WHERE chunk_id = ? AND name = ? AND hidden = 0", (number, name.strip())
            ).rowcount
            for number in chunk_ids
        )


def label_counts(searcher: Searcher) -> dict[str, int]:
    """The number of chunks by label, the most frequent first."""
    with searcher.catalogue.database.reader() as c:
        rows = c.exec_driver_sql("SELECT name, count(*) FROM label GROUP BY name ORDER BY count(*) DESC, name").all()
    return {row[0]: row[1] for row in rows}


def read_rules(path: Path) -> list[Rule]:
    """A CSV of label, threshold, action (`hide` or `flag`). Raises LibraryError with the line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path} cannot be read: give a CSV of label,threshold,action.") from error
    return parsed_rules(text, path.name)


def parsed_rules(text: str, source: str) -> list[Rule]:
    """The rules of a CSV text. Raises LibraryError with `source` and the line."""
    rules = []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or cells[:2] == ["label", "threshold"]:
            continue
        try:
            name, threshold, action = cells
            if action not in ("hide", "flag"):
                raise ValueError
            rules.append(Rule(name, float(threshold), action))  # type: ignore[arg-type]
        except ValueError as error:
            raise LibraryError(
                f"{source}, line {number}: write label,threshold,action with hide or flag: nudity,4.0,hide"
            ) from error
    return rules


def moderate(searcher: Searcher, rules: Sequence[Rule], prompt: str = PROMPT) -> list[Labelled]:
    """Apply rules to every chunk, in place of all earlier rules. Answers leave hidden chunks out.

    Returns the chunks that a rule hides or flags, the highest scores first.
    """
    labels = [rule.label for rule in rules]
    matches = [
        (number, rule, float(score))
        for number, scores in _scores(searcher, labels, prompt)
        for rule, score in zip(rules, scores, strict=True)
        if score >= rule.threshold
    ]
    with searcher.catalogue.database.writer() as c:
        for row in c.exec_driver_sql("SELECT value FROM setting WHERE name = ?", (MODERATION,)).all():
            for rule in parsed_rules(row[0], "the stored rules"):
                c.exec_driver_sql("DELETE FROM label WHERE name = ? AND score <> ?", (rule.label, BY_HAND))
        c.exec_driver_sql("DELETE FROM label WHERE hidden = 1 AND score <> ?", (BY_HAND,))
        c.exec_driver_sql("UPDATE label SET hidden = 0 WHERE hidden = 1")
        rows = [(rule.label, score, int(rule.action == "hide"), number) for number, rule, score in matches]
        if rows:
            c.exec_driver_sql(
                "INSERT INTO label (chunk_id, name, score, hidden) SELECT id, ?, ?, ? FROM chunk WHERE id = ?"
                f" ON CONFLICT (chunk_id, name) DO UPDATE SET score = {_SCORE}, hidden = excluded.hidden",
                rows,
            )
        put(c, MODERATION, _written(rules))
    facts = searcher.facts({number for number, _, _ in matches})
    report = [
        Labelled(fact.files[0].path, fact.kind, number, rule.label, round(score, 3), fact.span, rule.action)
        for number, rule, score in matches
        if (fact := facts.get(number)) is not None
    ]
    return sorted(report, key=lambda r: (-r.score, r.chunk_id))


def _written(rules: Sequence[Rule]) -> str:
    """The CSV text that `parsed_rules` reads."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((r.label, f"{r.threshold:g}", r.action) for r in rules)
    return text.getvalue().strip()


def write_report(rows: Iterable[Labelled], path: Path) -> None:
    """Write the rows as JSON if the file is called .json, else as CSV."""
    records = [flat(row) for row in rows]
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(records, indent=1, ensure_ascii=False), "utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(flat(Labelled("", "image", 0, "", 0.0))))
        writer.writeheader()
        writer.writerows(map(row_of, records))


def _scores(searcher: Searcher, labels: Sequence[str], prompt: str) -> Iterable[tuple[int, np.ndarray]]:
    """The id of every chunk and its standardised score for each label, float [labels]."""
    if not labels:
        return
    inputs = [Input(text=prompt.format(name), role="query") for name in labels]
    queries = np.concatenate(
        [searcher.embedder.embed(inputs[at : at + PROMPTS_AT_ONCE]) for at in range(0, len(inputs), PROMPTS_AT_ONCE)]
    )
    scales = searcher.text_scales(queries)
    for kind, ids, vectors in searcher.all_vectors():
        scale = scales.get(GROUPS[kind])
        if scale is not None:
            yield from zip(ids.tolist(), scale.standardise(queries @ vectors.T).T, strict=True)
