"""`make bench-ocr`: what reading the words in the sample set's images costs, beside the build of 82a8a70 and rapidocr.

Built around the 481 photos and cut-outs of samples/ and the plates and signs of `make bench-answers`, decoded once for
all readers. Each reader is a process of its own environment and reads one slice after the other, in turns with the
others; only the time in the reader counts. `--environment PYTHON` and `--rapidocr PYTHON` name environments that are
there, `--slices N` reads the first N slices alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.media.image import read_image
from indexer.pipeline.stage_ocr import OCR_SIDE
from tests.bench import report
from tests.bench.answers import lettered
from tests.bench.baseline import COMMIT, ROOT, checkout, environment_of
from tests.bench.index import scratch
from tests.quality.samples import fetch

SLICES = 8
TARGET = 0.5
RAPIDOCR = ("rapidocr==3.10.0", "onnxruntime==1.32.0")

# Run by each reader's interpreter: arguments are the reader and the folder; prints CPU seconds and the text by name.
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
if sys.argv[1] == "rapidocr":
    from rapidocr import RapidOCR
    engine = RapidOCR(params={
        "Global.use_cls": False, "Global.log_level": "critical", "Det.limit_side_len": 640, "Det.limit_type": "max",
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    })
    read = lambda image: "\\n".join(engine(image[:, :, ::-1].copy()).txts or ())
else:
    from model.ocr import TextReader
    read = TextReader.load(threads=1).read
read(np.full((64, 64, 3), 255, np.uint8))
found = {}
for path in sorted(Path(sys.argv[2]).iterdir()):
    image = np.load(path)
    start = time.process_time()
    text = read(image)
    found[path.stem] = time.process_time() - start, text
print(json.dumps(found))
"""


class Reader(NamedTuple):
    """An engine, the interpreter that has it, and the source tree that it runs in."""

    python: Path
    source: Path


def plant(folder: Path) -> dict[str, str]:
    """Decode the images into SLICES folders. Returns the text that each plate or sign shows, by its name."""
    samples = ROOT / "samples"
    paths = sorted([*(samples / "images").iterdir(), *(samples / "stamps").glob("*.png")])
    drawn = folder / "drawn"
    drawn.mkdir(parents=True)
    words = sorted({word for path in paths for word in re.findall("[a-z]{4,}", path.stem)})
    shown = {name: text for _, text, name in lettered(drawn, np.random.default_rng(4), words)}
    for number, path in enumerate([*paths, *sorted(drawn.iterdir())]):
        here = folder / str(number % SLICES)
        here.mkdir(exist_ok=True)
        np.save(here / f"{path.stem}.npy", read_image(path, OCR_SIDE))
    return shown


def run(reader: Reader, name: str, folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Returns seconds and text by image."""
    environment = os.environ | {"PYTHONPATH": str(reader.source), "OMP_NUM_THREADS": "1"}
    command = [str(reader.python), "-c", PROGRAM, name, str(folder)]
    done = subprocess.run(command, cwd=reader.source, env=environment, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {image: took for image, (took, _) in found.items()}, {image: text for image, (_, text) in found.items()}


def rapidocr_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *RAPIDOCR], check=True)
    return python


def words_of(text: str) -> Counter[str]:
    return Counter(word for word in re.findall(r"\w+", text.lower()) if len(word) > 1)


def table(readers: dict[str, Reader], folder: Path, slices: int) -> str:
    shown = plant(folder)
    seconds: dict[str, list[float]] = {name: [] for name in readers}  # of a slice's images of the sample set
    for_drawn = dict.fromkeys(readers, 0.0)
    texts: dict[str, dict[str, str]] = {name: {} for name in readers}
    for number in range(slices):
        for name in sorted(readers, reverse=bool(number % 2)):
            took, read = run(readers[name], name, folder / str(number))
            drawn = sum(took[image] for image in took if image in shown)
            seconds[name].append(sum(took.values()) - drawn)
            for_drawn[name] += drawn
            texts[name] |= read
            print(number, name, f"{seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    rows: list[list[object]] = []
    before = {image: words_of(text) for image, text in texts["before"].items()}
    for name in readers:
        found = {image: words_of(text) for image, text in texts[name].items()}
        sample = [image for image in found if image not in shown]
        right = [words_of(shown[image]) <= found[image] for image in found if image in shown]
        ratio = sum(seconds[name]) / sum(seconds["before"])
        ratios = [took / old for took, old in zip(seconds[name], seconds["before"], strict=True)]
        rows.append(
            [
                name,
                sum(seconds[name]),
                ratio,
                f"{min(ratios):.2f}–{max(ratios):.2f}",
                sum(found[image].total() for image in sample),
                sum((found[image] & before[image]).total() for image in sample),
                statistics.mean(right),
                for_drawn[name] / for_drawn["before"],
            ]
        )
    head = ["reader", "CPU, s", f"of {COMMIT} (target ≤ {TARGET})", "by slice", "words", "of these also before"]
    count = len(texts["before"]) - sum(image in shown for image in texts["before"])
    return (
        f"The words in {count} images of the sample set, one thread; and {len(shown)} drawn plates and signs, all with "
        "words.\n\n" + report.table([*head, "plates and signs read", f"their CPU, of {COMMIT}"], rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, metavar="PYTHON", help="the interpreter for the old build")
    parser.add_argument("--rapidocr", type=Path, metavar="PYTHON", help="an interpreter that has rapidocr")
    parser.add_argument("--slices", type=int, default=SLICES, help=f"of {SLICES}; fewer print alone")
    options = parser.parse_args()
    fetch(ROOT / "samples")
    with scratch() as folder:
        source = checkout(folder / "source")
        readers = {
            "today": Reader(Path(sys.executable), ROOT),
            "before": Reader(options.environment or environment_of(source), source),
            "rapidocr": Reader(options.rapidocr or rapidocr_environment(folder / "rapidocr"), folder),
        }
        text = table(readers, folder / "images", options.slices)
    if options.slices == SLICES:
        report.write("ocr", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
