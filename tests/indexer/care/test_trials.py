"""Trials of `make test-long`: libraries of earlier programs, kills during a migration, wrong clocks, a lowered limit of
inotify, and very large files. `pytest -s` prints the figures of docs/reliability.md."""

import json
import os
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
from typing import Any

import pytest
from PIL import Image

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import sqlite
from indexer.catalogue.schema import migrations
from indexer.library import Library
from indexer.types import Part, Query
from tests import media
from tests.indexer.conftest import OpenLibrary, contents_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[3]


def earlier_commits() -> list[str]:
    """The last 100 commits; none without a history."""
    command = ["git", "log", "--first-parent", "-100", "--format=%h"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.split()


def index_with(program: Path, folder: Path, data_dir: Path, **variables: str) -> dict[str, Any]:
    options = ["--data-dir", data_dir, "--json", "--ocr", "off", "--speech", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "index", folder, *options],
        cwd=program, env=os.environ | {"PYTHONPATH": str(program)} | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("commit", earlier_commits())
def test_a_library_of_an_earlier_program_opens_and_answers(
    commit: str, folder: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    program = tmp_path / "program"
    program.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=program, input=archive.stdout, check=True)
    assert index_with(program, folder, tmp_path / "library")["chunks"] == 7
    with closing(sqlite3.connect(tmp_path / "library" / "catalogue.sqlite")) as c:
        c.execute("INSERT INTO label (chunk_id, name, score) SELECT id, 'dog', 4.5 FROM chunk")
        c.commit()
    library = open_library(speech="off")
    library.index()
    assert library.verify().problems == [] and library.status().chunks == 7
    assert library.search(Query((Part(text="label:dog bananas"),))).hits[0].title == "letter.pdf"


MIGRATES = """
import sys; from pathlib import Path
from indexer.catalogue.catalogue import Catalogue
print("begun", flush=True)
Catalogue(Path(sys.argv[1])).close()
"""


def test_a_kill_during_a_migration_leaves_the_old_library_or_the_new_one(tmp_path: Path) -> None:
    chunks, kills = 20_000, 30
    old = tmp_path / "old.sqlite"
    sqlite.bring_up_to_date(old, [step for step in migrations() if step[0] < 10])
    chance = random.Random(3)
    words = [f"word{n}" for n in range(2000)]
    with closing(sqlite3.connect(old)) as c:
        c.execute("INSERT INTO content (hash, kind, state) VALUES (x'01', 'pdf', 'ready')")
        rows = [(n, " ".join(chance.choices(words, k=30))) for n in range(chunks)]
        c.executemany("INSERT INTO chunk (content_hash, ordinal, text) VALUES (x'01', ?, ?)", rows)
        c.execute("INSERT INTO label (chunk_id, name, score) SELECT id, 'dog', 4.5 FROM chunk")
        c.commit()
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    work = tmp_path / "work" / "catalogue.sqlite"
    landed: Counter[str] = Counter()
    took = 0.0
    while landed["kills"] < kills:
        shutil.rmtree(work.parent, ignore_errors=True)
        work.parent.mkdir()
        shutil.copy(old, work)
        child = subprocess.Popen([sys.executable, "-c", MIGRATES, work], stdout=subprocess.PIPE, cwd=REPOSITORY)
        assert child.stdout is not None and child.stdout.readline() == b"begun\n"
        begun = time.monotonic()
        try:
            child.wait(chance.uniform(0, took) if took else None)
            took = took or time.monotonic() - begun
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            landed["kills"] += 1
        child.stdout.close()
        wal = work.with_name("catalogue.sqlite-wal")
        is_inside = wal.exists() and wal.stat().st_size > 0
        with closing(sqlite3.connect(work)) as c:
            version = c.execute("PRAGMA user_version").fetchone()[0]
            assert version in (9, migrations()[-1][0])
            landed["inside the migration"] += is_inside and version == 9
            assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert c.execute("SELECT count(*) FROM chunk").fetchone() == (chunks,)
        catalogue = Catalogue(work)
        with catalogue.database.reader() as c:
            assert c.exec_driver_sql("SELECT count(*) FROM label").scalar() == chunks
            assert catalogue.database.dialect.texts_agree(c)
        catalogue.close()
    print(f"\nmigration: {dict(landed)}, undisturbed {took:.1f} s")
    assert landed["inside the migration"] >= kills // 3


ENDS_AT_A_STATEMENT = """
import os, signal, sqlite3, sys; from functools import partial; from pathlib import Path
class Connection(sqlite3.Connection):
    left = int(sys.argv[2])
    def execute(self, sql, *values):
        if self.in_transaction:
            Connection.left -= 1
            if not Connection.left:
                os.kill(os.getpid(), signal.SIGKILL)
        done = super().execute(sql, *values)
        if sql == "COMMIT" and Connection.left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
sqlite3.connect = partial(sqlite3.connect, factory=Connection)
from indexer.catalogue.dialects import sqlite
from indexer.catalogue.schema import migrations
sqlite.bring_up_to_date(Path(sys.argv[1]), migrations())
"""


def test_a_kill_before_each_statement_of_a_migration_leaves_the_old_library(tmp_path: Path) -> None:
    """And one after the last, the COMMIT, the new one."""
    chunks, oldest = 500, 1
    old = tmp_path / "old.sqlite"
    sqlite.bring_up_to_date(old, [step for step in migrations() if step[0] <= oldest])
    with closing(sqlite3.connect(old)) as c:
        c.execute("INSERT INTO content (hash, kind, state) VALUES (x'01', 'pdf', 'ready')")
        rows = [(n, f"word{n % 7} word{n % 31} bananas") for n in range(chunks)]
        c.executemany("INSERT INTO chunk (content_hash, ordinal, text) VALUES (x'01', ?, ?)", rows)
        c.commit()
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    work = tmp_path / "work" / "catalogue.sqlite"
    newest, landed, number = migrations()[-1][0], Counter[int](), 0
    while newest not in landed:
        number += 1
        shutil.rmtree(work.parent, ignore_errors=True)
        work.parent.mkdir()
        shutil.copy(old, work)
        program = [sys.executable, "-c", ENDS_AT_A_STATEMENT, str(work), str(number)]
        assert subprocess.run(program, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
        with closing(sqlite3.connect(work)) as c:
            landed[c.execute("PRAGMA user_version").fetchone()[0]] += 1
            assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with closing(Catalogue(work)) as catalogue, catalogue.database.reader() as c:
            assert c.exec_driver_sql("SELECT count(*) FROM chunk").scalar() == chunks
            assert catalogue.database.dialect.texts_agree(c)
    print(f"\nmigration from {oldest} to {newest}: {number} kills, schema afterwards {dict(landed)}")
    assert landed == {oldest: number - 1, newest: 1} and number > newest - oldest


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
static long off(void) { const char *s = getenv("CLOCK_OFFSET_S"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (!r && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += off();
    return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict z) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
"""
HOUR, YEAR = 3600, 365 * 24 * 3600


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="a clock of ours needs Linux and cc")
@pytest.mark.parametrize("offset_s", [HOUR, -HOUR, YEAR, -YEAR])
def test_a_wrong_clock_loses_nothing_and_costs_nothing(
    offset_s: int, folder: Path, tmp_path: Path, open_library: OpenLibrary
) -> None:
    clock = tmp_path / "clock.so"
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", clock, tmp_path / "clock.c", "-ldl"], check=True)
    wrong = {"LD_PRELOAD": str(clock), "CLOCK_OFFSET_S": str(offset_s)}
    show = [sys.executable, "-c", "import time; print(time.time())"]
    now = subprocess.run(show, env=os.environ | wrong, capture_output=True, check=True)
    assert abs(float(now.stdout) - time.time() - offset_s) < 60
    data_dir = tmp_path / "library"
    assert index_with(REPOSITORY, folder, data_dir, **wrong)["chunks"] == 7
    assert index_with(REPOSITORY, folder, data_dir)["chunks"] == 0, "nothing is embedded again"
    (folder / "photo 0.jpg").rename(folder / "renamed.jpg")
    (folder / "photo 1.jpg").unlink()
    media.draw_image(folder / "new.jpg", seed=8, size=(160, 120))
    assert index_with(REPOSITORY, folder, data_dir, **wrong)["chunks"] == 1
    assert index_with(REPOSITORY, folder, data_dir)["chunks"] == 0
    library = open_library(speech="off")
    for digest in library.catalogue.contents.sweep(kept_s=-2 * YEAR):
        library.thumbnails.remove(digest)
    with Library.open(tmp_path / "undisturbed", nice=False, ocr="off", speech="off") as undisturbed:
        undisturbed.index([folder])
        assert contents_of(library).keys() == contents_of(undisturbed).keys()
    assert library.verify().problems == [] and library.status().files == 5


WATCHES = """
import sys, time; from pathlib import Path
from indexer.library import Library
with Library.open(Path(sys.argv[1]), nice=False, ocr="off", speech="off") as library:
    folder, begun = Path(sys.argv[2]), time.monotonic()
    library.add_root(folder)
    library.start(watch=True)
    while library.status().pending or not library._indexing.follower.settled.is_set():
        time.sleep(2)
    print(library.status().files, round(time.monotonic() - begun, 1), library.status().notices, flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    while library.file_at(folder / "499" / "late.jpg") is None:
        time.sleep(0.1)
    print(round(time.monotonic() - begun, 1), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_fifty_thousand_files_with_few_watches_are_found_and_the_limit_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    pictures = []
    for n in range(5):
        media.draw_image(tmp_path / "one.jpg", seed=n, size=(64, 48))
        pictures.append((tmp_path / "one.jpg").read_bytes())
    for n in range(500):
        (folder / str(n)).mkdir(parents=True)
        for k in range(100):
            (folder / str(n) / f"{k}.jpg").write_bytes(pictures[k % 5])
    limit = "echo 100 > /proc/sys/user/max_inotify_watches"
    if subprocess.run(["unshare", "-r", "sh", "-c", limit], capture_output=True, check=False).returncode:
        pytest.skip("this account may not lower the limit for a process")
    program = [sys.executable, "-c", WATCHES, str(tmp_path / "library"), str(folder)]
    child = subprocess.Popen(
        ["unshare", "-r", "sh", "-c", f'{limit} && exec "$@"', "sh", *program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    first = child.stdout.readline()
    print(f"\ninotify: {first}", end="")
    assert first.startswith("50000 ") and "fs.inotify.max_user_watches" in first
    media.draw_image(folder / "499" / "late.jpg", seed=77, size=(64, 48))
    child.stdin.write("go\n")
    child.stdin.flush()
    print(f"inotify: a new file in a folder without a watch is found after {child.stdout.readline()}", end="")
    assert child.wait(60) == 0


def three_hours(path: Path) -> None:
    source = "testsrc=size=64x48:rate=1"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-t", "10800", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(path)], check=True)


def two_thousand_pages(path: Path) -> None:
    media.draw_pdf(path, [f"Page {n} of the register, with the name of ship {n * 7919 % 2000}" for n in range(2000)])


def three_hundred_megapixels(path: Path) -> None:
    picture = Image.linear_gradient("L").resize((20_000, 15_000))
    picture.save(path, compression="tiff_lzw")


@pytest.mark.parametrize(
    ("make", "name", "chunks"),
    [(three_hours, "long.mp4", 360), (two_thousand_pages, "register.pdf", 2000)],
    ids=["video", "pdf"],
)
def test_a_very_large_file_is_read_whole(
    make: Any, name: str, chunks: int, tmp_path: Path, open_library: OpenLibrary
) -> None:
    library = indexed_alone(make, name, tmp_path, open_library)
    assert library.failures() == [] and library.status().chunks == chunks
    file = library.file_at(tmp_path / "media" / name)
    assert file is not None
    assert library.thumbnail(library.chunks(file.file_id)[-1].chunk_id) is not None
    assert library.verify().problems == []


def test_an_image_of_300_megapixels_is_refused_by_name(tmp_path: Path, open_library: OpenLibrary) -> None:
    library = indexed_alone(three_hundred_megapixels, "scan.tiff", tmp_path, open_library)
    (failure,) = library.failures()
    assert failure.path.endswith("scan.tiff") and "20,000 x 15,000 pixels are more than" in failure.reason


def indexed_alone(make: Any, name: str, tmp_path: Path, open_library: OpenLibrary) -> Library:
    (tmp_path / "media").mkdir()
    make(tmp_path / "media" / name)
    library = open_library(speech="off")
    begun = time.monotonic()
    report = library.index([tmp_path / "media"])
    print(f"\n{name}: {report.chunks} chunks, {report.failed} refused, in {time.monotonic() - begun:.0f} s")
    return library
