"""The file of a vector index's large segments: written whole, memory-mapped when opened.

Built around a header with the digests of all sections, and a rename at the end, so that a file is either whole or
absent. Large groups are written as inverted files; their centroids come from the previous file, and their `nprobe`
is measured. It knows nothing of concurrent searches.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from indexer import private
from indexer.vectors.faiss.segment import EXACT_BYTES, Block, Segment, SegmentError, flat_prefix

MAGIC = b"SLVEC001"
HEADER_BYTES = 16 * 1024
"""Reserved before the sections; the header is written last, with their digests."""
UNFINISHED = ".writing"
"""The suffix of a segment file until it is whole."""

_writing: set[Path] = set()
TARGET_RECALL = 0.99
"""Recall@10 that the measured `nprobe` reaches, so that new queries reach 0.98."""
NPROBE_FACTOR = 3
"""`nprobe` is this many times the measured one: it is measured with vectors of the index, and text queries lie
further from image vectors. 200,000 x 640 of lite, recall@10 of text queries with factor 1, 2, 3, 4: .898, .968,
.987, .993; 60,000: .903, .958, –, .990."""


@dataclass(frozen=True)
class GroupRows:
    """The rows of a segment to write: ascending ids, and their codes in any order."""

    group: int
    ids: np.ndarray
    blocks: Callable[[], Iterable[Block]]
    centroids: np.ndarray | None = None


def write(
    path: Path, key: str, dim: int, position: int, groups: Sequence[GroupRows], exact_bytes: int = EXACT_BYTES
) -> None:
    """Write a segment file: first a temporary file, which is synced and renamed.

    `position`: that of the vectors in the source's journal.
    """
    temporary = path.with_suffix(UNFINISHED)
    _writing.add(temporary)
    try:
        with open(temporary, "w+b", opener=private.opener) as file:
            file.truncate(HEADER_BYTES)
            file.seek(0, os.SEEK_END)
            sections = [_write_segment(file, dim, rows, exact_bytes) for rows in groups if len(rows.ids)]
            file.seek(0, os.SEEK_END)
            header = {"key": key, "dim": dim, "position": position, "segments": sections, "bytes": file.tell()}
            text = json.dumps(header).encode()
            file.seek(0)
            file.write(MAGIC + struct.pack("<I", len(text)) + text + _digest(text))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        _writing.discard(temporary)


def remove_half_written(folder: Path) -> None:
    """Delete the files that a killed program left. Only the program that writes the folder may call this."""
    for path in folder.glob(f"*{UNFINISHED}"):
        if path not in _writing:
            path.unlink(missing_ok=True)


def read(path: Path, key: str, dim: int) -> tuple[list[Segment], int]:
    """Map a segment file. Returns its segments and position; only ids are read now.

    Raises SegmentError if the file is not whole, or of another library or model.
    """
    header, sections = _sections(path, key, dim)
    segments = [Segment(section["group"], ids, dim, body, section["nprobe"]) for section, ids, body in sections]
    return segments, header["position"]


def read_few(path: Path, key: str, dim: int, most: int) -> tuple[list[tuple[int, np.ndarray, np.ndarray]], int] | None:
    """Read a segment file of at most `most` vectors without FAISS, which takes longer to load than they take to search.

    Returns group, ids int64 [n] and codes float16 [n, dim] of each segment, and the position; None if there are more.
    Raises SegmentError as `read` does.
    """
    header, sections = _sections(path, key, dim)
    if sum(section["n"] for section, *_ in sections) > most or any(section["nprobe"] for section, *_ in sections):
        return None
    rows = []
    for section, ids, body in sections:
        if _digest(body).hex() != section["digest"]:
            raise SegmentError(f"{path.name} is damaged")
        codes = body[len(body) - len(ids) * dim * 2 :].view(np.float16)
        rows.append((int(section["group"]), ids, codes.reshape(len(ids), dim)))
    return rows, header["position"]


def _sections(
    path: Path, key: str, dim: int
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], np.ndarray, np.ndarray]]]:
    """The header, and for each segment: its section, its ids, and its body as a view of the mapped file."""
    header = _header(path)
    if header["key"] != key or header["dim"] != dim:
        raise SegmentError(f"{path.name} holds the vectors of another model")
    data = np.memmap(path, np.uint8, mode="r")
    sections = []
    for section in header["segments"]:
        ids_bytes = data[section["ids"] : section["ids"] + section["n"] * 8]
        if _digest(ids_bytes).hex() != section["ids_digest"]:
            raise SegmentError(f"{path.name} is damaged")
        body = data[section["index"] : section["index"] + section["length"]]
        sections.append((section, np.array(ids_bytes.view(np.int64)), body))
    return header, sections


def is_undamaged(path: Path) -> bool:
    """Whether all bytes agree with the digests, which `read` checks for ids only."""
    try:
        header = _header(path)
        data = np.memmap(path, np.uint8, mode="r")
        return all(
            _digest(data[s["index"] : s["index"] + s["length"]]).hex() == s["digest"] for s in header["segments"]
        )
    except (SegmentError, OSError):
        return False


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise SegmentError(f"{path.name} cannot be read: {error.strerror}") from error
    start = len(MAGIC) + 4
    if head[: len(MAGIC)] != MAGIC or len(head) < HEADER_BYTES:
        raise SegmentError(f"{path.name} is no vector index of this version")
    (length,) = struct.unpack("<I", head[len(MAGIC) : start])
    text = head[start : start + length]
    if _digest(text) != head[start + length : start + length + 32]:
        raise SegmentError(f"{path.name} is damaged")
    header: dict[str, Any] = json.loads(text)
    if header["bytes"] != size:
        raise SegmentError(f"{path.name} is incomplete")
    return header


def _write_segment(file: IO[bytes], dim: int, rows: GroupRows, exact_bytes: int) -> dict[str, Any]:
    n = len(rows.ids)
    ids = np.ascontiguousarray(rows.ids, np.int64)
    section: dict[str, Any] = {"group": rows.group, "n": n, "nprobe": 0}
    section["ids"] = _align(file)
    file.write(ids.tobytes())
    section["ids_digest"] = _digest(ids.view(np.uint8)).hex()
    if n * dim * 2 <= exact_bytes:
        prefix = flat_prefix(n, dim)
        section["index"] = _align(file, behind=len(prefix))
        file.write(prefix)
        start = file.tell()
        file.truncate(start + n * dim * 2)
        file.flush()
        if n:
            codes = np.memmap(file, np.float16, mode="r+", offset=start, shape=(n, dim))
            for numbers, block, _ in rows.blocks():
                codes[numbers] = block
            codes.flush()
            del codes
        file.seek(0, os.SEEK_END)
    else:
        import faiss

        index, section["nprobe"] = _inverted_file(dim, rows)
        section["index"] = _align(file)
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    file.flush()
    section["length"] = file.tell() - section["index"]
    written = np.memmap(file, np.uint8, mode="r", offset=0)
    section["digest"] = _digest(written[section["index"] :]).hex()
    return section


def _inverted_file(dim: int, rows: GroupRows) -> tuple[Any, int]:
    """An inverted file over the float16 codes (row numbers as ids), and its nprobe."""
    import faiss

    n = len(rows.ids)
    nlist = max(16, int(4 * np.sqrt(n)))
    centroids = rows.centroids
    reuse = centroids is not None and nlist / 2 <= len(centroids) <= nlist * 2
    quantizer = faiss.IndexFlatIP(dim)
    if reuse:
        quantizer.add(np.ascontiguousarray(centroids, np.float32))
    else:
        # `faiss.Kmeans` would read a C++ vector (see `flat_prefix`). niter 8 has the recall of 20.
        clustering = faiss.Clustering(dim, nlist)
        clustering.niter, clustering.spherical, clustering.seed = 8, True, 1
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, 40
        clustering.train(_sample(rows, dim, nlist * 40), quantizer)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, quantizer.ntotal, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.is_trained = True
    for numbers, block, lists in rows.blocks():
        vectors = np.ascontiguousarray(block, np.float32)
        if lists is None or not reuse or (lists < 0).any():
            lists = quantizer.search(vectors, 1)[1][:, 0]
        numbers, lists = np.ascontiguousarray(numbers, np.int64), np.ascontiguousarray(lists, np.int64)
        index.add_core(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(numbers), faiss.swig_ptr(lists))
    return index, _measured_nprobe(index, _sample(rows, dim, 400))


def _measured_nprobe(index: Any, sample: np.ndarray) -> int:
    """`NPROBE_FACTOR` times the least nprobe, in steps of a fifth, that reaches `TARGET_RECALL` for queries that
    mix two vectors of the sample."""
    import faiss

    half = len(sample) // 2
    queries = sample[:half] + 0.5 * sample[half : 2 * half]
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-9)
    exact = index.search(queries, 10, params=faiss.SearchParametersIVF(nprobe=index.nlist))[1]
    nprobe = 8.0
    while nprobe < index.nlist:
        parameters = faiss.SearchParametersIVF(nprobe=round(nprobe))
        hits = index.search(queries, 10, params=parameters)[1]
        recall = np.mean([len(np.intersect1d(h, e)) / len(e) for h, e in zip(hits, exact, strict=True)])
        if recall >= TARGET_RECALL:
            return min(round(nprobe) * NPROBE_FACTOR, int(index.nlist))
        nprobe *= 2**0.25
    return int(index.nlist)


def _sample(rows: GroupRows, dim: int, size: int) -> np.ndarray:
    """At most `size` random vectors, float32 [<= size, dim], the same share of every block."""
    rng = np.random.default_rng(7)
    share = min(1.0, size / max(len(rows.ids), 1))
    parts = [
        block[np.sort(rng.choice(len(block), max(1, round(share * len(block))), replace=False))].astype(np.float32)
        for _, block, _ in rows.blocks()
    ]
    return rng.permutation(np.concatenate(parts) if parts else np.zeros((0, dim), np.float32))[:size]


def _align(file: IO[bytes], behind: int = 0) -> int:
    """Pad the file so that the position `behind` bytes past its end is a multiple of 64. Returns the end."""
    file.seek(0, os.SEEK_END)
    file.write(bytes(-(file.tell() + behind) % 64))
    return file.tell()


def _digest(data: bytes | np.ndarray) -> bytes:
    from blake3 import blake3

    hasher = blake3()
    view = memoryview(data)  # type: ignore[arg-type]
    for start in range(0, len(view), 1 << 22):
        hasher.update(view[start : start + (1 << 22)])
    return hasher.digest()
