"""Killed at any instant, the next start goes on and ends with the same library as an undisturbed run."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from indexer.library import Library
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import contents_of
from tests.indexer.pipeline.killable_index import OtherModel


def draw(folder: Path, photos: int, pages: int, seconds: float) -> Path:
    folder.mkdir()
    for n in range(photos):
        media.draw_image(folder / f"{n}.jpg", seed=n, size=(320, 240))
    media.draw_pdf(folder / "book.pdf", [f"Page {n} of the book" for n in range(pages)])
    media.draw_video(folder / "film.mp4", seconds, size=(128, 96), fps=5)
    shutil.copy(folder / "1.jpg", folder / "copy of 1.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    return folder


def teach_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows the model `other` too."""
    from model import loading

    real = loading.load
    monkeypatch.setattr(loading, "load", lambda name, **o: OtherModel(real()) if name == "other" else real(name, **o))


Aim = Literal["anywhere", "merge", "switch"]


def run(
    data_dir: Path, folder: Path, model: str, kill_after: float | None, aim: Aim = "anywhere"
) -> tuple[bool, float]:
    """Index; kill so long after the work, or what is aimed at, began. (Whether it came to its end, seconds of
    work.)"""
    command = [sys.executable, "-m", "tests.indexer.pipeline.killable_index", str(data_dir), str(folder), model]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    begun = time.monotonic()
    in_it = {"anywhere": lambda _: True, "merge": merging, "switch": switching}[aim]
    while process.poll() is None and not in_it(data_dir):
        assert time.monotonic() - begun < 120
        time.sleep(0.0001 if aim == "merge" else 0.002)
    try:
        process.wait(120 if kill_after is None else kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return False, time.monotonic() - begun
    finally:
        process.stdout.close()
    assert process.returncode == 0
    return True, time.monotonic() - begun


def merging(data_dir: Path) -> bool:
    """Whether a file of the vector index is half written."""
    return any((data_dir / "vectors").glob("*.writing"))


def switching(data_dir: Path) -> bool:
    """Whether another model has some of its vectors, and does not answer yet."""
    try:
        with closing(sqlite3.connect(f"file:{data_dir / 'catalogue.sqlite'}?mode=ro", uri=True)) as c:
            return bool(
                c.execute(
                    "SELECT 1 FROM model m JOIN embedding e ON e.model_id = m.id WHERE m.state = 'building' LIMIT 1"
                ).fetchone()
            )
    except sqlite3.OperationalError:  # not there yet
        return False


def assert_no_half_content(data_dir: Path) -> None:
    with Library.open(data_dir, nice=False, read_only=True) as library, library.catalogue.database.reader() as c:
        assert c.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        half = c.exec_driver_sql(
            "SELECT count(*) FROM content c WHERE state = 'ready' AND NOT EXISTS (SELECT 1 FROM chunk k JOIN"
            " embedding e ON e.chunk_id = k.id WHERE k.content_hash = c.hash) OR state <> 'ready' AND EXISTS"
            " (SELECT 1 FROM chunk k WHERE k.content_hash = c.hash)"
        ).scalar_one()
        assert half == 0
        lacking = c.exec_driver_sql(
            "SELECT count(*) FROM chunk k WHERE NOT EXISTS (SELECT 1 FROM embedding e WHERE e.chunk_id = k.id)"
        ).scalar_one()
        assert lacking == 0


def assert_same(found: dict[Any, tuple[Any, ...]], expected: dict[Any, tuple[Any, ...]]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key][:-1] == value[:-1]
        if value[-1] is not None:
            one, other = (np.frombuffer(v[-1], "<f2").astype(np.float32) for v in (found[key], value))
            assert np.abs(one - other).max() < 1e-3  # a batch may round its last bit another way


def killed_again_and_again(tmp_path: Path, folder: Path, kills: int, seed: int) -> Counter[str]:
    """`kills` spread over indexing, merges of the vector index and a switch of the model; the end must be
    that of one quiet run. Returns what was under way at how many of them."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    seconds = {model: run(quiet, folder, model, None)[1] for model in ("lite", "other")}
    with Library.open(quiet, "other", nice=False, read_only=True) as library:
        expected = contents_of(library)
    chance = random.Random(seed)
    struck: Counter[str] = Counter()
    model = "lite"
    while struck["killed"] < kills:
        aims: list[Aim] = ["anywhere", "merge"] if model == "lite" else ["switch", "switch", "merge"]
        aim = chance.choice(aims)
        longest = {"anywhere": 0.7 * seconds[model], "merge": 0.002, "switch": 0.15 * seconds[model]}[aim]
        ended, _ = run(killed, folder, model, chance.uniform(0, longest), aim)
        assert_no_half_content(killed)
        if not ended:
            struck.update(killed=1, merge=int(merging(killed)), switch=int(switching(killed)))
        elif model == "lite":
            model = "other"
        else:  # both came to their end: begin again
            shutil.rmtree(killed)
            model = "lite"
    for model in ("lite", "other"):
        run(killed, folder, model, None)
    with Library.open(killed, "other", nice=False, ocr="off") as library:
        assert_same(contents_of(library), expected)
        assert library.verify().problems == []
        assert library.status().failed == 1 and library.status().pending == 0
    assert not list((killed / "thumbnails").glob("*/*.webp.*")), "no half-written picture is left"
    assert not merging(killed), "no half-written index is left"
    return struck


def test_killed_at_a_few_random_instants_it_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teach_other(monkeypatch)
    struck = killed_again_and_again(tmp_path, draw(tmp_path / "media", 12, 5, 40.0), kills=5, seed=4)
    assert struck["merge"] >= 1, struck


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_fifteen_random_instants_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    teach_other(monkeypatch)
    struck = killed_again_and_again(tmp_path, draw(tmp_path / "media", 40, 20, 95.0), kills=15, seed=seed)
    print(f"\nkills: {dict(struck)}")
    assert struck["merge"] >= 2 and struck["switch"] >= 2, struck


# -- aimed at the steps of a switch


def switch(data_dir: Path, folder: Path, step: str = "", number: int = 0) -> int | None:
    """Change the library to `other`. Returns the number of commits; None if the program ended itself in the step."""
    module, arguments = "tests.indexer.pipeline.killable_index", (data_dir, folder, "other", step, number)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0
    return int(done.stdout.split()[-1])


def phase(data_dir: Path) -> str:
    """How far a switch has come."""
    with closing(sqlite3.connect(f"file:{data_dir / 'catalogue.sqlite'}?mode=ro", uri=True)) as c:
        states = dict(c.execute("SELECT state, id FROM model WHERE state <> 'old'"))
        if "building" not in states:
            (name,) = c.execute("SELECT name FROM model WHERE state = 'answering'").fetchone()
            is_other = name.startswith("other")
            return ("other answers" + ", its index is half written" * merging(data_dir)) if is_other else "not begun"
        count = "SELECT count(*) FROM embedding WHERE model_id = ?"
        made = c.execute(count, (states["building"],)).fetchone()[0]
        total = c.execute(count, (states["answering"],)).fetchone()[0]
    return "no vector yet" if made == 0 else "all vectors, not promoted" if made == total else "some vectors"


STEPS = {
    "in the promotion": "all vectors, not promoted",
    "after the promotion": "other answers",
    "index half written": "other answers, its index is half written",
    "index written": "other answers",
}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("aim", ["before commit", "after commit", "steps"])
def test_killed_at_each_step_of_a_switch_one_model_answers_and_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aim: str
) -> None:
    teach_other(monkeypatch)
    folder = draw(tmp_path / "media", 12, 5, 40.0)
    indexed, quiet, killed = tmp_path / "indexed", tmp_path / "quiet", tmp_path / "killed"
    run(indexed, folder, "lite", None)
    shutil.copytree(indexed, quiet)
    commits = switch(quiet, folder)
    assert commits is not None
    with Library.open(quiet, "other", nice=False, read_only=True) as library:
        expected = contents_of(library)
    # Batches differ from run to run, and with them the number of commits. The last is the promotion, which is a step.
    numbers = sorted({round(n) for n in np.linspace(1, 0.8 * commits, 8)})
    aims = [(step, 0) for step in STEPS] if aim == "steps" else [(aim, n) for n in numbers]
    landed: Counter[str] = Counter()
    for step, number in aims:
        shutil.rmtree(killed, ignore_errors=True)
        shutil.copytree(indexed, killed)
        if switch(killed, folder, step, number) is not None:
            landed["missed"] += 1
            continue
        reached = phase(killed)
        landed[reached] += 1
        assert reached == STEPS.get(step, reached)
        assert_no_half_content(killed)
        with Library.open(killed, "other", nice=False, read_only=True) as reader:
            answering = reader.catalogue.models.answering()
            assert answering is not None and answering.name.startswith("other") == reached.startswith("other")
            assert reader.search(Query((Part(text="page of the book"),))).hits[0].title == "book.pdf"
        assert switch(killed, folder) is not None
        with Library.open(killed, "other", nice=False, ocr="off") as library:
            assert_same(contents_of(library), expected)
            assert library.verify().problems == []
        assert not merging(killed), "no half-written index is left"
    print(f"\n{aim}: {len(aims)} kills of {commits} commits: {dict(landed)}")
    assert landed["missed"] == 0 if aim == "steps" else landed["some vectors"] >= len(aims) // 2, landed
