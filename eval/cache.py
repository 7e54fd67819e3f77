"""Embeddings on disk, by a hash of the input.

Built around one SQLite file per model id: key -> vector, where the key is a hash of the model id and of the whole
input, images by their bytes. So an input that several tasks share is embedded once, a killed run goes on where it
stopped, and several processes share one cache. It knows nothing of tasks or models.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from data.mmeb.task_data import ImageError, ImageFile, TaskItem, TaskVisual

VERSION = 1
_KEYS_PER_STATEMENT = 500


class CacheError(Exception):
    """The cache cannot be used with this model. The message says what to do."""


class EmbeddingCache:
    """float32 vectors of one model id, and the hashes of image files.

    Every `put` is one transaction: after a power cut the last batch is complete or absent.
    """

    def __init__(self, folder: Path, model_id: str, dim: int) -> None:
        """Raises `CacheError` if the file holds vectors of another dimension for the same id."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model_id, self.dim = model_id, dim
        self.path = folder / f"{_file_name(model_id)}.sqlite"
        self._vectors = _open(
            self.path,
            "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS embedding (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS failure (key BLOB PRIMARY KEY, source TEXT, reason TEXT)",
        )
        self._digests = _open(
            folder / "pictures.sqlite",
            "CREATE TABLE IF NOT EXISTS picture (stamp TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID",
        )
        with self._vectors as db:
            for name, value in (("model", model_id), ("dim", str(dim)), ("version", str(VERSION))):
                db.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
        about = dict(self._vectors.execute("SELECT name, value FROM about"))
        if about["dim"] != str(dim):
            raise CacheError(
                f"{self.path} holds vectors of {about['dim']} numbers for {model_id}, but the model "
                f"gives {dim}. Delete that file, or choose another place with --cache_dir."
            )
        if about["version"] != str(VERSION):
            raise CacheError(f"{self.path} was written by another version of this program; delete it.")

    def key(self, item: TaskItem, parts: Sequence[str]) -> bytes:
        """Returns the key of `item`; `parts` are the model's texts for it. Raises `ImageError`."""
        digest = blake3(f"{VERSION}\0{self.model_id}\0{len(parts)}".encode())
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        if item.visual is not None:
            digest.update(item.visual.kind.encode())
            if item.visual.video is not None:
                digest.update(b"%d frames of" % (item.visual.frames or 0))
            for image_digest in self._image_digests(item.visual):
                digest.update(image_digest)
        return digest.digest(16)

    def get(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors, float32 [n, dim], with zeros for missing keys, and bool [n]: the key is in the cache."""
        out = np.zeros((len(keys), self.dim), dtype=np.float32)
        in_cache = np.zeros(len(keys), dtype=bool)
        positions: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            positions.setdefault(key, []).append(i)
        for key, raw in select(self._vectors, "SELECT key, vector FROM embedding WHERE key IN", list(positions)):
            out[positions[key]] = np.frombuffer(raw, dtype=np.float32)
            in_cache[positions[key]] = True
        return out, in_cache

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Returns the `keys` that are not in the cache."""
        unique = set(keys)
        return unique - {k for (k,) in select(self._vectors, "SELECT key FROM embedding WHERE key IN", list(unique))}

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        if vectors.shape != (len(keys), self.dim):
            raise CacheError(f"{self.model_id} gave vectors of shape {vectors.shape}, not {(len(keys), self.dim)}")
        self._put(
            [(k, np.ascontiguousarray(v, dtype=np.float32).tobytes()) for k, v in zip(keys, vectors, strict=True)]
        )

    def _put(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        with self._writing(self._vectors) as db:
            db.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?)", rows)

    def put_failure(self, key: bytes, error: ImageError) -> None:
        """Store the error of an input that cannot be embedded, until `forget_failures`."""
        with self._writing(self._vectors) as db:
            db.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?)", (key, error.source, str(error)))

    def failures(self) -> dict[bytes, ImageError]:
        return {k: ImageError(s, r) for k, s, r in self._vectors.execute("SELECT key, source, reason FROM failure")}

    def forget_failures(self) -> None:
        """Delete the errors of an earlier run: a file may have been repaired since."""
        with self._vectors as db:
            db.execute("DELETE FROM failure")

    def close(self) -> None:
        self._vectors.close()
        self._digests.close()

    @contextmanager
    def _writing(self, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises `CacheError` if the disk is full or the file is read-only."""
        try:
            with db:
                yield db
        except sqlite3.OperationalError as error:
            raise CacheError(
                f"{self.path.parent} cannot be written ({error}). Make room, or choose another place with "
                "--cache_dir; the same command goes on from here."
            ) from error

    def _image_digests(self, visual: TaskVisual) -> list[bytes]:
        images = visual.images if visual.video is None else (ImageFile(visual.video),)
        stamps = [image.stamp() for image in images]
        digests: dict[str, bytes] = dict(
            select(self._digests, "SELECT stamp, digest FROM picture WHERE stamp IN", list(dict.fromkeys(stamps)))
        )
        new = {}
        for image, stamp in zip(images, stamps, strict=True):
            if stamp not in digests:
                digests[stamp] = new[stamp] = blake3(image.data()).digest(16)
        if new:
            with self._writing(self._digests) as db:
                db.executemany("INSERT OR REPLACE INTO picture VALUES (?, ?)", list(new.items()))
        return [digests[stamp] for stamp in stamps]


def select(db: sqlite3.Connection, statement: str, keys: Sequence[bytes | str]) -> Iterator[Any]:
    """Yields the rows of a statement that ends with IN, for some keys at a time."""
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        part = keys[start : start + _KEYS_PER_STATEMENT]
        yield from db.execute(f"{statement} ({','.join('?' * len(part))})", part)


def _open(path: Path, schema: str) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, timeout=120)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        for statement in schema.split(";"):
            db.execute(statement)
        db.commit()
    except sqlite3.DatabaseError as error:
        raise CacheError(f"{path} cannot be used as an embedding cache ({error}); delete it to start anew.") from None
    return db


def _file_name(model_id: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", model_id)[-80:]
    return f"{readable}-{blake3(model_id.encode()).hexdigest(4)}"
