"""The lite model's second reader of words: Universal Sentence Encoder, multilingual v3, in 16 languages.

Built around a table of 128,000 pieces of words, one row of 512 numbers each, of which only the rows that a text
needs are read from disk, and one small network (`build/graphs.py`), whose convolutions see five tokens at a time.
The table's numbers are whole and less than 256; of 99.7 % of them four bits are enough, the others are listed.
It knows nothing of MiniLM, pictures or pages.
"""

from __future__ import annotations

import os
import threading
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.lite.excerpt import Length, excerpt
from model.lite.weights import MULTILINGUAL_DIM

MOST_TOKENS = 1024
"""Tokens read of a text; the rest is ignored. A page as a whole: page MRR .76, by the mean of passages .67."""
UNSPACED = "\u0e00"
"""From Thai on scripts have no blanks between words; the sign that a piece begins with for a blank is above, too."""
KEPT = 8192
"""Rows that stay in memory, 4 MB. Of the 350 pieces of words that are read of a page, 28 are then looked up in the
file, with 4,096 rows 47, with 2,048 rows 74: 498 pages, 9,626 different pieces."""
CHUNKS = 17
"""The table's rows have one scale for each remainder of their number by this."""


@cache
def _tight_arena() -> None:
    """The arena of this process takes what is asked for; by default each of its extensions is twice the one before."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, 1, -1, -1))


def session(network: Path | bytes, *, arena: bool = False) -> Any:
    """A network ready to run on the thread that calls it: one thread a network, idle ones must not spin.

    `arena`: it keeps the memory of its largest run and takes it again, which pays where all inputs have one size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena, options.enable_mem_pattern = arena, False
    if arena:
        _tight_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = network if isinstance(network, bytes) else str(network)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def packed(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table uint8 [rows, n] in half the bytes, nothing lost: uint8 [rows, n / 2]; uint32 [2, m], where numbers
    stand that four bits do not hold, and those; float32 [CHUNKS], to add to each four bits."""
    base = np.zeros(CHUNKS, np.int16)
    for chunk in range(CHUNKS):
        counts = np.bincount(table[chunk::CHUNKS].ravel(), minlength=271)
        base[chunk] = np.convolve(counts, np.ones(16, np.int64), "valid").argmax()
    above = table - base[np.arange(len(table)) % CHUNKS, None]
    at = np.flatnonzero((above < 0) | (above > 15))
    above = above.clip(0, 15).astype(np.uint8)
    rare = np.stack([at, table.ravel()[at]]).astype(np.uint32)
    return above[:, ::2] | above[:, 1::2] << 4, rare, base.astype(np.float32)


class Rows:
    """The rows of an array in a file, read one by one. Mapped into memory, they would stay there: 31 MB after 500
    pages."""

    def __init__(self, table: np.memmap[Any, Any]) -> None:
        """`table`: it is mapped, and so knows its file."""
        self._start, self._dtype, (self.rows, self._width) = int(table.offset), table.dtype, table.shape
        self._file = Path(str(table.filename)).open("rb", buffering=0)  # noqa: SIM115 – as long as this object
        self._mapped = None if hasattr(os, "pread") else table

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        """Rows [n, width]; safe to call from several threads."""
        if self._mapped is not None:
            return np.asarray(self._mapped[ids])
        size = self._width * self._dtype.itemsize
        unique, inverse = np.unique(ids, return_inverse=True)
        descriptor = self._file.fileno()
        rows = b"".join(os.pread(descriptor, size, self._start + number * size) for number in unique.tolist())
        return np.asarray(np.frombuffer(rows, self._dtype).reshape(-1, self._width)[inverse])


class Multilingual:
    """Safe to call from several threads."""

    def __init__(self, folder: Path, network: bytes | None = None) -> None:
        """`network`: another one than that of the folder."""
        self._folder, self._lock, self._other = folder, threading.Lock(), network
        self._table = Rows(np.load(folder / "multilingual_table.npy", mmap_mode="r"))
        self._rare_at, self._rare = np.load(folder / "multilingual_rare.npy", mmap_mode="r")
        self._scale, self._low, self._base = np.load(folder / "multilingual_scale.npy")[:, :, None]
        self._kept = np.empty((KEPT, MULTILINGUAL_DIM), np.uint8)
        self._places = np.full(self._table.rows, -1, np.int16)  # in `_kept`, of the table's rows; -1: not there
        self._kept_count = 0

    def embed(self, text: str, length: Length | None = None) -> np.ndarray:
        """float32 [512], unit length. `length`: of the excerpt that is read; None: the first `MOST_TOKENS`."""
        with self._lock:  # one thread reads the file, the others wait for it
            pieces = self._pieces
        tokens: list[int] = pieces.encode(text)
        if length is not None and len(tokens) > length.head + length.rest:
            tokens = excerpt(tokens, _words(pieces.id_to_piece(tokens)), length)
        ids = np.array([pieces.bos_id(), *tokens, pieces.eos_id()], np.int64)[:MOST_TOKENS]
        chunk = ids % CHUNKS
        tokens = (self._rows(ids) * self._scale[chunk] + self._low[chunk])[None]
        embedding: np.ndarray = self._network.run(None, {"tokens": tokens})[0][0]
        return embedding

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        """uint8 [n, 512], of at most `KEPT` different ones."""
        with self._lock:
            missing = np.unique(ids[self._places[ids] < 0])
            if missing.size:
                if self._kept_count + missing.size > KEPT:
                    self._places[:], self._kept_count, missing = -1, 0, np.unique(ids)
                places = np.arange(self._kept_count, self._kept_count + missing.size)
                self._kept[places] = self._read(missing)
                self._places[missing] = places
                self._kept_count += missing.size
            return np.asarray(self._kept.take(self._places[ids], 0))

    def _read(self, ids: np.ndarray) -> np.ndarray:
        """uint8 [n, 512]"""
        halves = self._table[ids]
        rows = np.stack([halves & 15, halves >> 4], 2).reshape(len(ids), 2 * halves.shape[1]) + self._base[ids % CHUNKS]
        width = rows.shape[1]
        starts, ends = np.searchsorted(self._rare_at, np.stack([ids, ids + 1]).astype(np.uint32) * np.uint32(width))
        counts = ends - starts
        at = np.arange(counts.sum()) + np.repeat(ends - np.cumsum(counts), counts)
        rows[np.repeat(np.arange(len(ids)), counts), self._rare_at[at] % width] = self._rare[at]
        return np.asarray(rows, np.uint8)

    @cached_property
    def _network(self) -> Any:
        return session(self._folder / "multilingual.onnx" if self._other is None else self._other)

    @cached_property
    def _pieces(self) -> Any:
        """Read when the first text comes: it takes a fifth of a second and 33 MB, and pictures do not need it."""
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(self._folder / "multilingual_pieces.model"))


def _words(pieces: list[str]) -> list[int]:
    """The number of the word that each piece is part of. Scripts without blanks have a word for each piece."""
    begins = [piece >= UNSPACED for piece in pieces]
    words: list[int] = np.cumsum(begins).tolist()
    return words
