"""Where the vectors are: which engine an address names, and how its index is opened.

Built around one address, empty for the embedded engine. It also knows which FAISS is installed:
`faiss-cpu` and `faiss-gpu` bring the same folder and overwrite each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from indexer.records import LibraryError

if TYPE_CHECKING:
    from indexer.embeddings import StoredEmbeddings
    from indexer.vectors import VectorIndex

PACKAGES = ("faiss-cpu", "faiss-gpu")

FORMS = (
    "milvus://[USER:PASSWORD@]HOST[:PORT]/NAME, milvus+tls:// for the same over TLS, "
    "or milvus+lite:///PATH/FILE.db"
)


@dataclass(frozen=True)
class Address:
    """A Milvus: `uri` as its client wants it, `name` begins the collections' names, `shown` has no secret."""

    uri: str
    token: str
    name: str
    shown: str
    path: Path

    @property
    def lite(self) -> bool:
        return self.path != Path()


def address_of(vectors: str) -> Address:
    """What `--vectors` says. Raises LibraryError when it is no address."""
    wrong = LibraryError(f"--vectors is {FORMS}.")
    try:
        parts = urlsplit(vectors)
        port = parts.port or 19530
    except ValueError as error:
        raise wrong from error
    if parts.scheme == "milvus+lite":
        path = Path(unquote(parts.netloc + parts.path)).expanduser().absolute()
        if path.suffix != ".db":
            raise wrong
        return Address(str(path), "", "sightline", str(path), path)
    name = parts.path.strip("/")
    if parts.scheme not in ("milvus", "milvus+tls") or not parts.hostname or not name:
        raise wrong
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", name):
        raise LibraryError(f"The name in --vectors has letters, digits and underscores only, not {name!r}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    token = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    protocol = "https" if parts.scheme == "milvus+tls" else "http"
    return Address(f"{protocol}://{host}:{port}", token, name, f"{host}:{port}", Path())


def open_index(
    vectors: str | None, folder: Path, key: str, source: StoredEmbeddings, *, writable: bool
) -> VectorIndex:
    """The index of model `key`'s vectors: in `folder`, or at the address `vectors`.

    A server that does not answer is no error here; the index says so and goes on trying.
    """
    if vectors:
        from indexer.milvus import MilvusIndex

        return MilvusIndex(address_of(vectors), key, source.dim, source)
    check_engine()
    from indexer.faiss_index import FaissIndex

    return FaissIndex(folder, key, source.dim, source, writable=writable)


def check_engine() -> None:
    """Raise LibraryError when FAISS is missing, or installed twice over itself."""
    if find_spec("faiss") is None:
        raise LibraryError(
            "FAISS is not installed: pip install 'sightline[cpu]', or [gpu] with an NVIDIA card."
        )
    if len(installed()) > 1:
        raise LibraryError(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other: "
            "pip uninstall -y faiss-cpu faiss-gpu, then pip install the one you want."
        )


def installed() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found
