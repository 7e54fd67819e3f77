"""Immutable runs of float16 vectors, and how one of them is searched.

A segment is built around a FAISS index over float16 codes whose bytes are never
copied: they are a view of a memory-mapped file, or of an array. Small and medium
segments are scanned whole and exactly; above `EXACT_BYTES` a segment is an inverted
file over the same codes, whose `nprobe` is measured when it is built (`segment_files.py`).
A segment knows its ids and the group they belong to; it knows nothing of additions and
removals (`snapshot.py`) nor of what an id stands for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

EXACT_BYTES = 1 << 30
"""Codes up to here are scanned exactly: 1 M x 384 is 0.77 GB, one pass at the memory's speed
(`make bench-index`, rows "1 M x 384"); an inverted file is faster from there on and loses little."""

ALONE_BYTES = 16 << 20
"""Codes up to here are scanned by the asking thread alone. A second thread saves 0.2 ms of 0.9, and where
something else wants the cores each waits for the other, spinning: 10,000 x 384 while a folder was being
indexed then took 9 to 20 ms in place of 1.2. 12 MB in the lists of 1 M x 384, both cores busy with other
things: 2.0 ms alone, 16 to 20 by two threads; at rest 1.5 and 1.1."""

FEW_FROM, FEW_SHARE, FEW_SHARE_LISTED = 20_000, 0.02, 0.05
"""Of a segment of so many rows up to this share of allowed rows (of an inverted file, up to the other) is
fetched one by one. ms of CPU for 1 M x 384, by mask and fetched: 0.1 % 2.0 and 0.2, 1 % 3.1 and 1.3, 5 % 13
and 10; for 100,000 x 1,536 1 % 0.6 and 0.5, 3 % 1.0 and 1.3. Inverted, 1 M x 384: 1 % 12 and 1.4, 3 % 11 and
4.7, 10 % 5.3 and 5.1, 20 % 4.5 and 5.4."""
FETCHED_ROWS = 2048
"""Fetched at a time: they are still in the core's cache when they are compared."""

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
            if len(at) and at.min() >= 0 and at.max() < len(self._row_of):
                return self._row_of[at]
            inside = (at >= 0) & (at < len(self._row_of))
            return np.where(inside, self._row_of[np.where(inside, at, 0)], -1)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def search(self, queries: np.ndarray, k: int, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Inner products float32 [q, k] and rows int64 [q, k] (-1: none), best first; of `keep` bool [n]."""
        import faiss

        k = min(k, len(self))
        if self._parts:
            return self._search_parts(queries, k, keep)
        share = 1.0
        options: dict[str, Any] = {}
        if keep is not None:
            bits = np.packbits(keep, bitorder="little")
            options["sel"] = faiss.IDSelectorBitmap(bits)
            share = max(int(np.count_nonzero(keep)), 1) / len(self)
        alone = True
        if self.exact:
            parameters = faiss.SearchParameters(**options) if options else None
        else:
            parameters = faiss.SearchParametersIVF(nprobe=self._probes(share), **options)
            looked_at = len(self) * self._index.d * 2 * self._nprobe // self._index.nlist
            alone = looked_at <= ALONE_BYTES
        faiss.omp_set_num_threads(1 if alone else _all_threads())  # holds for this thread only
        return self._index.search(queries, k, params=parameters)

    def search_among(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same among some rows, int64 [m] ascending, at least one."""
        if len(rows) == len(self):
            return self.search(queries, k)
        share = FEW_SHARE if self.exact else FEW_SHARE_LISTED
        if len(self) > FEW_FROM and len(rows) <= share * len(self):
            return self._search_fetched(queries, k, rows)
        keep = np.zeros(len(self), bool)
        keep[rows] = True
        return self.search(queries, k, keep)

    def _probes(self, share: float) -> int:
        """A filter thins every list by its share: as many candidates need that many more lists."""
        return min(self._index.nlist, int(np.ceil(self._nprobe / share)))

    def _search_fetched(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Among some rows, each fetched and compared: nobody asks a mask for all the others."""
        import faiss

        if not self.exact and (probes := self._probes(len(rows) / len(self))) < self._index.nlist:
            near = np.zeros(self._index.nlist, bool)
            near[self._index.quantizer.search(queries, probes)[1]] = True
            rows = rows[near[self._places[1][rows]]]
        starts = iter(range(0, len(rows), FETCHED_ROWS))  # who is free takes the next, who is not takes none

        def compare() -> list[tuple[np.ndarray, np.ndarray]]:
            faiss.omp_set_num_threads(1)
            found = []
            for start in starts:
                part = rows[start : start + FETCHED_ROWS]
                scores, best = _view_index(self._fetched(part)).search(queries, min(k, len(part)))
                found.append((scores, part[best]))
            return found

        threads = min(_all_threads(), -(-len(rows) // FETCHED_ROWS))
        others = [_scanners().submit(compare) for _ in range(threads - 1)]
        found = compare()
        for other in others:
            if not other.cancel():
                found += other.result()
        return _best_of(found, k) if found else (np.zeros((len(queries), 0), np.float32), rows[None, :0])

    def _fetched(self, rows: np.ndarray) -> np.ndarray:
        """The codes of some rows, float16 [m, dim]."""
        if self._codes is not None:
            return self._codes.take(rows, axis=0)
        width = self._index.d * 2
        anywhere = np.ndarray((len(self._body) - width + 1,), f"V{width}", self._body.data, 0, (1,))
        return anywhere[self._places[0][rows]].view(np.float16).reshape(len(rows), self._index.d)

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """By row of an inverted file: where in the body its code begins, int64 [n], and its list, int32 [n].
        Made for the first search that fetches: 30 ms and 12 bytes a row."""
        import faiss

        starts, numbers = np.zeros(len(self), np.int64), np.zeros(len(self), np.int32)
        lists = self._index.invlists
        for number in range(lists.nlist):
            if size := lists.list_size(number):
                rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
                first = int(lists.get_codes(number)) - self._body.ctypes.data
                starts[rows] = first + np.arange(size) * self._index.d * 2
                numbers[rows] = number
        return starts, numbers

    def _search_parts(self, queries: np.ndarray, k: int, keep: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
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
        return _best_of(found, k)

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


def _best_of(found: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of several parts' scores and rows (-1: none), ties by row."""
    scores, rows = (np.concatenate(both, 1) for both in zip(*found, strict=True))
    best = np.lexsort((rows, np.where(rows >= 0, -scores, np.inf)), axis=1)[:, :k]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)


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

    index = faiss.IndexScalarQuantizer(codes.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
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
