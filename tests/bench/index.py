"""`make bench-index`: what the indexer costs beside the bare work, in ratios of one run.

One function a row; each returns (measure, measured, target, details) and cleans up behind itself.
`python -m tests.bench.index NAME...` runs some of them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests import media
from tests.bench import report, vectors

Row = tuple[str, object, str, str]


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sightline-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def throughput(copies: int = 1) -> Row:
    """Indexing beside decoding alone and embedding alone, of the same files on the same cores; each file
    `copies` times, with another byte at its end."""
    from indexer.library import Library

    with scratch() as folder:
        files = folder / "media"
        files.mkdir()
        for n in range(120):
            media.draw_image(files / f"{n}.jpg", seed=n, size=(1600, 1200))
        for n in range(4):
            media.draw_pdf(files / f"{n}.pdf", [f"Page {p} of book {n}, " + "some words " * 80 for p in range(15)])
        for n in range(3):
            media.draw_video(files / f"{n}.mp4", 125.0, size=(640, 360), fps=15, text=str(n), gop=60)
        for path in list(files.iterdir()):
            for n in range(1, copies):
                (files / f"{n} {path.name}").write_bytes(path.read_bytes() + bytes([n]))
        time.sleep(0.5)
        decode_s, decode_cpu, inputs = _bare_decode(files)
        embed_s, embed_cpu = _bare_embed(inputs)
        with Library.open(folder / "library", nice=False, ocr="off", speech="off") as library:
            library.models.requested()  # the model is loaded before the clock starts, as for the bare run
            for warm in [library.sandbox.submit(time.sleep, 0.5) for _ in range(2)]:
                warm.result()  # both children are there, as for the bare run
            begun = time.perf_counter()
            chunks = library.index([files]).chunks
            wall = time.perf_counter() - begun
    cores = len(os.sched_getaffinity(0))
    bound = max(decode_s, embed_s, (decode_cpu + embed_cpu) / cores)
    return (
        f"indexing wall time / max(bare decode, bare embed), {127 * copies:,} files",
        wall / max(decode_s, embed_s),
        "≤ 1.15",
        f"{chunks} chunks: {wall:.1f} s ({chunks / wall:.1f}/s); decode {decode_s:.1f} s,"
        f" embed {embed_s:.1f} s;"
        f" both need {decode_cpu + embed_cpu:.1f} s of CPU, on {cores} cores at least {bound:.1f} s:"
        f" indexing takes {wall / bound:.2f} of that",
    )


def throughput_large() -> Row:
    """The same where starting up does not count."""
    return throughput(copies=8)


def _bare_decode(files: Path) -> tuple[float, float, list[Any]]:
    """(seconds, CPU seconds, inputs): two children, no catalogue, no model; at lite's own size."""
    from data import reader
    from data.media.kinds import kind_of
    from data.media.sandbox import Sandbox
    from indexer.pipeline.jobs import group_of
    from model.embedder import side_for
    from model.lite.embedder import LiteEmbedder

    inputs: list[Any] = []
    with Sandbox(workers=2, nice=False) as sandbox:
        for warm in [sandbox.submit(time.sleep, 0.5) for _ in range(2)]:
            warm.result()
        before = _children_cpu(sandbox.pids())
        begun = time.perf_counter()
        kinds = {p: k for p in sorted(files.iterdir()) if (k := kind_of(p))}
        outlines = {p: sandbox.submit(reader.outline, p, k) for p, k in kinds.items()}
        waiting = []
        for path, kind in kinds.items():
            specs = outlines[path].result().chunks
            side = side_for(LiteEmbedder, kind)
            count = group_of(kind, side)
            for i in range(0, len(specs), count):
                group = specs[i : i + count]
                waiting.append((kind, sandbox.submit(reader.decode, path, kind, group, max_side=side, thumbnails=True)))
        for kind, future in waiting:
            inputs += [reader.to_input(chunk, kind) for chunk in future.result()]
        seconds = time.perf_counter() - begun
        cpu = _children_cpu(sandbox.pids()) - before
    return seconds, cpu, inputs


def _children_cpu(pids: list[int]) -> float:
    import psutil

    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _bare_embed(inputs: list[Any]) -> tuple[float, float]:
    from model.lite.embedder import LiteEmbedder

    embedder = LiteEmbedder.load()
    embedder.embed(inputs[:4])
    cpu, begun = time.process_time(), time.perf_counter()
    for i in range(0, len(inputs), 16):
        embedder.embed(inputs[i : i + 16])
    return time.perf_counter() - begun, time.process_time() - cpu


def second_scan() -> Row:
    """100,000 unchanged files in 1,000 folders, beside a bare walk with a stat each."""
    from indexer.catalogue.catalogue import Catalogue
    from indexer.files.scanner import scan

    with scratch() as folder:
        _plant(folder / "media", 100_000, contents=1)
        catalogue = Catalogue(folder / "c.sqlite")
        catalogue.files.set_root(folder / "media")
        scan(catalogue, catalogue.files.roots()[0])
        bare, ours = [], []
        for _ in range(5):
            bare.append(_timed(lambda: _bare_walk(str(folder / "media"))))
            ours.append(_timed(lambda: scan(catalogue, catalogue.files.roots()[0])))
        seen = scan(catalogue, catalogue.files.roots()[0])
        assert (seen.files, seen.changed) == (100_000, 0)
        catalogue.close()
    return (
        "second run over 100,000 unchanged files / bare scandir + stat",
        statistics.median(ours) / statistics.median(bare),
        "≤ 1.5",
        f"{statistics.median(ours):.2f} s beside {statistics.median(bare):.2f} s (medians of 5)",
    )


def _bare_walk(top: str) -> int:
    count, folders = 0, [top]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat()
                    count += 1
    return count


def _timed(job: Callable[[], object]) -> float:
    begun = time.perf_counter()
    job()
    return time.perf_counter() - begun


def _plant(folder: Path, files: int, contents: int) -> None:
    """`files` tiny images, a hundred a folder, of `contents` different contents."""
    pictures = []
    for n in range(contents):
        picture = np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8)
        pictures.append(b"P6 4 4 255\n" + picture.tobytes() if contents == 1 else _png(picture))
    for n in range(files):
        if n % 100 == 0:
            inside = folder / f"{n // 10_000:02}" / f"{n // 100:04}"
            inside.mkdir(parents=True)
        (inside / f"picture {n}.png").write_bytes(pictures[n % contents])


def _png(picture: np.ndarray) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


MEMORY = """
import resource, sys
from pathlib import Path
from indexer.library import Library
with Library.open(Path(sys.argv[1]), nice=False, ocr="off", speech="off") as library:
    print(library.index([Path(sys.argv[2])]).chunks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory() -> Row:
    """Peak memory of the indexing program; of the 100,000 files 5,000 differ, the others are copies."""
    peaks, chunks = {}, {}
    for files in (1_000, 100_000):
        with scratch() as folder:
            _plant(folder / "media", files, contents=min(files, 5_000))
            command = [sys.executable, "-c", MEMORY, str(folder / "library"), str(folder / "media")]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        chunks[files], peaks[files] = int(told[0]), int(told[1]) / 1024
    return (
        "peak memory at 100,000 files / at 1,000 files",
        peaks[100_000] / peaks[1_000],
        "≤ 1.2",
        f"{peaks[100_000]:.0f} MB ({chunks[100_000]:,} contents) beside {peaks[1_000]:.0f} MB ({chunks[1_000]:,})",
    )


def event_to_searchable() -> Row:
    """A new photo closed by its writer, until the vector index has it."""
    from indexer.library import Library

    with scratch() as folder:
        (folder / "media").mkdir()
        pictures = [media.draw_image(folder / f"{n}.jpg", seed=n, size=(1600, 1200)) for n in range(31)]
        with Library.open(folder / "library", ocr="off", speech="off") as library:
            library.add_root(folder / "media")
            library.start()
            seconds = []
            for n, picture in enumerate(pictures):
                data = picture.read_bytes()
                (folder / "media" / picture.name).write_bytes(data)
                begun = time.perf_counter()
                while library.catalogue.models.answering() is None or len(library.vector_index()) <= n:
                    time.sleep(0.01)
                seconds.append(time.perf_counter() - begun)
        seconds = sorted(seconds[1:])  # the first waits for the model to load
    return (
        "file event to searchable, p95, seconds",
        seconds[int(0.95 * len(seconds))],
        "≤ 2",
        f"p50 {statistics.median(seconds):.2f} s, worst {seconds[-1]:.2f} s, {len(seconds)} photos in turn",
    )


ROWS: dict[str, Callable[[], Row]] = {
    "throughput": throughput,
    "throughput_large": throughput_large,
    "second_scan": second_scan,
    "memory": memory,
    "event": event_to_searchable,
}


SIZES: dict[str, Callable[[], list[Row]]] = {"million": vectors.million, "wide": vectors.wide}
"""The vector index at size; several rows each."""


def main(names: list[str]) -> None:
    rows = [ROWS[name]() for name in names or ROWS if name in ROWS]
    rows += [row for name in names or SIZES for row in (SIZES[name]() if name in SIZES else [])]
    table = report.table(("measure", "measured", "target", "details"), rows)
    if names:
        print(table)
    else:
        report.write("index", table)


if __name__ == "__main__":
    main(sys.argv[1:])
