"""Labels without training, and rules that hide or flag."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from indexer.errors import LibraryError
from indexer.features import labels
from indexer.search.searcher import Searcher
from indexer.types import Part, Query


def test_labels_are_kept_filter_and_are_replaced(searcher: Searcher) -> None:
    given = labels.label(searcher, ["whale", "bread", "zeppelin"], line=1.0, prompt="a text about a {}")
    assert given == sum(labels.label_counts(searcher).values()) > 0
    hits = searcher.search(Query((Part(text="label:whale"),)), 50).hits
    assert ("whales.pdf", 1) in [(h.title, h.span.page) for h in hits]
    labels.label(searcher, ["whale", "bread", "zeppelin"], line=1e9)
    assert labels.label_counts(searcher) == {}
    assert searcher.search(Query((Part(text="label:whale"),))).hits == ()


def test_a_rule_hides_what_it_catches_and_reports_it(searcher: Searcher, tmp_path: Path) -> None:
    rules = tmp_path / "rules.csv"
    rules.write_text("label,threshold,action\n# a comment\nwhale,2.0,hide\nbread,2.0,flag\n")
    before = [h.span.page for h in searcher.search(Query((Part(text="largest whale animal"),)), 50).hits]
    caught = labels.moderate(searcher, labels.read_rules(rules), prompt="a text about a {}")
    try:
        assert {("whale", 1, "hide"), ("bread", 2, "flag")} <= {(c.label, c.span.page, c.action) for c in caught}
        after = searcher.search(Query((Part(text="largest whale animal"),)), 50).hits
        assert 1 in before and ("whales.pdf", 1) not in [(h.title, h.span.page) for h in after]
        labels.write_report(caught, tmp_path / "report.csv")
        labels.write_report(caught, tmp_path / "report.json")
        rows = list(csv.DictReader((tmp_path / "report.csv").open()))
        assert len(rows) == len(json.loads((tmp_path / "report.json").read_text())) == len(caught)
    finally:
        labels.moderate(searcher, [])
    again = searcher.search(Query((Part(text="largest whale animal"),)), 50).hits
    assert ("whales.pdf", 1) in [(h.title, h.span.page) for h in again]


def test_rules_and_computed_labels_leave_labels_given_by_hand(searcher: Searcher) -> None:
    chunks = [hit.chunk_id for hit in searcher.search(Query((Part(text="type:pdf"),)), 50).hits]
    assert labels.give(searcher.catalogue, "whale", chunks) == len(chunks)
    rules = [labels.Rule("whale", 2.0, "hide"), labels.Rule("bread, rolls", 1.0, "flag")]
    try:
        for _ in range(2):  # the second time the stored rules are read
            assert labels.moderate(searcher, rules, prompt="a text about a {}")
        labels.moderate(searcher, [])
        labels.label(searcher, ["whale"], line=1.0, prompt="a text about a {}")
        labels.label(searcher, ["whale"], line=1e9)
        assert labels.label_counts(searcher) == {"whale": len(chunks)}
        assert len(searcher.search(Query((Part(text="label:whale"),)), 50).hits) == len(chunks)
    finally:
        assert labels.take(searcher.catalogue, "whale", chunks) == len(chunks)


@pytest.mark.parametrize("line", ["whale,high,hide", "whale,3.0,burn", "whale"])
def test_a_rule_that_is_none_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "rules.csv").write_text(f"label,threshold,action\n{line}\n")
    with pytest.raises(LibraryError, match="line 2"):
        labels.read_rules(tmp_path / "rules.csv")


def test_the_names_of_imagenet_and_of_a_file(tmp_path: Path) -> None:
    assert len(labels.names("imagenet")) == 1000
    kinetics = labels.names("kinetics")
    assert len(set(kinetics)) == 400 and kinetics == sorted(kinetics)
    assert {"abseiling", "playing guitar", "zumba"} <= set(kinetics)
    assert labels.PROMPTS["kinetics"].format("surfing water") == "a video of surfing water"
    (tmp_path / "l.txt").write_text("cat\n\n# no\ndog\ncat\n")
    assert labels.names(str(tmp_path / "l.txt")) == ["cat", "dog"]
    with pytest.raises(LibraryError, match="a label on each line"):
        labels.names(str(tmp_path / "none.txt"))
