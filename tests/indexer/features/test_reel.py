"""A reel of the best moments, and its edit lists."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.media.video import probe
from data.span import Span
from indexer.errors import LibraryError
from indexer.features import edit_list, reel
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests.indexer.features.conftest import picture_of


@pytest.mark.slow
def test_a_reel_joins_the_best_moments_with_an_edit_list(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = replace(searcher.profile, line=0.0)
    monkeypatch.setattr(searcher, "profile", lower)  # ten drawings are all alike: nothing stands out by three
    out = tmp_path / "reel.mp4"
    clips = reel.reel(searcher, picture_of(7, tmp_path), out, max_length_s=10.0, clip_s=4.0)
    assert "event.mp4" in [Path(c.path).name for c in clips]
    length = probe(out).duration_s
    assert abs(length - sum(end - start for start, end in (c.span.seconds for c in clips))) < 1.0 and length <= 11
    rows = list(csv.DictReader(out.with_suffix(".csv").open()))
    assert [float(r["start_s"]) for r in rows] == [c.span.start_s for c in clips]
    fps = probe(out).fps
    assert fps is not None
    events = read_edl(out.with_suffix(".edl"), round(fps))
    assert [e["name"] for e in events] == [Path(c.path).name for c in clips]
    for event, clip in zip(events, clips, strict=True):
        start_s, end_s = clip.span.seconds
        assert abs(event["from"][0] / fps - start_s) <= 1 / fps
        assert abs(event["from"][1] / fps - end_s) <= 2 / fps
        assert abs(event["at"][0] / fps - clip.at_s) <= 2 / fps


EVENT = re.compile(r"(\d{3})  AX {7}B {5}C {8}" + " ".join([r"(\d\d:\d\d:\d\d:\d\d)"] * 4))


def read_edl(path: Path, a_second: int) -> list[dict[str, Any]]:
    """An EDL as an editing program reads it: columns are fixed, numbers run, the record has no gap."""
    title, mode, _, *lines = path.read_text("utf-8").split("\n")
    assert title.startswith("TITLE: ") and mode == "FCM: NON-DROP FRAME"
    events: list[dict[str, Any]] = []
    for line in lines:
        if found := EVENT.fullmatch(line):
            assert int(found[1]) == len(events) + 1
            a, b, c, d = (frames_of(found[n], a_second) for n in (2, 3, 4, 5))
            assert b - a == d - c > 0 and c == (events[-1]["at"][1] if events else 0)
            events.append({"from": (a, b), "at": (c, d)})
        elif line.startswith("* FROM CLIP NAME: "):
            events[-1]["name"] = line.removeprefix("* FROM CLIP NAME: ")
        elif line.startswith("* SOURCE FILE: "):
            events[-1]["path"] = line.removeprefix("* SOURCE FILE: ")
        else:
            assert not line, line
    return events


def frames_of(code: str, a_second: int) -> int:
    hours, minutes, seconds, frames = (int(part) for part in code.split(":"))
    assert frames < a_second
    return ((hours * 60 + minutes) * 60 + seconds) * a_second + frames


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 60.0])
def test_an_edit_list_is_exact_to_the_frame_at_every_rate(tmp_path: Path, fps: float) -> None:
    films = ["a.mp4", "b c.mov", "line\nbreak.mp4", os.fsdecode(b"caf\xe9.mp4")]
    spans = [(3599.0, 3603.2), (0.0, 8.0), (12.345, 15.0), (61.02, 65.5)]
    clips, at = [], 0.0
    for film, (start, end) in zip(films, spans, strict=True):
        clips.append(edit_list.ReelClip(f"/films/{film}", Span(start, end), at, 3.0))
        at += end - start
    edit_list.write_edl(clips, tmp_path / "r.edl", fps)
    text = (tmp_path / "r.edl").read_bytes().decode("utf-8", "surrogateescape")
    (tmp_path / "r.edl").write_text(text.encode("utf-8", "replace").decode())
    events = read_edl(tmp_path / "r.edl", round(fps))
    assert len(events) == 4 and events[2]["name"] == "line break.mp4"
    for event, clip in zip(events, clips, strict=True):
        start_s, end_s = clip.span.seconds
        assert event["from"][0] == round(start_s * fps)
        assert abs(event["at"][1] - (clip.at_s + end_s - start_s) * fps) <= 1
    edit_list.write_csv(clips, tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").open(errors="surrogateescape", newline="")))
    assert [row["path"] for row in rows] == [clip.path for clip in clips]


@pytest.mark.slow
def test_a_reel_of_nothing_says_so(searcher: Searcher, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="close enough"):
        reel.reel(searcher, Query((Part(text="zeppelin qqqqq"),)), tmp_path / "reel.mp4")
    assert not (tmp_path / "reel.mp4").exists()
