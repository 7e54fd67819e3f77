"""Read the text in a picture: `read_text(image) -> str`.

Built around two small networks of PP-OCRv6 on onnxruntime: one marks where text lines
are, the other turns a line of 48 pixels' height into characters. What lies between (boxes
out of the map, upright crops, CTC decoding) is NumPy and Pillow, so that no OpenCV comes
along. English, Chinese, Japanese and other Latin-script languages.

It knows nothing of files or pages, and nothing leaves the machine. A picture without text
costs about a tenth of a second, a dense page a few (`make bench-quality`); the caller
decides when that is worth it.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.embedder import ModelError
from model.lite import weights

RECIPE = 1

_DETECT_SIDE = 640  # longest side that the detector sees
_DETECT_DENSE, _DENSE = 768, 20  # and of a picture with at least so many lines
_PICTURE_SIDE = 2000  # longest side lines are cut from
_PIXEL_LEAST, _BOX_LEAST = 0.3, 0.5  # probabilities of a pixel, of a box
_LINE_LEAST = 0.5  # mean probability of a line's characters; below it is texture, not text
# An outline is easily taken for one letter: of 481 photos and cut-outs 56 gave a letter or two that nobody
# wrote, at .5 to .95 (one at .99); short words that were there came at .98 and above. One alone is none.
_FEW, _FEW_LEAST = 3, 0.9
_GROW = 1.6  # the map marks the core of a line: each box grows by area * this / perimeter
_LINES_MOST = 1000
_HEIGHT = 48
_WIDTH_MOST = 3200  # of a line scaled to 48 pixels' height; a longer one is squeezed

_lock = threading.Lock()
_reader: TextReader | None = None


def read_text(image: np.ndarray, most: int | None = None) -> str:
    """The text in a picture (uint8 RGB [H, W, 3]), a line a line, from top to bottom; "" if there is none.

    `most`: only the longest lines, so many, as found at the first look; for somebody who waits.
    Raises `ModelError` when the networks are missing. Safe to call from several threads.
    """
    global _reader
    with _lock:
        if _reader is None:
            _reader = TextReader.load()
    return _reader.read(image, most)


@dataclass(frozen=True)
class Box:
    """A text line: its middle, its length along `angle` (radians) and its height, in pixels."""

    x: float
    y: float
    length: float
    height: float
    angle: float

    def corners(self) -> np.ndarray:
        """float64 [4, 2]: top left, top right, bottom right, bottom left of the line as it is read."""
        along = np.array([math.cos(self.angle), math.sin(self.angle)]) * self.length / 2
        down = np.array([-math.sin(self.angle), math.cos(self.angle)]) * self.height / 2
        middle = np.array([self.x, self.y])
        return middle + np.array([-along - down, along - down, along + down, -along + down])


class TextReader:
    """The two networks, loaded."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # widths vary: an arena would keep the largest of all shapes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")

        def session(name: str) -> Any:
            return onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])

        self._detect, self._recognise = session("detect.onnx"), session("recognise.onnx")
        listed = self._recognise.get_modelmeta().custom_metadata_map["character"]
        self._characters = np.array(["", *listed.splitlines(), " "])  # CTC's blank is class 0

    @classmethod
    def load(cls, folder: Path | None = None, threads: int | None = None) -> TextReader:
        """From where `sightline setup` put the networks. Raises `ModelError`.

        `threads`: None takes half of the CPUs, at most 4: reading is never what somebody waits for.
        """
        threads = threads or max(1, min(4, (os.cpu_count() or 1) // 2))
        folder = folder or weights.find("ocr")
        weights.check_sizes(folder)
        try:
            return cls(folder, threads)
        except Exception as error:  # onnxruntime raises bare Exceptions
            problem = str(error).splitlines()[0]
            raise ModelError(
                f"the OCR networks in {folder} do not load ({problem}); run: {weights.COMMAND} --again"
            ) from error

    def read(self, image: np.ndarray, most: int | None = None) -> str:
        """See `read_text`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ModelError(f"a picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
        if min(image.shape[:2]) < 8:
            return ""
        picture = Image.fromarray(np.ascontiguousarray(image))
        picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
        if most is None:
            boxes = self.find_lines(picture)
        else:
            found = self._find_lines(picture, _DETECT_SIDE)
            boxes = sorted(found, key=lambda box: -box.length)[:most]
        texts = [self._read_line(_cut(picture, box)) for box in boxes]
        lines: list[str] = []
        row: list[tuple[float, str]] = []
        for number in _reading_order(boxes):
            if number is None:
                lines.append(" ".join(text for _, text in sorted(row)))
                row = []
            elif texts[number]:
                row.append((boxes[number].x, texts[number]))
        return "\n".join(line for line in lines if _signs(line) > 1)

    def find_lines(self, picture: Image.Image) -> list[Box]:
        """Where text lines are, in the picture's pixels.

        A picture with much text is looked at a second time and closer: at 640, lines set tightly merge
        (words of three pages read: .95, at 768 .99), and a blurring filter merges more (.91).
        """
        boxes = self._find_lines(picture, _DETECT_SIDE)
        return boxes if len(boxes) < _DENSE else self._find_lines(picture, _DETECT_DENSE)

    def _find_lines(self, picture: Image.Image, side: int) -> list[Box]:
        width, height = picture.size
        scale = min(1.0, side / max(width, height))
        to_width, to_height = (max(32, round(length * scale / 32) * 32) for length in (width, height))
        pixels = np.asarray(picture.resize((to_width, to_height), Image.Resampling.BOX))
        likely = self._detect.run(None, {"x": _normalised(pixels)[None]})[0][0, 0]
        boxes = [_scaled(box, width / to_width, height / to_height) for box in boxes_of(likely)]
        return [box for box in boxes if min(box.length, box.height) > 3]

    def _read_line(self, line: Image.Image) -> str:
        """The text of a line, "" where the network is not sure; one that stands on end is tried both ways."""
        ways = [line]
        if line.height >= 1.5 * line.width:
            ways = [line.transpose(turn) for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)]
        text, sure = max((self._decode(way) for way in ways), key=lambda read: read[1])
        return text if sure >= (_LINE_LEAST if _signs(text) > _FEW else _FEW_LEAST) else ""

    def _decode(self, line: Image.Image) -> tuple[str, float]:
        """(text, mean probability of its characters), by greedy CTC: repeats joined, blanks dropped.

        One line at a time: 44 lines of a page took 3.4 s, and 4.5 s by sixes, whose padding costs time too.
        """
        width = min(_WIDTH_MOST, max(1, math.ceil(_HEIGHT * line.width / line.height)))
        pixels = np.zeros((1, 3, _HEIGHT, max(320, width)), np.float32)
        pixels[0, :, :, :width] = _normalised(np.asarray(line.resize((width, _HEIGHT), Image.Resampling.BILINEAR)))
        likely = self._recognise.run(None, {"x": pixels})[0][0]
        classes = likely.argmax(1)
        kept = (classes != 0) & np.append(True, classes[1:] != classes[:-1])
        if not kept.any():
            return "", 0.0
        return "".join(self._characters[classes[kept]]).strip(), float(likely[kept, classes[kept]].mean())


def _signs(text: str) -> int:
    """Letters and digits in it."""
    return sum(character.isalnum() for character in text)


def _normalised(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] to float32 BGR [3, H, W] in -1..1, as both networks were trained."""
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1), np.float32) / 127.5 - 1


def _scaled(box: Box, by_x: float, by_y: float) -> Box:
    """In the picture's pixels; the two factors differ by the rounding to 32 only, so the angle is kept."""
    level = abs(math.cos(box.angle))
    along, across = by_x * level + by_y * (1 - level), by_y * level + by_x * (1 - level)
    return Box(box.x * by_x, box.y * by_y, box.length * along, box.height * across, box.angle)


def _cut(picture: Image.Image, box: Box) -> Image.Image:
    """The box out of the picture, turned level."""
    corners = box.corners()
    if abs(box.angle) < 0.02:
        left, top = np.maximum(corners.min(0), 0).astype(int).tolist()
        right, bottom = np.minimum(corners.max(0).round().astype(int), picture.size).tolist()
        return picture.crop((left, top, max(left + 1, right), max(top + 1, bottom)))
    size = max(1, round(box.length)), max(1, round(box.height))
    quad = tuple(corners[[0, 3, 2, 1]].reshape(-1).tolist())
    return picture.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def _reading_order(boxes: list[Box]) -> list[int | None]:
    """Box numbers from top to bottom, a None after each row of boxes that stand beside each other."""
    order: list[int | None] = []
    last: Box | None = None
    for number in sorted(range(len(boxes)), key=lambda n: boxes[n].y):
        box = boxes[number]
        if last is not None and box.y - last.y > 0.5 * min(box.height, last.height):
            order.append(None)
        order.append(number)
        last = box
    return [*order, None]


def boxes_of(likely: np.ndarray) -> list[Box]:
    """The text lines in a map of probabilities, float32 [H, W].

    Differentiable binarisation's post-processing (Liao et al., AAAI 2020): islands above .3,
    the smallest rectangle around each, kept where the map's mean inside is high, and grown.
    """
    boxes = []
    for rows, starts, ends in islands(likely > _PIXEL_LEAST)[:_LINES_MOST]:
        # The map is dilated by one pixel to the right and down: islands' far edges are one further.
        points = np.concatenate([np.stack([x, y], 1) for x in (starts, ends) for y in (rows, rows + 1)]).astype(
            np.float64
        )
        box = smallest_rectangle(points)
        if min(box.length, box.height) < 3 or _mean_inside(likely, box) < _BOX_LEAST:
            continue
        grown = 2 * box.length * box.height * _GROW / (2 * (box.length + box.height))
        box = Box(box.x, box.y, box.length + grown, box.height + grown, box.angle)
        if min(box.length, box.height) >= 5:
            boxes.append(box)
    return boxes


def islands(mask: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Connected parts (8 neighbours) of bool [H, W], each as its runs: rows, starts, ends (past the last)."""
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


def smallest_rectangle(points: np.ndarray) -> Box:
    """The rectangle of least area around points [n, 2]; one side lies along an edge of their hull.

    Its angle is within 45 degrees of level, so that a line reads from left to right.
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
    """The convex hull, in order (Andrew's monotone chain)."""
    ordered = sorted(set(map(tuple, points.tolist())))

    def half(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in run:
            while len(kept) > 1:
                (x0, y0), (x1, y1) = kept[-2], kept[-1]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept

    return np.array(half(ordered)[:-1] + half(ordered[::-1])[:-1])


def _mean_inside(likely: np.ndarray, box: Box) -> float:
    """The mean of the map over the pixels whose middles lie in the box."""
    corners = box.corners()
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    part = likely[top:bottom, left:right]
    if abs(box.angle) < 1e-3:
        return float(part.mean())
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]] + 0.5
    x, y = columns - box.x, rows - box.y
    cos, sin = math.cos(box.angle), math.sin(box.angle)
    inside = (np.abs(x * cos + y * sin) <= box.length / 2) & (np.abs(y * cos - x * sin) <= box.height / 2)
    return float(part[inside].mean()) if inside.any() else 0.0
