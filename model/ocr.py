"""Reads the text in an image: `read_text(image) -> str`.

Built around two small networks of PP-OCRv6 on onnxruntime: one detects text lines, the other reads the characters
of a line scaled to 48 pixels; a third, made of the first, says whether there are letters at all. The steps between
(boxes from the map, upright crops, CTC decoding) use NumPy and Pillow instead of OpenCV. Languages: English, Chinese,
Japanese and others in Latin script.

It knows nothing of files or pages, and nothing leaves the machine. An image without text costs some hundredths of a
second, a dense page a few seconds (`make bench-quality`, `make bench-ocr`).
"""

from __future__ import annotations

import math
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from model.embedder import ModelError, first_line
from model.lite import weights

Turn = Image.Transpose

RECIPE = 1

DETECT_SIDE = 640  # longest side of the detector's input
# Most pictures show no letters. A network says so that is a part of the detector in whole numbers
# (`lite/build/letters.py`): of 307 pictures of the sample set without words (half of them learnt) .87 have no score
# above this, and the 59 with words or lettered by the benchmark have 1.5 and more; in float32 .83, and 2.1. Nothing was
# learnt of small pictures, which cost little: their lines are looked for in any case.
_LEAST_LETTERS, _SMALL_PIXELS = -1.5, 128 * 128
# Where all scores above `_LEAST_NEAR` lie close together, and the cells `_AROUND` them make no more than this share of
# the picture, lines are looked for in that part alone. Parts of half a picture change what is read: the network weighs
# its features by their mean over the picture.
_CELL, _LEAST_NEAR, _AROUND, _PART = 16, -2.5, 4, 0.3
_DENSE_LINES, _DENSE_DETECT_SIDE = 20, 768  # for an image with at least 20 lines
_IMAGE_SIDE = 2000  # longest side of the image that lines are cropped from
_MIN_PIXEL, _MIN_BOX = 0.3, 0.5  # probabilities of a pixel, of a box
_MIN_LINE = 0.5  # mean probability of a line's characters; below it is texture, not text
# The network takes outlines for single letters: of 481 photographs and cut-outs 56 gave one or two invented letters,
# at .5 to .95 (one at .99); real short words have .98 and above. A line of one letter is dropped.
_SHORT, _MIN_SHORT = 3, 0.9
_GROW = 1.6  # the map marks the core of a line: each box grows by area * this / perimeter
_MAX_LINES = 1000
_HEIGHT = 48
_MAX_WIDTH = 3200  # of a line scaled to a height of 48 pixels; a longer one is squeezed
# A short line is read at its own width, a fifth of the time that the network's usual 320 pixels take. Of 310 boxes of
# the sample set that reads three words more, invents two, and refuses four: a doubtful line is read at both.
_MIN_WIDTH, _USUAL_WIDTH, _DOUBTFUL = 48, 320, 0.3
_WORD = 3.0  # length by height from which a line shows which way up it is
_SURE, _SURER = 0.85, 0.1  # mean probability of words that are the right way up; how much more the other way must have

_lock = threading.Lock()
_reader: TextReader | None = None
# Each reading holds the networks' intermediate results. In the background two run at a time, which is what the CPUs do.
_background = threading.BoundedSemaphore(2)


def read_text(image: np.ndarray, most: int | None = None) -> str:
    """Returns the text of an image (uint8 RGB [H, W, 3]), line by line from top to bottom; "" without text.

    `most`: read only so many of the longest lines, without the second detection; for interactive use.
    Raises `ModelError` if the networks are missing. Safe to call from several threads.
    """
    reader = prepare()
    with _background if most is None else nullcontext():
        return reader.read(image, most)


def prepare() -> TextReader:
    """Returns the reader of `read_text`, loaded the first time. Raises `ModelError` if the networks are missing."""
    global _reader
    with _lock:
        if _reader is None:
            _reader = TextReader.load()
        return _reader


@dataclass(frozen=True)
class Box:
    """A text line: its centre, its length along `angle` (radians) and its height, in pixels."""

    x: float
    y: float
    length: float
    height: float
    angle: float

    @property
    def is_word(self) -> bool:
        """Whether the line is long enough to show which way up it is."""
        return max(self.length, self.height) >= _WORD * min(self.length, self.height)

    def corners(self) -> np.ndarray:
        """Returns float64 [4, 2]: top left, top right, bottom right, bottom left in reading direction."""
        along = np.array([math.cos(self.angle), math.sin(self.angle)]) * self.length / 2
        down = np.array([-math.sin(self.angle), math.cos(self.angle)]) * self.height / 2
        offsets = np.array([-along - down, along - down, along + down, -along + down])
        return np.asarray(offsets + np.array([self.x, self.y]))


class Reading(NamedTuple):
    """The text of a line and the mean probability of its characters."""

    text: str
    probability: float

    @property
    def accepted(self) -> str:
        """The text, "" at a low probability."""
        least = _MIN_LINE if _count_alphanumeric(self.text) > _SHORT else _MIN_SHORT
        return self.text if self.probability >= least else ""


class TextReader:
    """The loaded networks."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # an arena keeps the memory of the widest line
        options.enable_mem_pattern = False  # with it and without an arena 480 x 640 pixels take 68 ms in place of 53
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(name: str) -> Any:
            return onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])

        self._detecting = threading.Lock()  # two at once would hold the maps of both
        self._letters, self._detect, self._recognise = map(session, ("letters.onnx", "detect.onnx", "recognise.onnx"))
        characters = self._recognise.get_modelmeta().custom_metadata_map["character"]
        self._characters = np.array(["", *characters.splitlines(), " "])  # CTC's blank is class 0

    @classmethod
    def load(cls, folder: Path | None = None, threads: int | None = None) -> TextReader:
        """Loads the networks that `sightline setup` installs. Raises `ModelError`.

        `threads`: None takes half of the CPUs, at most 4, because OCR runs in the background.
        """
        threads = threads or max(1, min(4, (os.cpu_count() or 1) // 2))
        folder = folder or weights.find("ocr")
        weights.check_sizes(folder)
        try:
            return cls(folder, threads)
        except Exception as error:  # onnxruntime raises bare Exceptions
            raise ModelError(
                f"the OCR networks in {folder} do not load ({first_line(error)}); run: {weights.COMMAND} --again"
            ) from error

    def read(self, image: np.ndarray, most: int | None = None) -> str:
        """See `read_text`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ModelError(f"an image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
        if min(image.shape[:2]) < 8:
            return ""
        page = Image.fromarray(np.ascontiguousarray(image))
        page.thumbnail((_IMAGE_SIDE, _IMAGE_SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
        boxes = self._lines(page, most)
        words = _longest([box for box in boxes if box.is_word])
        if sum(box.height > box.length for box in words) > len(words) / 2:
            page = page.transpose(max((Turn.ROTATE_90, Turn.ROTATE_270), key=partial(self._sureness, page, words)))
            boxes = self._lines(page, most)
        readings = self._read_lines(page, boxes)
        words = _longest([box for box in boxes if box.is_word and box.length > box.height])
        sureness = float(np.mean([readings[box].probability for box in words])) if words else 1.0
        if sureness < _SURE and self._sureness(page, words, Turn.ROTATE_180) > sureness + _SURER:
            page = page.transpose(Turn.ROTATE_180)
            readings = self._read_lines(page, self._lines(page, most))
        lines: list[str] = []
        for row in _rows(list(readings)):
            texts = [readings[box].accepted for box in sorted(row, key=lambda box: box.x)]
            lines.append(" ".join(text for text in texts if text))
        return "\n".join(line for line in lines if _count_alphanumeric(line) > 1)

    def _lines(self, page: Image.Image, most: int | None) -> list[Box]:
        """Returns the text lines in pixels of `page`; `most`: as for `read_text`."""
        boxes = self._detect_lines(page, DETECT_SIDE)
        if most is not None:
            return _longest(boxes, most)
        # At 640 tight lines merge: correct words of three pages .95, with a blurring filter .91, at 768 .99.
        if len(boxes) < _DENSE_LINES or max(page.size) <= DETECT_SIDE:
            return boxes
        return self._detect_lines(page, _DENSE_DETECT_SIDE)

    def _detect_lines(self, page: Image.Image, side: int) -> list[Box]:
        """Returns the text lines in pixels of `page`. `side`: the longest side of the detector's input."""
        size = detector_size(page, side)
        pixels = page.resize(size, Image.Resampling.BOX)
        with self._detecting:
            part = (0, 0, *size) if is_small(size) else lettered_part(self._scores(pixels))
            if part is None:
                return []
            probabilities = self._detect.run(None, {"x": detector_input(pixels.crop(part))})[0][0, 0]
        boxes = [replace(box, x=box.x + part[0], y=box.y + part[1]) for box in boxes_of(probabilities)]
        boxes = [in_picture(box, page.size, size) for box in boxes]
        return [box for box in boxes if min(box.length, box.height) > 3]

    def _scores(self, pixels: Image.Image) -> np.ndarray:
        """Returns float32 [rows, columns]: of each cell of the detector's input, how likely letters stand there."""
        scores = self._letters.run(None, {"pixels": np.asarray(pixels)[None]})[0]
        return np.asarray(scores[0, 0])

    def read_box(self, page: Image.Image, box: Box) -> Reading:
        """Returns the text of one line."""
        return self._read_line(_crop(page, box))

    def _read_lines(self, page: Image.Image, boxes: list[Box]) -> dict[Box, Reading]:
        return {box: self.read_box(page, box) for box in boxes}

    def _sureness(self, page: Image.Image, words: list[Box], turn: Turn) -> float:
        """Returns the mean probability of words when they are turned."""
        return float(np.mean([self._decode(_crop(page, box).transpose(turn)).probability for box in words]))

    def _read_line(self, line: Image.Image) -> Reading:
        """A vertical line is read in both directions, unless the first is likely."""
        if line.height < 1.5 * line.width:
            return self._decode(line)
        reading = self._decode(line.transpose(Turn.ROTATE_90))
        if reading.probability >= _MIN_SHORT:
            return reading
        return max(reading, self._decode(line.transpose(Turn.ROTATE_270)), key=lambda reading: reading.probability)

    def _decode(self, line: Image.Image) -> Reading:
        """Reads a horizontal line.

        One line per call: 44 lines of a page take 3.4 s, in batches of six 4.5 s, because of the padding.
        """
        width = min(_MAX_WIDTH, max(1, math.ceil(_HEIGHT * line.width / line.height)))
        pixels = _normalise(np.asarray(line.resize((width, _HEIGHT), Image.Resampling.BILINEAR)))
        reading = self._recognise_at(pixels, _MIN_WIDTH)
        if width >= _USUAL_WIDTH or reading.accepted or reading.probability < _DOUBTFUL:
            return reading
        if _count_alphanumeric(reading.text) < 2:
            return reading
        wide = self._recognise_at(pixels, _USUAL_WIDTH)
        return wide if wide.accepted else reading

    def _recognise_at(self, pixels: np.ndarray, min_width: int) -> Reading:
        """Reads float32 [3, _HEIGHT, n], padded to `min_width`, by greedy CTC: repeats joined, blanks dropped."""
        padding = max(0, min_width - pixels.shape[2])
        probabilities = self._recognise.run(None, {"x": np.pad(pixels, ((0, 0), (0, 0), (0, padding)))[None]})[0][0]
        classes = probabilities.argmax(1)
        mask = (classes != 0) & np.append(True, classes[1:] != classes[:-1])
        if not mask.any():
            return Reading("", 0.0)
        text = "".join(self._characters[classes[mask]]).strip()
        return Reading(text, float(probabilities[mask, classes[mask]].mean()))


def _longest(boxes: list[Box], most: int = 3) -> list[Box]:
    return sorted(boxes, key=lambda box: -max(box.length, box.height))[:most]


def _count_alphanumeric(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _normalise(pixels: np.ndarray) -> np.ndarray:
    """Converts uint8 RGB [H, W, 3] to float32 BGR [3, H, W] in -1..1, the input of both networks."""
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1), np.float32) / 127.5 - 1


def detector_size(page: Image.Image, side: int) -> tuple[int, int]:
    """Returns the width and height of the detector's input: no larger than the picture, whole multiples of 32."""
    scale = min(1.0, side / max(page.size))
    width, height = (max(32, round(length * scale / 32) * 32) for length in page.size)
    return width, height


def lettered_part(scores: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns the part of the detector's input where lines are looked for, in whole multiples of 32 pixels: left, top,
    right, bottom; None without letters. All of it, unless they stand close together."""
    if scores.max() <= _LEAST_LETTERS:
        return None
    rows, columns = np.nonzero(scores > min(_LEAST_NEAR, _LEAST_LETTERS))
    height, width = scores.shape
    top, left = ((max(0, int(cells.min()) - _AROUND) // 2 * 2) for cells in (rows, columns))
    bottom, right = (
        min(most, (int(cells.max()) + _AROUND + 2) // 2 * 2) for cells, most in ((rows, height), (columns, width))
    )
    if (bottom - top) * (right - left) > _PART * height * width:
        return 0, 0, width * _CELL, height * _CELL
    return left * _CELL, top * _CELL, right * _CELL, bottom * _CELL


def is_small(size: tuple[int, int]) -> bool:
    """Whether a detector's input is looked at whole in any case."""
    return size[0] * size[1] <= _SMALL_PIXELS


def detector_input(pixels: Image.Image) -> np.ndarray:
    """Returns float32 [1, 3, H, W] of a picture of the detector's size."""
    return _normalise(np.asarray(pixels))[None]


def in_picture(box: Box, size: tuple[int, int], of: tuple[int, int]) -> Box:
    """Returns a box of the detector's input, which is of the size `of`, in pixels of a picture of `size`."""
    return _scale(box, size[0] / of[0], size[1] / of[1])


def _scale(box: Box, by_x: float, by_y: float) -> Box:
    """Scales a box. The angle stays, because the two factors differ only by the rounding to 32."""
    level = abs(math.cos(box.angle))
    along, across = by_x * level + by_y * (1 - level), by_y * level + by_x * (1 - level)
    return Box(box.x * by_x, box.y * by_y, box.length * along, box.height * across, box.angle)


def _crop(page: Image.Image, box: Box) -> Image.Image:
    """Returns the pixels of a box, rotated to horizontal."""
    corners = box.corners()
    if abs(box.angle) < 0.02:
        left, top = np.maximum(corners.min(0), 0).astype(int).tolist()
        right, bottom = np.minimum(corners.max(0).round().astype(int), page.size).tolist()
        return page.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    # A tall line is made smaller first, to no less than twice the network's height.
    factor = max(1, int(min(box.length, box.height) / (2 * _HEIGHT)))
    if factor > 1:
        left, top = np.clip(corners.min(0) - factor, 0, np.array(page.size) - 1).astype(int).tolist()
        right, bottom = np.clip(corners.max(0) + factor, (left + 1, top + 1), page.size).astype(int).tolist()
        page = page.reduce(factor, (left, top, right, bottom))
        corners = (corners - (left, top)) / factor
    size = max(1, round(box.length / factor)), max(1, round(box.height / factor))
    quad = tuple(corners[[0, 3, 2, 1]].reshape(-1).tolist())
    return page.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def _rows(boxes: list[Box]) -> list[list[Box]]:
    """Groups boxes side by side into rows, from top to bottom."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.y):
        if not rows or box.y - rows[-1][-1].y > 0.5 * min(box.height, rows[-1][-1].height):
            rows.append([])
        rows[-1].append(box)
    return rows


def boxes_of(probabilities: np.ndarray) -> list[Box]:
    """Returns the text lines in a map of probabilities, float32 [H, W]; of an empty map none.

    The post-processing of differentiable binarisation (Liao et al., AAAI 2020): the smallest rectangle around each
    island above .3, if the map's mean inside is high, grown by `_GROW`.
    """
    boxes: list[Box] = []
    if probabilities.max(initial=0) < _MIN_BOX:
        return boxes
    for rows, starts, ends in islands(probabilities > _MIN_PIXEL)[:_MAX_LINES]:
        top, bottom, left, right = rows[0], rows[-1] + 1, starts.min(), ends.max()
        # Most islands are specks of a few pixels: no rectangle is looked for around them.
        if min(bottom - top, right - left) < 3 or probabilities[top:bottom, left:right].max() < _MIN_BOX:
            continue
        box = smallest_rectangle(outline(rows, starts, ends))
        if min(box.length, box.height) < 3 or _mean_inside(probabilities, box) < _MIN_BOX:
            continue
        margin = 2 * box.length * box.height * _GROW / (2 * (box.length + box.height))
        box = Box(box.x, box.y, box.length + margin, box.height + margin, box.angle)
        if min(box.length, box.height) >= 5:
            boxes.append(box)
    return boxes


def islands(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the connected parts (8 neighbours) of bool [H, W], each as its runs: rows, starts, ends (exclusive)."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(mask.shape[0] + 1)).tolist()
    left, right = starts.tolist(), ends.tolist()
    for row in range(1, mask.shape[0]):
        above, below = first[row - 1], first[row]
        while above < first[row] and below < first[row + 1]:
            if left[above] <= right[below] and left[below] <= right[above]:
                parent[root(above)] = root(below)
            if right[above] < right[below]:
                above += 1
            else:
                below += 1
    roots = np.array([root(run) for run in range(len(rows))], int)
    groups = np.split(np.argsort(roots, kind="stable"), np.nonzero(np.diff(np.sort(roots)))[0] + 1)
    return [(rows[runs], starts[runs], ends[runs]) for runs in groups if len(runs)]


def outline(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns points [n, 2] with the same hull as the pixels of an island: of each row the far corners, without most of
    those that lie between their neighbours. A hull is slow, and an island may have a thousand rows."""
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    points = []
    for sign, edges in ((1, starts), (-1, ends)):
        x = np.minimum.reduceat(sign * edges, first).astype(np.float64)
        # The map is dilated by one pixel to the right and down: the far edges of islands are one pixel further.
        x = np.minimum(np.append(x, np.inf), np.insert(x, 0, np.inf))
        y = np.arange(rows[0], rows[0] + len(x), dtype=np.float64)
        for _ in range(8):
            above, below = np.diff(y)[:-1], np.diff(y)[1:]
            kept = np.pad((x[:-2] * below + x[2:] * above) > x[1:-1] * (above + below), 1, constant_values=True)
            x, y = x[kept], y[kept]
        points.append(np.stack([sign * x, y], 1))
    return np.concatenate(points)


def smallest_rectangle(points: np.ndarray) -> Box:
    """Returns the rectangle of least area around points [n, 2]; one side lies on an edge of their hull.

    Its angle is within 45 degrees of horizontal, so that a line reads from left to right.
    """
    hull = _hull(points)
    edges = np.diff(np.concatenate([hull, hull[:1]]), axis=0)
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (math.pi / 2), 6))
    cos, sin = np.cos(angles), np.sin(angles)
    along = hull @ np.stack([cos, sin])
    down = hull @ np.stack([-sin, cos])
    lengths, heights = np.ptp(along, 0), np.ptp(down, 0)
    best = int(np.argmin(lengths * heights))
    middle_along = (along[:, best].max() + along[:, best].min()) / 2
    middle_down = (down[:, best].max() + down[:, best].min()) / 2
    x = middle_along * cos[best] - middle_down * sin[best]
    y = middle_along * sin[best] + middle_down * cos[best]
    angle, length, height = float(angles[best]), float(lengths[best]), float(heights[best])
    if angle > math.pi / 4:
        angle, length, height = angle - math.pi / 2, height, length
    return Box(float(x), float(y), length, height, angle)


def _hull(points: np.ndarray) -> np.ndarray:
    """Returns the convex hull, in order (Andrew's monotone chain)."""
    unique = sorted(set(map(tuple, points.tolist())))

    def half(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
        chain: list[tuple[float, float]] = []
        for x, y in run:
            while len(chain) > 1:
                (x0, y0), (x1, y1) = chain[-2], chain[-1]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                chain.pop()
            chain.append((x, y))
        return chain

    return np.array(half(unique)[:-1] + half(unique[::-1])[:-1])


def _mean_inside(probabilities: np.ndarray, box: Box) -> float:
    """Returns the mean of the map over the pixels with their centre in the box."""
    corners = box.corners()
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    part = probabilities[top:bottom, left:right]
    if abs(box.angle) < 1e-3:
        return float(part.mean())
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]] + 0.5
    x, y = columns - box.x, rows - box.y
    cos, sin = math.cos(box.angle), math.sin(box.angle)
    inside = (np.abs(x * cos + y * sin) <= box.length / 2) & (np.abs(y * cos - x * sin) <= box.height / 2)
    return float(part[inside].mean()) if inside.any() else 0.0
