"""The embedded default: text, images, video windows and PDF pages in one space, without torch.

Built around three small networks on onnxruntime. MiniLM turns English words into 384 numbers, the Universal
Sentence Encoder (`multilingual.py`) words of 16 languages into 512; EfficientNet-Lite0 turns a picture into
probabilities of 1,000 nameable things and 1,280 visual features. A picture's meaning is the mean of what its
classes are called and look like, as each of the two reads that, weighted by probability; so a picture lands near
the words for what is in it. A vector is

    [sqrt(.3) * meaning (896) ; sqrt(.7) * looks (256)]      1,152 numbers, unit length
     meaning = [sqrt(.5) * English (384) ; sqrt(.5) * multilingual (512)]

with `looks` the features along the 256 directions in which the classifier's rows differ
most. A text query has no looks: its inner product with a picture is sqrt(.3) * cosine. One that is surely English
has no multilingual part; of one that surely is not, the English part is told from the multilingual (`language.py`,
`cross_lingual.py`).

Recipe 6 read a page's rarest words by MiniLM, too, recipe 5 all of a page by the multilingual one, recipe 4 its English
in windows of 254 tokens; recipe 3 had MiniLM alone, with the classes' names, in 640 numbers. A library that was indexed
with one of them is asked by it until its new vectors are complete, so they run here too. It knows nothing of how its
files were made (`build/`) nor of files, pages or windows. Its limits are what ImageNet names: `cards.py` tells them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np

from model.embedder import ModelError, first_line
from model.inputs import Input
from model.lite import weights
from model.lite.classes import Classes, unit
from model.lite.cross_lingual import CrossLingual
from model.lite.excerpt import Length, excerpt
from model.lite.language import Reading, reading_of
from model.lite.multilingual import Multilingual, session
from model.lite.pixels import background, fit, reduced
from model.lite.profile import PROFILE, PROFILES
from model.lite.static_embeddings import StaticEmbeddings
from model.lite.weights import (
    EARLIER,
    IMAGE_SIDE,
    MAX_TOKENS,
    MULTILINGUAL_DIM,
    PAGE_IMAGE_SIDE,
    PROJECTION_DIM,
    TEXT_DIM,
)
from model.machine import model_threads, one_thread_products

RECIPE = 7
"""Goes up with every change of what a vector means; part of the model's id."""

# Chosen on the sample set (make bench-quality); standard error of an MRR there: about .055.
_MEANING, _LOOKS = 0.3, 0.7
_TEMPERATURE = 3.0  # over all classes: text->photo MRR .41 -> .55 with centring, against the ten best at 1
_QUERY_MEANING = 0.25  # of a picture that asks, where no text is known: page image -> page MRR .43 -> .76
# Of a picture of a page that asks so many lines are read, the longest ones: page image -> page among 4,000
# other pages MRR .124 by looks alone, .856 by 6 lines in 0.7 s of CPU, .965 by 12 in 1.0 s.
_QUERY_OCR_LINES = 12
_OCR_CACHE_SIZE = 1024
_QUERY_OCR_SIDE = 200  # shorter side in pixels from which a page's lines can be read
_OCR_SHARE = 0.3  # of the words read in a photo or a frame, if more than _OCR_LEAST characters
_OCR_LEAST = 15
_PAGE_LEAST = 40  # characters from which a page means its text, not its picture
# What the two networks read of a longer text. MRR by vectors among 498 pages, of 34 questions / 300 times four words of
# a sentence in a page's first third / in its last third / 56 questions in other languages; English and multilingual:
# 127 + 127 and all (recipe 5) .902 / .289 / .152 / .391; 127 + 96 and all .893 / .290 / .153 / .402, and 190 + 190
# .893 / .294 / .144 / .521, and 127 + 127 .908 / .290 / .137 / .602, and 254 + 0 .874 / .314 / .114 / .561; 64 + 127
# and all .794 / .282 / .185 / .401; 127 + 64 and 190 + 190 .874 / .306 / .139 / .511. A token costs .05 ms in English,
# else .015.
_ENGLISH_5 = Length(127, 127, 2_200)
_ENGLISH = Length(127, 96, 2_200)  # below: punctuation, letters and the 200 commonest words
_MULTILINGUAL = Length(190, 190, 300)
# Recipe 7 adds to MiniLM's reading of the first 127 tokens the sum of the static embeddings of the rarest others
# (`static_embeddings.py`), which costs next to nothing. MRR as above, of 56 of them, at a share of .5 / .6 / .7 / .8 /
# 1: .896 / .308 / .123 / .556, .898 / .306 / .125 / .556, .891 / .305 / .130 / .556, .875 / .303 / .133 / .556, and
# .838 / .298 / .138 / .553; at .7 of 40 others .881 / .299 / .126 / .566, of 80 .876 / .313 / .129 / .551; of none .866
# / .314 / .094 / .529; recipe 6 .893 / .293 / .143 / .536. Multilingual of 190 + 190, 127 + 160, 127 + 127 and 127 + 64
# (at .7, but 127 + 160 at .8): .890 / .309 / .129 / .555, .860 / .300 / .128 / .553, .897 / .301 / .117 / .646 and .882
# / .316 / .109 / .681.
_ENGLISH_7 = Length(127, 56, 2_200)
_MULTILINGUAL_7 = Length(127, 127, 300)
_REST_SHARE = 0.7
_WINDOWS_MOST = 24  # of one page, in recipe 4
# Of a query that may be English or not: photo / page among 498 MRR .443 / .853 at .5, .443 / .868 at .6, .434 / .868 at
# .7, photo in Portuguese .46, .42, .40.
_ENGLISH_SHARE = 0.6
# Of a query that surely is not English, what stands in for MiniLM's reading. In seven languages, page among 498 (n 238)
# / photo among all kinds (n 238): none .523 / .426, .2 .596 / .448, .3 .594 / .455, .4 .600 / .457.
_CROSS_LINGUAL_SHARE = 0.3
# Added to the nearness that the multilingual reader finds: alone, and beside the English one. "Frog" and "guitar" are
# .70 near a class for the latter, "crow" and "moon" .44 and .25; for the former alone, "青蛙" .67, "月亮" .28, half of
# 45 such words are below .50; beside the English one it finds .76 for "Banane" and .64 for "doe".
_FAMILIAR_ALONE, _FAMILIAR_BESIDE = 0.17, -0.1
_CHUNK_WORDS, _CHUNK_STEP, _CHUNKS_MOST = 90, 70, 64  # of recipe 3
_TEXT_MOST = 60_000  # characters looked at, so that a page of noise costs no minutes


def current_id() -> str:
    """The id that the model has here and now, without loading it."""
    return f"lite@{_fingerprint()}-r{RECIPE}"


class LiteEmbedder:
    """`Embedder` of the built-in model; safe to call from several threads."""

    dim = TEXT_DIM + MULTILINGUAL_DIM + PROJECTION_DIM
    max_frames = 8
    is_thread_safe = True
    max_side = 2 * IMAGE_SIDE
    """Larger pictures are no use to it. Against 1,280: decoding a photo costs a third, and on the sample set
    no MRR falls by more than .001 (page image -> page .854 to .884, text -> photo .558 both)."""
    page_side = 320
    """Its thumbnail is the same picture, which need not be made smaller. At 448, drawing, thumbnail and all took 3 ms
    of CPU more for each page."""
    query_side = 1280
    """Of a picture that is searched with: it may be that of a page, whose words are read."""
    profile = PROFILE

    def __init__(self, folder: Path, threads: int | None = None, recipe: int = RECIPE) -> None:
        from tokenizers import Tokenizer

        one_thread_products()
        # The packaged file pads and cuts to 128 tokens: queries would be three times slower, pages cut short.
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

        self._folder = folder
        # One thread a network, and `threads` calls at a time: 7 ms a picture and 15 ms a passage on
        # either of two cores, against 3.9 and 12.8 for both cores on one.
        self._text = session(folder / "text.onnx")
        self._pool = ThreadPoolExecutor(threads or model_threads(), thread_name_prefix="lite")
        self._ocr_cache: dict[bytes, str] = {}  # text of query images: the next page of an answer repeats the query

        self._recipe, self.profile = recipe, PROFILES[recipe]
        self._english = {5: _ENGLISH_5, 6: _ENGLISH}.get(recipe, _ENGLISH_7)
        self._foreign = _MULTILINGUAL_7 if recipe > 6 else _MULTILINGUAL if recipe == 6 else None
        self.id = next((name for name, number in EARLIER.items() if number == recipe), current_id())
        self._multilingual = [Multilingual(folder)] if recipe > 3 else []
        if not self._multilingual:
            self.dim = TEXT_DIM + PROJECTION_DIM
        else:
            self._everyday_words = frozenset((folder / "everyday_words.txt").read_text("utf-8").split())

    # What pictures need is read with the first one: most searches are in words.

    @cached_property
    def _image(self) -> Any:
        # Without an arena a picture costs 760 page faults, 4.7 to 6.1 ms of CPU, and the freed blocks of 1 to 5 MB lie
        # in pieces in the heaps of `model.heap`: 117 MB at the peak of 400 pictures in place of 80.
        return self._read(lambda: session(self._folder / "image.onnx", arena=True))

    @cached_property
    def _projection(self) -> np.ndarray:
        rows: np.ndarray = self._read(lambda: np.load(self._folder / "projection.npy").astype(np.float32))
        return rows

    @cached_property
    def _static(self) -> StaticEmbeddings:
        static: StaticEmbeddings = self._read(lambda: StaticEmbeddings(self._folder / "text.onnx"))
        return static

    @cached_property
    def _cross_lingual(self) -> CrossLingual:
        return CrossLingual()

    @cached_property
    def _sides(self) -> list[Classes]:
        name = "meanings.npy" if self._multilingual else "classes.npy"
        rows: np.ndarray = self._read(lambda: np.load(self._folder / name).astype(np.float32))
        return [Classes.of(meanings) for meanings in np.split(rows, [TEXT_DIM], axis=1) if meanings.size]

    def _read(self, read: Callable[[], Any]) -> Any:
        """What `read` returns. Raises ModelError where a file of the model is damaged."""
        try:
            return read()
        except Exception as error:  # onnxruntime raises bare Exceptions
            raise _damaged(self._folder, error) from error

    @classmethod
    def load(cls, folder: Path | None = None, threads: int | None = None, model_id: str | None = None) -> LiteEmbedder:
        """From the place where `sightline setup` put the files. Raises `ModelError`.

        `threads`: how many pictures or passages are embedded at a time; None: the CPUs, at most 4. `model_id`: one
        of `EARLIER`; None: the current one.
        """
        folder = folder or weights.find()
        weights.check_sizes(folder)
        try:
            return cls(folder, threads, RECIPE if model_id is None else EARLIER[model_id])
        except ImportError as error:
            raise ModelError(f"the lite model needs {error.name}; install Sightline again") from error
        except Exception as error:  # onnxruntime and tokenizers raise bare Exceptions
            raise _damaged(folder, error) from error

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """float32 [len(inputs), dim], rows of unit length. A row does not depend on its neighbours.

        Document: an image or the mean of a clip's frames, with its OCR text mixed in; a page by its
        text, or by its picture where it has none; text alone as a page without looks.
        Query: text alone, pictures alone (a page with its text; a picture of a page with what is read
        of it), or both: their sum, weighted so that words and picture pull alike.
        """
        inputs = [self._as_query(item) for item in inputs]
        jobs = [self._job(item) for item in inputs]
        calls: list[tuple[int, Callable[[], Any]]] = []  # each with the number of its network
        for item, job in zip(inputs, jobs, strict=True):
            calls += [(0, partial(self.read_english, ids)) for ids in job.windows]
            calls += [(1, other) for other in job.others]
            if item.kind == "pdf" and (job.windows or job.others):  # a page with words means its words
                calls += [(2, partial(self._see_page, frame, item.role == "query")) for frame in job.pictures]
            else:
                calls += [(2, partial(self._embed_image, frame, item.kind == "pdf")) for frame in job.pictures]
        if len(calls) == 1:  # a query: no thread need be woken
            results = iter([calls[0][1]()])
        else:
            # Network by network: its weights are then in the processor's cache, 24.2 ms of CPU in place of 25.5
            # a page, twelve pages at a time, busy machine.
            order = sorted(range(len(calls)), key=lambda n: calls[n][0])
            work = {n: self._pool.submit(calls[n][1]) for n in order}
            results = iter([work[n].result() for n in range(len(calls))])
        rows = []
        for item, job in zip(inputs, jobs, strict=True):
            windows = list(islice(results, len(job.windows)))
            others = list(islice(results, len(job.others)))
            rows.append(
                self._combine(item, self._text_meaning(job, windows, others), list(islice(results, len(job.pictures))))
            )
        return np.array(rows, np.float32).reshape(len(rows), self.dim)

    def familiarity(self, queries: np.ndarray) -> np.ndarray:
        """How near text queries [q, dim] are to the nearest thing that is told apart in pictures, [q]; it stands for
        the chance that a picture near the query shows what is asked for ("frog" .70, "pigeon" .40, "happiness" .34)."""
        english, *others = [
            side.nearest(reading)
            for side, reading in zip(self._sides, np.split(queries, [TEXT_DIM, -PROJECTION_DIM], axis=1), strict=False)
        ]
        # The lesser share is what stands in for MiniLM's reading.
        english = np.where(np.linalg.norm(queries[:, :TEXT_DIM], axis=1) ** 2 > 0.5, english, -1.0)
        for other in others:
            english = np.maximum(english, other + np.where(english < 0, _FAMILIAR_ALONE, _FAMILIAR_BESIDE))
        return english

    def _job(self, item: Input) -> _Job:
        """What the networks must see of one input. Raises ModelError for what is no picture."""
        frames = [*item.images, *(item.video if item.video is not None else ())]
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
                raise ModelError(f"a picture must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")
        if not _text_counts(item, bool(frames)):
            return _Job(0.0, [], [], [], frames)
        # Both networks learnt composed letters; Korean and Japanese often come decomposed.
        text = normalize("NFC", (item.text or "")[:_TEXT_MOST])
        is_query = item.role == "query" and item.kind != "pdf"
        if not self._multilingual:
            return _Job(1.0, [self.ids_of(t)[:MAX_TOKENS] for t in _passages(text, is_query)], [], [], frames)
        share = 0.5
        if is_query:
            share = {Reading.ENGLISH: 1.0, Reading.MULTILINGUAL: 0.0}.get(self._reading_of(text), _ENGLISH_SHARE)
        windows: list[list[int]] = []
        rest: list[int] = []
        if share and (is_query or self._recipe == 4):
            windows = self._windows(text, 1 if is_query else _WINDOWS_MOST)
        elif share:
            windows = [self._excerpt(text)]
            if self._recipe > 6:
                begin, *ids, end = windows[0]
                windows, rest = [[begin, *ids[: self._english.head], end]], ids[self._english.head :]
        length = None if is_query else self._foreign
        others = [partial(reader.embed, text, length) for reader in self._multilingual if share < 1]
        return _Job(share, windows, rest, others, frames)

    def _reading_of(self, text: str) -> Reading:
        return reading_of(text, self._everyday_words, self.is_word)

    def is_word(self, word: str) -> bool:
        """Whether an English word in lower case is one to MiniLM, not pieces of words."""
        return self._tokenizer.token_to_id(word) is not None

    def ids_of(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]

    def _windows(self, text: str, most: int) -> list[list[int]]:
        """The tokens of a text in windows that MiniLM can read, each with its marks of beginning and end."""
        begin, *ids, end = self._tokenizer.encode(text).ids
        size = MAX_TOKENS - 2
        return [[begin, *ids[at : at + size], end] for at in range(0, max(1, len(ids)), size)[:most]]

    def _excerpt(self, text: str) -> list[int]:
        """The tokens of a text that count in English: its head and the rarest words of the rest."""
        encoding = self._tokenizer.encode(text)
        begin, *ids, end = encoding.ids
        return [begin, *excerpt(ids, [word or 0 for word in encoding.word_ids[1:-1]], self._english), end]

    def _text_meaning(self, job: _Job, windows: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray | None:
        """The meaning of a text; None where it does not count."""
        if not self._multilingual:
            return _overall(windows, [1.0] * len(windows), windows[1:]) if windows else None
        if not windows and not others:
            return None
        english = _overall(windows, [len(ids) - 2 for ids in job.windows], windows) if windows else np.zeros(TEXT_DIM)
        if job.rest:
            english = unit(english + _REST_SHARE * unit(self._static.embed(np.array(job.rest)).sum(0)))
        other, share = others[0] if others else np.zeros(MULTILINGUAL_DIM), job.share
        if not windows:
            english, share = self._cross_lingual.to_english(other), _CROSS_LINGUAL_SHARE
        return np.concatenate([share**0.5 * english, (1 - share) ** 0.5 * other]).astype(np.float32)

    def _as_query(self, item: Input) -> Input:
        """Reads the words of a query that shows a page, and makes its pictures as large as those that are indexed."""
        if item.role != "query" or item.video is not None or not item.images:
            return item
        item = self._with_words(item)
        side = self.page_side if item.kind == "pdf" else self.max_side
        return replace(item, images=tuple(reduced(picture, side) for picture in item.images))

    def _with_words(self, item: Input) -> Input:
        """Turns a query that is only an image of a page into a page with its longest lines. Others stay as they are."""
        if item.role != "query" or len(item.images) != 1 or item.video is not None or (item.text or "").strip():
            return item
        picture = item.images[0]
        if picture.ndim != 3 or min(picture.shape[:2]) < _QUERY_OCR_SIDE or picture.dtype != np.uint8:
            return item
        if background(picture) is None:
            return item
        key = hashlib.blake2b(picture.tobytes(), salt=b"%d" % picture.shape[1], digest_size=16).digest()
        text = self._ocr_cache.get(key)
        if text is None:
            from model.ocr import read_text

            try:
                text = read_text(picture, _QUERY_OCR_LINES)
            except ModelError:  # no networks for it: it asks by its looks
                return item
            if len(self._ocr_cache) >= _OCR_CACHE_SIZE:
                self._ocr_cache.clear()
            self._ocr_cache[key] = text
        return replace(item, text=text, kind="pdf") if len(text) > _PAGE_LEAST else item

    def read_english(self, ids: list[int]) -> np.ndarray:
        """float32 [384], unit length."""
        return np.asarray(self._text.run(None, {"ids": np.array([ids], np.int64)})[0][0])

    def _see_page(self, picture: np.ndarray, is_query: bool) -> tuple[np.ndarray, np.ndarray]:
        """No meaning float32 [0] and looks float32 [256] of unit length."""
        sides = [PAGE_IMAGE_SIDE] if self._recipe >= 6 else [IMAGE_SIDE]
        if is_query and self._recipe >= 6:  # it may be that of a scan, too, which is a picture
            sides += [IMAGE_SIDE]
        features = [self._image.run(["features"], {"pixels": fit(picture, True, side)[None]})[0][0] for side in sides]
        return np.zeros(0, np.float32), unit(np.sum([unit(seen @ self._projection) for seen in features], 0))

    def _embed_image(self, picture: np.ndarray, squash: bool) -> tuple[np.ndarray, np.ndarray]:
        """Meaning float32 [384 or 896] and looks float32 [256], each of unit length."""
        pixels = fit(picture, squash)[None]
        features, logits = self._image.run(["features", "logits"], {"pixels": pixels})
        shares = np.exp((logits[0] - logits[0].max()) / _TEMPERATURE)
        shares /= shares.sum()
        readings = [side.of_shares(shares) for side in self._sides]
        meaning = np.concatenate(readings) * np.float32(len(readings) ** -0.5)
        return meaning, unit(features[0] @ self._projection)

    def _combine(
        self, item: Input, text_meaning: np.ndarray | None, parts: list[tuple[np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        """One vector [dim] out of what the text and the pictures mean, by the recipe in this file's docstring."""
        if not parts:
            assert text_meaning is not None
            return np.concatenate([text_meaning, np.zeros(PROJECTION_DIM, np.float32)])
        looks = unit(np.mean([looks for _, looks in parts], 0))
        is_query = item.role == "query"
        if item.kind == "pdf" and text_meaning is not None:
            return _vector(text_meaning, looks)
        meaning = unit(np.mean([meaning for meaning, _ in parts], 0))
        if is_query:
            image_vector = _vector(_QUERY_MEANING * meaning, looks)
            if text_meaning is None:
                return image_vector
            return unit(image_vector + self.profile.words_beside_image * np.pad(text_meaning, (0, len(looks))))
        if text_meaning is not None:
            meaning = unit((1 - _OCR_SHARE) * meaning + _OCR_SHARE * text_meaning)
        return _vector(meaning, looks)


def _damaged(folder: Path, error: Exception) -> ModelError:
    return ModelError(f"the lite model in {folder} does not load ({first_line(error)}); run: {weights.COMMAND} --again")


class _Job(NamedTuple):
    """What the networks see of one input. `share`: the English part of its text's meaning."""

    share: float
    windows: list[list[int]]
    rest: list[int]
    """Tokens that are added as they are, beside what MiniLM reads in `windows`."""
    others: Sequence[Callable[[], np.ndarray]]
    """The readings of its text by the multilingual network."""
    pictures: list[np.ndarray]


def _text_counts(item: Input, pictured: bool) -> bool:
    if not pictured:
        return True
    length = len((item.text or "").strip())
    if item.kind == "pdf":
        return length > _PAGE_LEAST
    return length > 0 if item.role == "query" else length > _OCR_LEAST


def _passages(text: str, is_query: bool) -> list[str]:
    """What recipe 3 reads of a text: a query whole; a longer document's head, then its chunks."""
    words = text.split()
    if is_query or len(words) <= _CHUNK_WORDS:
        return [text]
    starts = range(0, max(1, len(words) - (_CHUNK_WORDS - _CHUNK_STEP)), _CHUNK_STEP)
    return [text, *(" ".join(words[at : at + _CHUNK_WORDS]) for at in starts[:_CHUNKS_MOST])]


def _overall(rows: list[np.ndarray], weights: list[float] | list[int], body: list[np.ndarray]) -> np.ndarray:
    """The vector of a text: of its first row and of the weighted mean of its body, unit length."""
    if len(rows) == 1:
        return rows[0]
    return unit(unit(np.average(body, 0, weights[-len(body) :])) + rows[0])


def _vector(meaning: np.ndarray, looks: np.ndarray) -> np.ndarray:
    return unit(np.concatenate([_MEANING**0.5 * meaning, _LOOKS**0.5 * looks]))


def _fingerprint() -> str:
    """Of the networks, the tokenizer and the names. The arrays follow from them."""
    return hashlib.sha256("".join(weights.PINNED.values()).encode()).hexdigest()[:8]
