"""The embedded default: text, images, video windows and PDF pages in one space, without torch.

Built around two small networks on onnxruntime. MiniLM turns words into 384 numbers;
EfficientNet-Lite0 turns a picture into probabilities of 1,000 nameable things and 1,280
visual features. A picture's meaning is the mean of its classes' names, weighted by
probability; so a picture lands near the words for what is in it. A vector is

    [sqrt(.3) * meaning (384) ; sqrt(.7) * looks (256)]      640 numbers, unit length

with `looks` the features along the 256 directions in which the classifier's rows differ
most. A text query has no looks: its inner product with a picture is sqrt(.3) * cosine.

It knows nothing of how its files were made (`build/`) nor of files, pages or
windows. Its limits are what ImageNet names: `cards.py` tells them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from model.embedder import ModelError
from model.inputs import Input
from model.lite import weights
from model.lite.profile import PROFILE
from model.lite.weights import IMAGE_SIDE, MAX_TOKENS, PROJECTION_DIM, TEXT_DIM

RECIPE = 3
"""Goes up with every change of what a vector means; part of the model's id."""

# Chosen on the sample set (make bench-quality); standard error of an MRR there: about .055.
_MEANING, _LOOKS = 0.3, 0.7
_TEMPERATURE = 3.0  # over all classes: text->photo MRR .41 -> .55 with centring, against the ten best at 1
_QUERY_MEANING = 0.25  # of a picture that asks, where no text is known: page image -> page MRR .43 -> .76
# Of a picture of a page that asks so many lines are read, the longest ones: page image -> page among 4,000
# other pages MRR .124 by looks alone, .856 by 6 lines in 0.7 s of CPU, .965 by 12 in 1.0 s.
_ASKED_LINES = 12
_READ_KEPT = 1024
_ASKED_SIDE = 200  # shorter side in pixels from which a page's lines can be read
_OCR_SHARE = 0.3  # of the words read in a photo or a frame, if more than _OCR_LEAST characters
_OCR_LEAST = 15
_PAGE_LEAST = 40  # characters from which a page means its text, not its picture
_CHUNK_WORDS, _CHUNK_STEP = 90, 70  # chunk mean .816, first 256 tokens .887, both together .913
_CHUNKS_MOST = 64  # of one page: 4,500 words; a page with more is a table, and its start says what it is
_TEXT_MOST = 60_000  # characters looked at, so that a page of noise costs no minutes


def current_id() -> str:
    """The id that the model has here and now, without loading it."""
    return f"lite@{_fingerprint()}-r{RECIPE}"


class LiteEmbedder:
    """`Embedder` of the built-in model; safe to call from several threads."""

    dim = TEXT_DIM + PROJECTION_DIM
    max_frames = 8
    max_side = 2 * IMAGE_SIDE
    """Larger pictures are no use to it. Against 1,280: decoding a photo costs a third, and on the sample set
    no MRR falls by more than .001 (page image -> page .854 to .884, text -> photo .558 both)."""
    profile = PROFILE

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        # The packaged file pads and cuts to 128 tokens: queries would be three times slower, pages cut short.
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

        # One thread a network, and `threads` calls at a time: 7 ms a picture and 15 ms a passage on
        # either of two cores, against 3.9 and 12.8 for both cores on one. Idle threads must not spin.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = ["CPUExecutionProvider"]
        self._text = onnxruntime.InferenceSession(str(folder / "text.onnx"), options, providers=provider)
        self._image = onnxruntime.InferenceSession(str(folder / "image.onnx"), options, providers=provider)
        self._pool = ThreadPoolExecutor(threads or _threads(), thread_name_prefix="lite")
        self._read: dict[bytes, str] = {}  # of pictures that asked: the next page of an answer asks again

        classes = np.load(folder / "classes.npy").astype(np.float32)
        mean = classes.mean(0)
        self._classes = classes - mean
        self._common = _unit(mean)
        self._projection = np.load(folder / "projection.npy").astype(np.float32)
        self.id = current_id()

    @classmethod
    def load(cls, folder: Path | None = None, threads: int | None = None) -> LiteEmbedder:
        """From the place where `sightline setup` put the files. Raises `ModelError`.

        `threads`: how many pictures or passages are embedded at a time; None: the CPUs, at most 4.
        """
        folder = folder or weights.find()
        weights.check_sizes(folder)
        try:
            return cls(folder, threads)
        except ImportError as error:
            raise ModelError(f"the lite model needs {error.name}; install Sightline again") from error
        except Exception as error:  # onnxruntime and tokenizers raise bare Exceptions
            problem = str(error).splitlines()[0]
            raise ModelError(
                f"the lite model in {folder} does not load ({problem}); run: {weights.COMMAND} --again"
            ) from error

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), 640], rows of unit length. A row does not depend on its neighbours.

        Document: an image or the mean of a clip's frames, with its OCR text mixed in; a page by its
        text, or by its picture where it has none; text alone as a page without looks.
        Query: text alone, pictures alone (a page with its text; a picture of a page with what is read
        of it), or both: their sum, weighted so that words and picture pull alike.
        """
        inputs = [self._with_words(item) for item in inputs]
        jobs = [_parts(item) for item in inputs]
        calls: list[Callable[[], Any]] = []
        for item, (passages, pictures) in zip(inputs, jobs, strict=True):
            calls += [partial(self._embed_text, text) for text in passages]
            calls += [partial(self._embed_picture, frame, item.kind == "pdf") for frame in pictures]
        if len(calls) == 1:  # a query: no thread need be woken
            results = iter([calls[0]()])
        else:
            results = iter([work.result() for work in [self._pool.submit(call) for call in calls]])
        rows = [
            _combine(item, list(islice(results, len(passages))), list(islice(results, len(pictures))))
            for item, (passages, pictures) in zip(inputs, jobs, strict=True)
        ]
        return np.array(rows, np.float32).reshape(len(rows), self.dim)

    def _with_words(self, item: Input) -> Input:
        """A picture of a page that asks by itself, as a page with its longest lines; others as they are."""
        if item.role != "query" or len(item.images) != 1 or item.video is not None or (item.text or "").strip():
            return item
        picture = item.images[0]
        if picture.ndim != 3 or min(picture.shape[:2]) < _ASKED_SIDE or picture.dtype != np.uint8:
            return item
        if _ground(picture) is None:
            return item
        key = hashlib.blake2b(picture.tobytes(), salt=b"%d" % picture.shape[1], digest_size=16).digest()
        text = self._read.get(key)
        if text is None:
            from model.ocr import read_text

            try:
                text = read_text(picture, _ASKED_LINES)
            except ModelError:  # no networks for it: it asks by its looks
                return item
            if len(self._read) >= _READ_KEPT:
                self._read.clear()
            self._read[key] = text
        return replace(item, text=text, kind="pdf") if len(text) > _PAGE_LEAST else item

    def _embed_text(self, text: str) -> np.ndarray:
        """float32 [384], unit length; at most 256 tokens count."""
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        return self._text.run(None, {"ids": ids})[0][0]

    def _embed_picture(self, picture: np.ndarray, squash: bool) -> tuple[np.ndarray, np.ndarray]:
        """Meaning float32 [384] and looks float32 [256], each of unit length."""
        pixels = _fit(picture, squash)[None]
        features, logits = self._image.run(["features", "logits"], {"pixels": pixels})
        shares = np.exp((logits[0] - logits[0].max()) / _TEMPERATURE)
        meaning = _unit((shares / shares.sum()) @ self._classes)
        # What all classes have in common says "this is a photo": without it, photos and pages compare.
        meaning = _unit(meaning - (meaning @ self._common) * self._common)
        return meaning, _unit(features[0] @ self._projection)


def _parts(item: Input) -> tuple[list[str], list[np.ndarray]]:
    """The passages and the pictures of one input that the networks must see."""
    frames = [*item.images, *(item.video if item.video is not None else ())]
    for frame in frames:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise ModelError(f"a picture must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")
    return _passages(item) if _text_counts(item, bool(frames)) else [], frames


def _text_counts(item: Input, pictured: bool) -> bool:
    if not pictured:
        return True
    length = len((item.text or "").strip())
    if item.kind == "pdf":
        return length > _PAGE_LEAST
    return length > 0 if item.role == "query" else length > _OCR_LEAST


def _passages(item: Input) -> list[str]:
    """What of the text is embedded: a query whole; a longer document's head, then its chunks."""
    text = (item.text or "")[:_TEXT_MOST]
    words = text.split()
    if (item.role == "query" and item.kind != "pdf") or len(words) <= _CHUNK_WORDS:
        return [text]
    starts = range(0, max(1, len(words) - (_CHUNK_WORDS - _CHUNK_STEP)), _CHUNK_STEP)
    return [text, *(" ".join(words[at : at + _CHUNK_WORDS]) for at in starts[:_CHUNKS_MOST])]


def _combine(item: Input, texts: list[np.ndarray], parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """One vector [640] out of the passages' and the pictures', by the recipe in this file's docstring."""
    said = None
    if texts:
        head, *chunks = texts
        said = _unit(_unit(np.mean(chunks, 0)) + head) if chunks else head
    if not parts:
        assert said is not None
        return np.concatenate([said, np.zeros(PROJECTION_DIM, np.float32)])
    meaning = _unit(np.mean([meaning for meaning, _ in parts], 0))
    looks = _unit(np.mean([looks for _, looks in parts], 0))
    asked = item.role == "query"
    if item.kind == "pdf" and said is not None:
        return _vector(said, looks)
    if asked:
        shown = _vector(_QUERY_MEANING * meaning, looks)
        if said is None:
            return shown
        return _unit(shown + PROFILE.words_beside_picture * np.pad(said, (0, len(looks))))
    if said is not None:
        meaning = _unit((1 - _OCR_SHARE) * meaning + _OCR_SHARE * said)
    return _vector(meaning, looks)


def _vector(meaning: np.ndarray, looks: np.ndarray) -> np.ndarray:
    return _unit(np.concatenate([_MEANING**0.5 * meaning, _LOOKS**0.5 * looks]))


def _fit(picture: np.ndarray, squash: bool) -> np.ndarray:
    """uint8 [224, 224, 3]: the middle square; or all of a page, squashed so that no line is cut."""
    from PIL import Image

    height, width = picture.shape[:2]
    ground = _ground(picture)
    if not squash and ground is None:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
    image = Image.fromarray(np.ascontiguousarray(picture))
    pixels = np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC))
    if ground is not None and ground.min() < 255:
        # The features hang on the ground being pure white: page image -> page MRR .33 as it is, .85 on white.
        pixels = np.minimum(pixels * np.minimum(255 / ground, 2), 255).astype(np.uint8)
    return pixels


def _ground(picture: np.ndarray) -> np.ndarray | None:
    """The colour [3] of the one light ground that most of a picture is: a page, a scan, a cut-out; or None.

    A page dropped as a picture is so seen as pages are: page image -> page MRR .26 -> .85, text -> stamp
    (cut-outs on white) .303 -> .314, other rows within .003 (`make bench-quality`).
    """
    height, width = picture.shape[:2]
    sample = picture[:: max(1, height // 100), :: max(1, width // 100)].reshape(-1, 3)
    middle, light = np.percentile(sample, (50, 95), axis=0)
    return middle if middle.min() > 90 and (middle > 0.8 * light).all() else None


def _unit(vector: np.ndarray) -> np.ndarray:
    """To unit length; a zero vector becomes the first axis, so that a row is always of unit length."""
    length = float(np.linalg.norm(vector))
    if length < 1e-12:
        return np.eye(1, len(vector), dtype=np.float32)[0]
    return vector / np.float32(length)


def _threads() -> int:
    """CPUs this process may use, at most 4: a laptop should stay usable while it indexes."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cpus))


def _fingerprint() -> str:
    """Of the networks, the tokenizer and the names. The arrays follow from them."""
    return hashlib.sha256("".join(weights.PINNED.values()).encode()).hexdigest()[:8]
