"""Segments: immutable float16 vectors of one group, and the search in them.

Built around a FAISS index over float16 codes whose bytes are never copied: they are a view of a memory-mapped file,
or of an array. Up to `EXACT_BYTES` a segment is scanned whole and exactly; above, it is an inverted file over the
same codes, whose `nprobe` is measured when it is built (`segment_files.py`). A segment knows nothing of additions
and removals (`snapshot.py`).
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
"""Larger segments are inverted files: 1 M x 384 is 0.77 GB, one pass at the memory's speed (`make bench-index`,
rows "1 M x 384"); an inverted file is faster from there on and loses little."""

ALONE_BYTES = 16 << 20
"""Codes up to here are scanned by one thread. A second one saves 0.2 ms of 0.9, and if the cores are busy each
waits for the other, spinning: 10,000 x 384 during indexing took 9 to 20 ms instead of 1.2. 12 MB in the lists of
1 M x 384, both cores busy: 2.0 ms with one thread, 16 to 20 with two; idle 1.5 and 1.1."""

FEW_FROM, FEW_SHARE, FEW_SHARE_LISTED = 20_000, 0.02, 0.05
"""In a segment of at least so many rows, up to this share of allowed rows (in an inverted file, up to the second)
is fetched row by row instead of masked. ms of CPU for 1 M x 384, masked and fetched: 0.1 % 2.0 and 0.2, 1 % 3.1
and 1.3, 5 % 13 and 10; for 100,000 x 1,536 1 % 0.6 and 0.5, 3 % 1.0 and 1.3. Inverted, 1 M x 384: 1 % 12 and
1.4, 3 % 11 and 4.7, 10 % 5.3 and 5.1, 20 % 4.5 and 5.4."""
FETCHED_ROWS = 2048
"""Rows fetched at a time, few enough to stay in the core's cache until they are compared."""

BLOCK_ROWS = 4096
"""Rows copied at a time while merging: a few MB, so that no search waits long for Python's lock."""

Block = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""rows int64 [m], codes float16 [m, dim], the inverted list of each row (None if unknown)."""


class SegmentError(Exception):
    """A segment file is truncated, damaged, or of another library or model. It is a cache: rebuild it."""


class Segment:
    """Vectors of one group, at least one: `ids` int64 [n] ascending; row i of the index is `ids[i]`."""

    def __init__(self, group: int, ids: np.ndarray, dim: int, body: np.ndarray, nprobe: int) -> None:
        """`body`: a serialised FAISS index, uint8, into which the index points."""
        self.group = group
        self.ids = ids
        self._body = body
        self._index = _map_index(body)
        self._nprobe = nprobe
        if self._index.ntotal != len(ids) or self._index.d != dim:
            raise SegmentError("the vector index is damaged")
        codes = body[len(body) - len(ids) * dim * 2 :]
        self._codes = None if nprobe else codes.view(np.float16).reshape(len(ids), dim)
        self._parts: list[tuple[int, Any]] = []  # (first row, index) for each thread; empty: one thread
        if self._codes is None:
            self._index.parallel_mode = 1  # scan the lists of one query on all cores
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
        """Row of each id, -1 if the segment does not hold the id; int64 [len(ids)]."""
        if self._row_of is not None:
            offsets = ids - self.ids[0]
            if len(offsets) and offsets.min() >= 0 and offsets.max() < len(self._row_of):
                return np.asarray(self._row_of[offsets])
            inside = (offsets >= 0) & (offsets < len(self._row_of))
            return np.where(inside, self._row_of[np.where(inside, offsets, 0)], -1)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def search(self, queries: np.ndarray, k: int, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Inner products float32 [q, k] and rows int64 [q, k] (-1: none), best first, among `keep` bool [n]."""
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
            scanned_bytes = len(self) * self._index.d * 2 * self._nprobe // self._index.nlist
            alone = scanned_bytes <= ALONE_BYTES
        faiss.omp_set_num_threads(1 if alone else _all_threads())  # for this thread only
        scores, rows = self._index.search(queries, k, params=parameters)
        return scores, rows

    def search_among(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`search` among rows int64 [m], ascending, at least one."""
        if len(rows) == len(self):
            return self.search(queries, k)
        share = FEW_SHARE if self.exact else FEW_SHARE_LISTED
        if len(self) > FEW_FROM and len(rows) <= share * len(self):
            return self._search_fetched(queries, k, rows)
        keep = np.zeros(len(self), bool)
        keep[rows] = True
        return self.search(queries, k, keep)

    def _probes(self, share: float) -> int:
        """Lists to search under a filter: it leaves `share` of each list, so 1 / share times as many."""
        return min(int(self._index.nlist), int(np.ceil(self._nprobe / share)))

    def _search_fetched(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`search` among a few rows: each is fetched and compared, without a mask over all rows."""
        import faiss

        if not self.exact and (probes := self._probes(len(rows) / len(self))) < self._index.nlist:
            near = np.zeros(self._index.nlist, bool)
            near[self._index.quantizer.search(queries, probes)[1]] = True
            rows = rows[near[self._places[1][rows]]]
        starts = iter(range(0, len(rows), FETCHED_ROWS))  # shared: each free thread takes the next block

        def compare() -> list[tuple[np.ndarray, np.ndarray]]:
            faiss.omp_set_num_threads(1)
            hits = []
            for start in starts:
                part = rows[start : start + FETCHED_ROWS]
                scores, best = _view_index(self._fetch(part)).search(queries, min(k, len(part)))
                hits.append((scores, part[best]))
            return hits

        threads = min(_all_threads(), -(-len(rows) // FETCHED_ROWS))
        others = [_scanners().submit(compare) for _ in range(threads - 1)]
        hits = compare()
        for other in others:
            if not other.cancel():
                hits += other.result()
        return _best_of(hits, k) if hits else (np.zeros((len(queries), 0), np.float32), rows[None, :0])

    def _fetch(self, rows: np.ndarray) -> np.ndarray:
        """The codes of some rows, float16 [m, dim]."""
        if self._codes is not None:
            return np.asarray(self._codes.take(rows, axis=0))
        width = self._index.d * 2
        codes = np.ndarray((len(self._body) - width + 1,), f"V{width}", self._body.data, 0, (1,))  # at each byte
        return np.asarray(codes[self._places[0][rows]].view(np.float16).reshape(len(rows), int(self._index.d)))

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """For each row of an inverted file: the offset of its code in the body, int64 [n], and its list, int32
        [n]. Made by the first search that fetches: 30 ms and 12 bytes a row."""
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
        """`search` with one thread for each part: FAISS scans for one query on one core, which reads a third to
        a half of the memory's bandwidth."""

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
        return _best_of([scan(self._parts[0]), *(other.result() for other in others)], k)

    def blocks(self) -> Iterator[Block]:
        """All rows with their codes, in blocks of bounded size."""
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
        """float32 [nlist, dim] of an inverted file; None of an exact segment."""
        if self.exact:
            return None
        centroids: np.ndarray = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        return centroids


def flat_prefix(n: int, dim: int) -> bytes:
    """The bytes before the codes in a FAISS file of a float16 flat index of n vectors."""
    import faiss

    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    # `serialize_index` fails when PyMuPDF is loaded: both use SWIG, which then mixes up their vector types.
    parts: list[bytes] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda part: parts.append(bytes(part))))
    prefix = bytearray(b"".join(parts))
    # Two numbers in it depend on n: `ntotal` (after the name and the dimension) and the length of the codes (the
    # last eight bytes). `_map_index` checks the result.
    prefix[8:16] = struct.pack("<q", n)
    prefix[-8:] = struct.pack("<q", n * dim * 2)
    return bytes(prefix)


def _best_of(parts: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the scores and rows (-1: none) of several parts, ties by row."""
    scores, rows = (np.concatenate(both, 1) for both in zip(*parts, strict=True))
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
    """A flat FAISS index over float16 [n, dim], without a copy."""
    import faiss

    index = faiss.IndexScalarQuantizer(codes.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    raw = codes.reshape(-1).view(np.uint8)
    no_owner = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(raw), raw.size, no_owner)
    index.ntotal = len(codes)
    index.referenced_objects = [codes]  # keeps the array alive
    return index


def _map_index(buffer: np.ndarray) -> Any:
    """A FAISS index whose codes are the bytes of `buffer`, which must outlive the index."""
    import faiss

    try:
        return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(buffer), buffer.size))
    except RuntimeError as error:
        raise SegmentError("the vector index is damaged") from error


def _row_table(ids: np.ndarray) -> np.ndarray | None:
    """int32 row by id, counted from the first id; None if the ids are too sparse for a table."""
    span = int(ids[-1] - ids[0]) + 1
    if span > 8 * len(ids) + 1024:
        return None
    table = np.full(span, -1, np.int32)
    table[ids - ids[0]] = np.arange(len(ids), dtype=np.int32)
    return table
