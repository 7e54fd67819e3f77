"""One Milvus collection: the vectors of one model of one library, and their position in the journal.

Built around pymilvus, which talks to a server and to Milvus Lite alike. This file holds the collection's schema, and
turns Milvus's errors into sentences for a person. It knows nothing of when to write or search (`index.py`).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2s
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from indexer.errors import IndexOutdated, LibraryError, VectorServerError
from indexer.vectors.address import Address

T = TypeVar("T")
log = logging.getLogger(__name__)

SHAPE = "2"
"""Version of the collection's fields: 2 has the roots. A collection of another version is refused."""
OLDEST, NEWEST_MAJOR = (2, 3, 2), 3
"""Milvus 2.3.2 is the first with upsert, count(*) and array fields."""
MOST_ROOTS = 4096
"""The longest array of a Milvus field."""

ANSWER_S = 8.0
"""Seconds that a search may take before the server counts as unreachable."""
WRITE_S = 60.0
WRITE_BYTES = 16 << 20
"""Bytes of vectors sent at a time; a server takes messages of up to 64 MB."""
MOST_HITS = 16_384
"""The most hits that Milvus returns to one query."""
SCAN_ROWS = 4096
SHARES = 4096
"""Shares of the rows; a row's share is the upper 12 bits of its scrambled id."""

EXACT: dict[str, Any] = {"index_type": "FLAT", "metric_type": "IP", "params": {}}
GRAPH: dict[str, Any] = {
    "index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}
}  # fmt: skip
EXACT_ROWS = 20_000
"""Up to this many rows Milvus scans all. On two cores 50,000 x 640 takes 24 ms so, with the graph 3 ms; but
Milvus 2.3 searches vectors outside the graph through an index of its own, recall@10 .88."""
LEAST_EF = 512
"""Candidates of a search in the graph, or k if that is more. 50,000 x 640, recall@10 and time: 128 .97 and 2.7 ms,
256 .99 and 2.8, 512 1.00 and 3.1."""
REFUSALS = ("quota", "rate limit", "deny to write", "no space", "disk full", "disk is full", "memory limit")
SIGNS_OF_ABSENCE = (
    "unavailable", "retry timeout", "deadline", "connect", "not available", "no available", "not ready",
    "abnormal", "not loaded", "not fully loaded", "shard delegator", "is not serving", "closed channel",
    "node not found", "not healthy", "initializing", "stopping", "context canceled", "eof",
)  # fmt: skip


class Unreachable(VectorServerError):
    """The server does not answer."""


class Lost(VectorServerError):
    """The collection does not exist: it must be made again."""


class VectorCollection:
    """Safe to use from many threads. It connects at the first use, and again after `disconnect`."""

    def __init__(self, address: Address, key: str, dim: int, library: str) -> None:
        """`key`: the model's id. `library`: the id of the library that feeds the collection."""
        self.address, self._key, self._dim, self._library = address, key, dim, library
        self.name = collection_name(address.name, key)
        self._guard = threading.Lock()
        self._client: Any = None
        self._exists = False
        self.exact = True

    # -- the connection ----------------------------------------------------------------------

    def disconnect(self) -> None:
        """Close the connection; the next call makes another."""
        with self._guard:
            client, self._client, self._exists = self._client, None, False
        if client is not None:
            try:
                client.close()
            except Exception as error:  # noqa: BLE001 – the client is not used again, whatever its state
                log.info("closing the connection to Milvus: %s", error)

    def _connected(self) -> Any:
        with self._guard:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        pymilvus = _pymilvus(lite=self.address.lite)
        if self.address.lite:
            self.address.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            client = pymilvus.MilvusClient(
                uri=self.address.uri, token=self.address.token, timeout=ANSWER_S, dedicated=True
            )
            text = str(client.get_server_version(timeout=ANSWER_S))
        except Exception as error:
            raise self._explained(error, connecting=True) from error
        match = re.search(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
        version = (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)
        if not self.address.lite and (version < OLDEST or version[0] > NEWEST_MAJOR):
            raise VectorServerError(
                f"The vector server {self.address.shown} is Milvus {text}; Sightline works with "
                f"{'.'.join(map(str, OLDEST))} to {NEWEST_MAJOR}.x: install one of these."
            )
        return client

    # -- the collection ----------------------------------------------------------------------

    def position(self) -> int | None:
        """The collection's position in the journal; None if it does not exist.

        Raises VectorServerError if it is of another library, model or dimension; IndexOutdated if an older
        Sightline made it.
        """

        def look(client: Any) -> int | None:
            if not client.has_collection(self.name, timeout=ANSWER_S):
                return None
            description = client.describe_collection(self.name, timeout=ANSWER_S)
            self._check(description)
            properties = description.get("properties", {})
            if not self._exists:
                if not client.list_indexes(self.name):  # a program ended during `build_graph`
                    self._index_by_graph(client)
                    properties["sightline.index"] = "graph"
                client.load_collection(self.name, timeout=WRITE_S)
                self._exists = True
            self.exact = properties.get("sightline.index") != "graph"
            return int(properties.get("sightline.position", -1))

        return self._call(look)

    def create(self) -> None:
        """Create the collection, empty, without a position."""

        def make(client: Any) -> None:
            from pymilvus import DataType

            schema = client.create_schema(
                auto_id=False, enable_dynamic_field=False, description=f"Sightline: vectors of {self._key}"
            )
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("kind", DataType.INT8)
            # The ids of the catalogue's roots that hold files of the content: mostly one.
            schema.add_field("root", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_ROOTS)
            schema.add_field("share", DataType.INT16)  # for reading all rows in parts
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._dim)
            index = client.prepare_index_params()
            index.add_index("vector", **EXACT)
            properties = {
                "sightline.shape": SHAPE,
                "sightline.model": self._key,
                "sightline.library": self._library,
                "sightline.position": "-1",
            }
            client.create_collection(
                self.name, schema=schema, index_params=index, properties=properties, timeout=WRITE_S
            )

        self._call(make, writing=True)

    def store_position(self, position: int) -> None:
        """Store the position in the journal; durable when this returns, like the writes before it."""
        value = {"sightline.position": str(position)}
        self._call(lambda c: c.alter_collection_properties(self.name, value, timeout=WRITE_S), writing=True)

    def build_graph(self) -> None:
        """Search through a graph from now on. For some seconds the server cannot answer."""

        def build(client: Any) -> None:
            client.release_collection(self.name, timeout=WRITE_S)
            client.drop_index(self.name, "vector", timeout=WRITE_S)
            self._index_by_graph(client)
            client.load_collection(self.name, timeout=WRITE_S)

        self._call(build, writing=True)
        self.exact = False

    def _index_by_graph(self, client: Any) -> None:
        index = client.prepare_index_params()
        index.add_index("vector", **GRAPH)
        client.create_index(self.name, index, timeout=WRITE_S)
        client.alter_collection_properties(self.name, {"sightline.index": "graph"}, timeout=WRITE_S)

    def drop(self) -> None:
        self._call(lambda c: c.drop_collection(self.name, timeout=WRITE_S), writing=True)
        self._exists = False

    def _check(self, description: dict[str, Any]) -> None:
        properties = description.get("properties", {})
        dims = [f["params"]["dim"] for f in description["fields"] if "dim" in f.get("params", {})]
        where = f"The collection {self.name} on {self.address.shown}"
        way_out = "choose another name in --vectors, or drop the collection."
        if dims and int(dims[0]) != self._dim:
            raise VectorServerError(
                f"{where} holds vectors of {dims[0]} numbers and {self._key} makes {self._dim}: {way_out}"
            )
        shape = str(properties.get("sightline.shape", ""))
        if not shape.isdigit() or properties.get("sightline.model") != self._key:
            raise VectorServerError(f"{where} was not made by Sightline for {self._key}: {way_out}")
        if properties.get("sightline.library") != self._library:
            raise VectorServerError(f"{where} belongs to another library: {way_out}")
        if int(shape) > int(SHAPE):
            raise VectorServerError(f"{where} was made by a newer Sightline: update this one.")
        if int(shape) < int(SHAPE):
            raise IndexOutdated(
                f"{where} was made by an older Sightline, without folders: run `sightline verify --repair` "
                "once, which makes it again from the catalogue."
            )

    # -- rows --------------------------------------------------------------------------------

    def upsert(
        self, ids: np.ndarray, vectors: np.ndarray, groups: np.ndarray, roots: Sequence[tuple[int, ...]]
    ) -> None:
        """Write ids int64 [n] without repeats, vectors float [n, dim], groups uint8 [n], and the roots of each."""
        step = max(1, WRITE_BYTES // (self._dim * 4))
        for start in range(0, len(ids), step):
            part = slice(start, start + step)
            rows = [
                {"id": number, "kind": kind, "root": list(under), "share": _share(number), "vector": vector}
                for number, kind, under, vector in zip(
                    ids[part].tolist(),
                    groups[part].tolist(),
                    roots[part],
                    vectors[part].astype(np.float32),
                    strict=True,
                )
            ]
            self._call(partial(_upsert, name=self.name, rows=rows), writing=True)

    def delete(self, ids: np.ndarray) -> None:
        for start in range(0, len(ids), MOST_HITS):
            part = ids[start : start + MOST_HITS].tolist()
            self._call(partial(_delete, name=self.name, ids=part), writing=True)

    def flush(self) -> None:
        """Write the rows in the server's memory into files: the graph holds only those, and Milvus Lite is slow
        without. Writes are durable before."""
        self._call(lambda c: c.flush(self.name, timeout=WRITE_S), writing=True)

    def count(self, expression: str, level: str) -> int:
        rows = self._call(
            lambda c: c.query(
                self.name, filter=expression, output_fields=["count(*)"], consistency_level=level, timeout=self._timeout
            )
        )
        return int(rows[0]["count(*)"])

    def search(self, queries: np.ndarray, k: int, expression: str, level: str) -> list[list[tuple[int, float]]]:
        """The k best (at most `MOST_HITS`) of each query float32 [q, dim]: (id, cosine), best first."""
        params = {"metric_type": "IP", "params": {"ef": max(k, LEAST_EF)}}
        results = self._call(
            lambda c: c.search(
                self.name,
                data=list(queries),
                anns_field="vector",
                limit=k,
                filter=expression,
                output_fields=["id"],
                search_params=params,
                consistency_level=level,
                timeout=self._timeout,
            )
        )
        return [[(hit["id"], hit["distance"]) for hit in hits] for hits in results]

    def roots(self) -> Iterator[tuple[np.ndarray, list[tuple[int, ...]]]]:
        """All rows in batches: ids int64 [m], and the roots of each, ascending."""
        for rows in self._all_rows(["id", "root"]):
            yield np.array([r["id"] for r in rows], np.int64), [tuple(sorted(r["root"])) for r in rows]

    def scan(self, vectors: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """All rows in batches: ids [m], vectors float32 [m, dim] (or [m, 0]), groups uint8 [m]."""
        fields = ["id", "kind", "vector"] if vectors else ["id", "kind"]
        for rows in self._all_rows(fields):
            ids = np.array([r["id"] for r in rows], np.int64)
            part = np.array([r["vector"] if vectors else () for r in rows], np.float32)
            yield ids, part, np.array([r["kind"] for r in rows], np.uint8)

    def _all_rows(self, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
        for share in shares(-(-self.count("", "Strong") // SCAN_ROWS)):  # Milvus 2.3's iterator misses new writes
            if rows := self._call(partial(_rows, name=self.name, share=share, fields=fields)):
                yield rows

    # -- errors ------------------------------------------------------------------------------

    @property
    def _timeout(self) -> float:
        return WRITE_S if self.address.lite else ANSWER_S

    def _call(self, call: Callable[[Any], T], writing: bool = False) -> T:
        """`call(client)`. Raises VectorServerError with a sentence for a person."""
        client = self._connected()
        try:
            return call(client)
        except VectorServerError:
            raise
        except Exception as error:
            explained = self._explained(error, writing=writing)
            if isinstance(explained, Unreachable):
                self.disconnect()
            elif isinstance(explained, Lost):
                self._exists = False
            raise explained from error

    def _explained(self, error: Exception, connecting: bool = False, writing: bool = False) -> VectorServerError:
        """A Milvus error as a sentence. Its codes differ between versions, so its words are checked as well."""
        text = " ".join(str(getattr(error, "message", "") or error).split())
        if connecting and error.__cause__ is not None:  # pymilvus says "unavailable" for a wrong password too
            text += f" ({str(error.__cause__).split('debug_error_string')[0]})"
        code = getattr(error, "code", None)
        low = text.lower()
        where = f"The vector server {self.address.shown}"
        if self.address.lite and connecting:
            return VectorServerError(
                f"Milvus Lite cannot open {self.address.path} (another program may have it open; "
                "several programs need a Milvus server)."
            )
        if "auth" in low or "permission" in low or "unauthenticated" in low:
            return VectorServerError(f"{where} refuses the user or password in --vectors: check them.")
        if writing and any(word in low for word in REFUSALS):
            return VectorServerError(
                f"{where} takes no new vectors ({_short(text)}): make room there. Nothing is lost; "
                "they stay in the catalogue and are sent again."
            )
        if code == 100 or "collection not found" in low or "can't find collection" in low:
            return Lost(f"{where} has lost the collection {self.name}; it is made again.")
        if not hasattr(error, "code") and not isinstance(error, OSError):
            return VectorServerError(f"{where} failed: {type(error).__name__}, {_short(text)}")
        no_answer = getattr(code, "name", "") in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
        if connecting or no_answer or any(sign in low for sign in SIGNS_OF_ABSENCE):
            return Unreachable(
                f"{where} does not answer; start it, or check --vectors. Nothing is lost: "
                "new vectors are sent when it answers again."
            )
        return VectorServerError(f"{where} failed: {_short(text)}")


def _upsert(client: Any, name: str, rows: list[dict[str, Any]]) -> None:
    client.upsert(name, rows, timeout=WRITE_S, retry_on_rate_limit=False)  # report a quota at once


def _delete(client: Any, name: str, ids: list[int]) -> None:
    client.delete(name, ids=ids, timeout=WRITE_S, retry_on_rate_limit=False)


def _rows(client: Any, name: str, share: str, fields: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.query(
        name, filter=share, output_fields=fields, consistency_level="Strong", timeout=WRITE_S
    )
    return rows


def shares(parts: int) -> list[str]:
    """Filter expressions that divide all rows into `parts` parts of about the same size."""
    edges = np.linspace(0, SHARES, min(max(parts, 1), SHARES) + 1).astype(int).tolist()
    return [f"share >= {a} and share < {b}" for a, b in pairwise(edges)]


def _share(number: int) -> int:
    return (number * 2654435761 & 0xFFFFFFFF) >> 20


def collection_name(prefix: str, key: str) -> str:
    """A name of letters, digits and underscores, as Milvus requires, with a digest of the model's id.

    >>> collection_name("home", "lite@ab12-r2")
    'home_lite_ab12_r2_c71b4b4b'
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", key).strip("_")[:120]
    return f"{prefix}_{plain}_{blake2s(key.encode(), digest_size=4).hexdigest()}"


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:159] + "…"


def _pymilvus(lite: bool) -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise LibraryError("Milvus needs its client: pip install 'sightline[scale]'.") from error
    if lite:
        try:
            import milvus_lite  # noqa: F401
        except ImportError as error:
            raise LibraryError("Milvus Lite is not installed: pip install milvus-lite.") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # `_explained` reports its errors
    return pymilvus
