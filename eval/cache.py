"""Embeddings on disk, found again by what was embedded.

Built around one SQLite file a model id: key -> vector, where the key is a hash of the model id
and of everything the model was given, pictures by their bytes. So an input that several tasks
share is embedded once, a run that was killed goes on where it stopped, and several processes
write into one cache. It knows nothing of tasks or models.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from blake3 import blake3

from data.mmeb.task_data import PictureError, TaskItem, TaskVisual

VERSION = 1
_ASK_AT_ONCE = 500


class CacheError(Exception):
    """The cache cannot be used with this model. `str(error)` says what to do."""


class EmbeddingCache:
    """float32 vectors of one model id, and the hashes of pictures that were read once.

    Every `put` is one transaction: after a power cut the last batch is there or not there.
    """

    def __init__(self, folder: Path, model_id: str, dim: int) -> None:
        """Raises `CacheError` if the file holds vectors of another length under the same id."""
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
        """The name of `item` in this cache; `parts` is what the model is given besides pictures.

        Raises `PictureError` if a picture cannot be read.
        """
        said = blake3(f"{VERSION}\0{self.model_id}\0{len(parts)}".encode())
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            said.update(len(raw).to_bytes(8, "little") + raw)
        if item.visual is not None:
            said.update(item.visual.kind.encode())
            if item.visual.video is not None:
                said.update(b"%d frames of" % (item.visual.frames or 0))
            for digest in self._picture_digests(item.visual):
                said.update(digest)
        return said.digest(16)

    def get(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """float32 [n, dim] (zeros where there is none) and bool [n]: it was there."""
        out = np.zeros((len(keys), self.dim), dtype=np.float32)
        there = np.zeros(len(keys), dtype=bool)
        places: dict[bytes, list[int]] = {}
        for i, key in enumerate(keys):
            places.setdefault(key, []).append(i)
        for key, raw in self._ask("SELECT key, vector FROM embedding WHERE key IN", list(places)):
            out[places[key]] = np.frombuffer(raw, dtype=np.float32)
            there[places[key]] = True
        return out, there

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of `keys` that are not there."""
        wanted = set(keys)
        return wanted - {row[0] for row in self._ask("SELECT key FROM embedding WHERE key IN", list(wanted))}

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        if vectors.shape != (len(keys), self.dim):
            raise CacheError(f"{self.model_id} gave vectors of shape {vectors.shape}, not {(len(keys), self.dim)}")
        rows = [(k, np.ascontiguousarray(v, dtype=np.float32).tobytes()) for k, v in zip(keys, vectors, strict=True)]
        with self._writing(self._vectors) as db:
            db.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?)", rows)

    def put_failure(self, key: bytes, error: PictureError) -> None:
        """Remember for the rest of this run that an input cannot be embedded, and why."""
        with self._writing(self._vectors) as db:
            db.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?)", (key, error.source, str(error)))

    def failures(self) -> dict[bytes, PictureError]:
        return {k: PictureError(s, r) for k, s, r in self._vectors.execute("SELECT key, source, reason FROM failure")}

    def forget_failures(self) -> None:
        """A new run tries again: the file may have been repaired."""
        with self._vectors as db:
            db.execute("DELETE FROM failure")

    def close(self) -> None:
        self._vectors.close()
        self._digests.close()

    @contextmanager
    def _writing(self, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises `CacheError`: the disk is full, the file may not be written."""
        try:
            with db:
                yield db
        except sqlite3.OperationalError as error:
            raise CacheError(
                f"{self.path.parent} cannot be written ({error}). Make room, or choose another place with "
                "--cache_dir; the same command goes on from here."
            ) from error

    def _picture_digests(self, visual: TaskVisual) -> list[bytes]:
        from data.mmeb.task_data import FilePicture

        pictures = visual.pictures if visual.video is None else (FilePicture(visual.video),)
        stamps = [picture.stamp() for picture in pictures]
        known = dict(
            _in_chunks(self._digests, "SELECT stamp, digest FROM picture WHERE stamp IN", list(dict.fromkeys(stamps)))
        )
        new = {}
        for picture, stamp in zip(pictures, stamps, strict=True):
            if stamp not in known:
                known[stamp] = new[stamp] = blake3(picture.data()).digest(16)
        if new:
            with self._writing(self._digests) as db:
                db.executemany("INSERT OR REPLACE INTO picture VALUES (?, ?)", list(new.items()))
        return [known[stamp] for stamp in stamps]

    def _ask(self, question: str, keys: list[bytes]) -> Iterator[tuple]:
        return _in_chunks(self._vectors, question, keys)


def _in_chunks(db: sqlite3.Connection, question: str, keys: list) -> Iterator[tuple]:
    for at in range(0, len(keys), _ASK_AT_ONCE):
        some = keys[at : at + _ASK_AT_ONCE]
        yield from db.execute(f"{question} ({','.join('?' * len(some))})", some)


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
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", model_id)[-80:]
    return f"{plain}-{blake3(model_id.encode()).hexdigest(4)}"
