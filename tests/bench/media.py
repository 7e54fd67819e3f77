"""What reading costs: `python -m tests.bench.media`. CPU seconds, which a busy machine disturbs least.

Three questions: which decoder for which request (the rule in `data.media.video`), what a keyframe nearby
saves, and what the sandbox adds to decoding in the same process. The media are drawn on the spot: 720p H.264
with a keyframe every 2 s and every 8 s, a 12-megapixel JPEG, a PDF page with a picture.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from data import reader
from data.media import pdf
from data.media.sandbox import Sandbox
from data.media.video import sample_frames
from tests.bench.report import table, write
from tests.media import draw_image, draw_pdf, draw_video, picture

SECONDS = 62


def cpu(call: Callable[[], object], repeat: int = 3) -> float:
    """Least CPU seconds of this process over a few calls."""
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def _times(count: int, call: Callable[[], object]) -> None:
    for _ in range(count):
        call()


def film(path: Path, gop: int) -> Path:
    """A camera that wanders over drawn pictures, 720p, 30 frames a second."""
    scenes = [np.asarray(picture(f"scene {i}", (2000, 1500), seed=i)) for i in range(4)]

    def frame(t: float) -> Image.Image:
        x, y = int(300 + 280 * np.sin(t / 3)), int(300 + 250 * np.cos(t / 4))
        return Image.fromarray(scenes[int(t / 13) % 4][y : y + 720, x : x + 1280])

    return draw_video(path, SECONDS, 30, (1280, 720), frame=frame, gop=gop)


def engines(films: dict[str, Path]) -> list[list[object]]:
    rows: list[list[object]] = []
    asked = (("8 frames", 8, 448), ("8 frames", 8, 1280), ("150 frames", 150, 448), ("all 900", 900, 224))
    for name, path in films.items():
        for what, count, side in asked:
            take = partial(sample_frames, path, 30, 60, count, side)
            near = partial(take, tolerance_s=reader.KEYFRAME_TOLERANCE * 30 / count)
            times = [cpu(partial(take, engine="pyav")), cpu(partial(take, engine="decord")), cpu(near)]
            rows.append([f"{name}, {what} of 30 s at {side} px", *times])
    return rows


def sandboxed(cases: dict[str, tuple[Path, reader.Kind]]) -> list[list[object]]:
    rows: list[list[object]] = []
    with Sandbox(workers=1, nice=False) as box:
        for name, (path, kind) in cases.items():
            specs = box.submit(reader.outline, path, kind).result().chunks[:2]
            side = 640 if kind == "video" else 1280  # as the indexer asks
            ten = partial(_times, 10, partial(reader.decode, path, kind, specs, max_side=side, thumbnails=True))
            here = cpu(ten) / 10
            child = psutil.Process(box.pids()[0])
            best, parent, calls = float("inf"), 0.0, 10  # the system counts a child's time in steps of 10 ms
            for _ in range(3):
                before, start = sum(child.cpu_times()[:2]), time.process_time()
                for _ in range(calls):
                    chunks = box.submit(reader.decode, path, kind, specs, max_side=side, thumbnails=True).result()
                spent = (time.process_time() - start) / calls
                total = (sum(child.cpu_times()[:2]) - before) / calls + spent
                if total < best:
                    best, parent = total, spent
            size = sum(chunk.frames.nbytes for chunk in chunks) / 1e6
            rows.append([name, f"{size:.1f} MB", here, best, parent, best / here])
    return rows


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        films = {"keyframe each 2 s": film(root / "a.mp4", 60), "keyframe each 8 s": film(root / "b.mp4", 250)}
        photo = draw_image(root / "a.jpg", size=(4000, 3000), quality=90)
        page = draw_pdf(root / "a.pdf", ["words " * 300], image=picture(size=(800, 600)))
        parts = ["CPU seconds a request, one thread:", ""]
        parts.append(table(["request", "PyAV", "decord", "PyAV, keyframe nearby"], engines(films)))
        rows: list[list[object]] = []
        for engine in ("pymupdf", "pypdfium2"):
            os.environ["SIGHTLINE_PDF"] = engine
            rows.append([engine, cpu(lambda: pdf.page_image(page, 1)), cpu(lambda: pdf.page_text(page, 1))])
        os.environ.pop("SIGHTLINE_PDF")
        parts += ["", table(["PDF engine", "page image, s", "page text, s"], rows)]
        cases: dict[str, tuple[Path, reader.Kind]] = {
            "12 MP photo": (photo, "image"),
            "two windows of video": (films["keyframe each 2 s"], "video"),
            "PDF page": (page, "pdf"),
        }
        head = ["decode", "comes back", "in process, s", "sandbox, s", "of it in the parent, s", "ratio"]
        parts += ["", table(head, sandboxed(cases))]
    write("media", "\n".join(parts))


if __name__ == "__main__":
    main()
