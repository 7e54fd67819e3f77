"""Immutable runs of float16 vectors, and how one of them is searched.

A segment is built around a FAISS index over float16 codes whose bytes are never
copied: they are a view of a memory-mapped file, or of an array. Small and medium
segments are scanned whole and exactly; above `EXACT_BYTES` a segment is an inverted
file over the same codes, whose `nprobe` is measured when it is built (`segment_files.py`).
A segment knows its ids and the group they belong to; it knows nothing of additions and
removals (`views.py`) nor of what an id stands for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

EXACT_BYTES = 1 << 30
"""Codes up to here are scanned exactly: 1 M x 384 is 0.77 GB, one pass at the memory's speed
(`make bench-index`, rows "1 M x 384"); an inverted file is faster from there on and loses little."""

ALONE_BYTES = 16 << 20
"""Codes up to here are scanned by the asking thread alone. A second thread saves 0.2 ms of 0.9, and where
something else wants the cores each waits for the other, spinning: 10,000 x 384 while a folder was being
indexed then took 9 to 20 ms in place of 1.2."""

FEW_FROM, FEW_SHARE, FEW_LISTED = 20_000, 0.02, 1_000
"""Of a segment of so many rows up to this share of allowed rows (of an inverted file, so many) is fetched one
by one. 400,000 x 384, by mask and fetched: 0.1 % 2.8 and 0.1 ms, 1 % 1.4 and 0.6, 2 % 3.5 and 1.2; inverted
0.1 % 9.5 and 0.4 ms, but 1 % 4.8 and 16, for FAISS makes a decoder for each row."""

BLOCK_ROWS = 4096
"""Copied at a time while merging: a few MB, so that no search waits long for Python's lock."""

Block = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""rows int64 [m], codes float16 [m, dim], inverted list of each row or None where unknown."""


class SegmentError(Exception):
    """A segment file cannot be used: truncated, changed, or of another library. It is a cache: rebuild it."""


class Segment:
    """Vectors of one group, at least one: `ids` int64 [n] ascending, row i of the index is `ids[i]`."""

    def __init__(self, group: int, ids: np.ndarray, dim: int, body: np.ndarray, nprobe: int) -> None:
        """`body`: a serialised FAISS index, uint8; kept, for the index points into it."""
        self.group = group
        self.ids = ids
        self._body = body
        self._index = _map_index(body)
        self._nprobe = nprobe
        if self._index.ntotal != len(ids) or self._index.d != dim:
            raise SegmentError("the vector index is damaged")
        codes = body[len(body) - len(ids) * dim * 2 :]
        self._codes = None if nprobe else codes.view(np.float16).reshape(len(ids), dim)
        self._parts: list[tuple[int, Any]] = []  # first row, index; empty: not worth a second thread
        if self._codes is None:
            self._index.parallel_mode = 1  # one query's lists on all cores, not on one
            self._index.make_direct_map()  # for `_search_few`; 8 bytes a row
        elif self._codes.nbytes > ALONE_BYTES:
            edges = np.linspace(0, len(ids), _all_threads() + 1).astype(int).tolist()
            self._parts = [(a, _view_index(self._codes[a:b])) for a, b in pairwise(edges)]
        self._row_of = _row_table(ids)

    @classmethod
    def of_array(cls, group: int, ids: np.ndarray, codes: np.ndarray) -> Segment:
        """An exact segment over float16 [n, dim] in memory; `ids` ascending."""
        prefix = flat_prefix(*codes.shape)
        buffer = np.empty(len(prefix) + codes.nbytes + 64, np.uint8)
        skip = -(buffer.ctypes.data + len(prefix)) % 64
        body = buffer[skip : skip + len(prefix) + codes.nbytes]
        body[: len(prefix)] = np.frombuffer(prefix, np.uint8)
        body[len(prefix) :] = np.ascontiguousarray(codes, np.float16).reshape(-1).view(np.uint8)
        return cls(group, ids, codes.shape[1], body, 0)

    @property
    def exact(self) -> bool:
        return self._nprobe == 0

    @property
    def nprobe(self) -> int:
        return self._nprobe

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, -1 for those that are not here; int64 [len(ids)]."""
        if self._row_of is not None:
            at = ids - self.ids[0]
            inside = (at >= 0) & (at < len(self._row_of))
            return np.where(inside, self._row_of[np.where(inside, at, 0)], -1)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def search(self, queries: np.ndarray, k: int, keep: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Inner products float32 [q, k] and rows int64 [q, k] (-1: none), best first; of `keep` bool [n]."""
        import faiss

        k = min(k, len(self))
        if keep is not None and len(self) > FEW_FROM:
            few = np.flatnonzero(keep)
            if len(few) <= (FEW_SHARE * len(self) if self.exact else FEW_LISTED):
                return self._search_few(queries, k, few)
        if self._parts:
            return self._search_parts(queries, k, keep)
        share = 1.0
        options: dict[str, Any] = {}
        if keep is not None:
            bits = np.packbits(keep, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
            share = max(int(np.count_nonzero(keep)), 1) / len(self)
        if self.exact:
            parameters = faiss.SearchParameters(**options) if options else None
        else:
            # A filter thins every list by its share: as many candidates need that many more lists.
            nprobe = min(self._index.nlist, int(np.ceil(self._nprobe / share)))
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, **options)
        faiss.omp_set_num_threads(1 if self.exact else _all_threads())  # holds for this thread only
        return self._index.search(queries, k, params=parameters)

    def _search_few(self, queries: np.ndarray, k: int, few: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same among some rows, fetched and compared exactly: no mask is asked for the others."""
        if self._codes is not None:
            scores, at = _view_index(self._codes[few]).search(queries, min(k, len(few)))
            return scores, few[at]
        scores = queries @ self._index.reconstruct_batch(few).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), few[best]

    def _search_parts(
        self, queries: np.ndarray, k: int, keep: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same, each core over rows of its own: FAISS scans for one query with one core, which reads a
        third to a half of what the memory gives."""

        def scan(part: tuple[int, Any]) -> tuple[np.ndarray, np.ndarray]:
            import faiss

            first, index = part
            parameters = None
            if keep is not None:
                bits = np.packbits(keep[first : first + index.ntotal], bitorder="little")
                parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
            faiss.omp_set_num_threads(1)
            scores, rows = index.search(queries, min(k, index.ntotal), params=parameters)
            return scores, np.where(rows >= 0, rows + first, -1)

        others = [_scanners().submit(scan, part) for part in self._parts[1:]]
        found = [scan(self._parts[0]), *(other.result() for other in others)]
        scores, rows = (np.concatenate(both, 1) for both in zip(*found, strict=True))
        best = np.lexsort((rows, np.where(rows >= 0, -scores, np.inf)), axis=1)[:, :k]
        return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)

    def blocks(self) -> Iterator[Block]:
        """All rows with their codes, a bounded number at a time."""
        if self._codes is not None:
            for start in range(0, len(self), BLOCK_ROWS):
                stop = min(start + BLOCK_ROWS, len(self))
                yield np.arange(start, stop), self._codes[start:stop], None
            return
        import faiss

        lists, dim = self._index.invlists, self._index.d
        for number in range(lists.nlist):
            size = lists.list_size(number)
            if not size:
                continue
            rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * dim * 2).view(np.float16)
            yield rows.copy(), codes.reshape(size, dim), np.full(size, number)

    def centroids(self) -> np.ndarray | None:
        """float32 [nlist, dim] of an inverted file, None of an exact segment."""
        return None if self.exact else self._index.quantizer.reconstruct_n(0, self._index.nlist)


def flat_prefix(n: int, dim: int) -> bytes:
    """The bytes that FAISS writes before the codes of a float16 flat index of n vectors."""
    import faiss

    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    # Not `serialize_index`: its vector comes back as another library's when PyMuPDF (SWIG as well) is loaded.
    parts: list[bytes] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda part: parts.append(bytes(part))))
    prefix = bytearray(b"".join(parts))
    # Two numbers of an empty one change with n: `ntotal` (after the name and the dimension) and the codes'
    # length (the last eight bytes). `_map_index` checks the outcome.
    prefix[8:16] = struct.pack("<q", n)
    prefix[-8:] = struct.pack("<q", n * dim * 2)
    return bytes(prefix)


@lru_cache(maxsize=1)
def _all_threads() -> int:
    import faiss

    return int(faiss.omp_get_max_threads())


@lru_cache(maxsize=1)
def _scanners() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _all_threads() - 1), thread_name_prefix="scan")


def _view_index(codes: np.ndarray) -> Any:
    """A flat FAISS index over float16 [n, dim] where they lie."""
    import faiss

    index = faiss.IndexScalarQuantizer(
        codes.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True
    raw = codes.reshape(-1).view(np.uint8)
    nobody = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(raw), raw.size, nobody)
    index.ntotal = len(codes)
    index.referenced_objects = [codes]  # it only points at them
    return index


def _map_index(buffer: np.ndarray) -> Any:
    """A FAISS index whose codes are `buffer`'s own bytes; whoever holds the index must hold the buffer."""
    import faiss

    try:
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size)
        index = faiss.read_index(reader)
    except RuntimeError as error:
        raise SegmentError("the vector index is damaged") from error
    return index


def _row_table(ids: np.ndarray) -> np.ndarray | None:
    """int32 row by id (counted from the first) while ids are dense enough; None: search them instead."""
    span = int(ids[-1] - ids[0]) + 1
    if span > 8 * len(ids) + 1024:
        return None
    table = np.full(span, -1, np.int32)
    table[ids - ids[0]] = np.arange(len(ids), dtype=np.int32)
    return table
