"""Opens the vector index of an address, or the embedded one.

It also checks which FAISS is installed: `faiss-cpu` and `faiss-gpu` have the same folder and overwrite each other.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import LibraryError
from indexer.vectors.address import address_of

if TYPE_CHECKING:
    from indexer.vectors.index import VectorIndex
    from indexer.vectors.source import StoredEmbeddings

PACKAGES = ("faiss-cpu", "faiss-gpu")


def open_index(vectors: str | None, folder: Path, key: str, source: StoredEmbeddings, *, writable: bool) -> VectorIndex:
    """The vector index of model `key`: in `folder`, or at the address `vectors`.

    Does not raise for a server that does not answer: the index reports it and tries again.
    """
    if vectors:
        from indexer.vectors.milvus.index import MilvusIndex

        return MilvusIndex(address_of(vectors), key, source.dim, source)
    check_engine()
    from indexer.vectors.faiss.index import FaissIndex

    return FaissIndex(folder, key, source.dim, source, writable=writable)


def check_engine() -> None:
    """Raise LibraryError if FAISS is missing, or if both its packages are installed."""
    if find_spec("faiss") is None:
        raise LibraryError("FAISS is not installed: pip install 'sightline[cpu]', or [gpu] with an NVIDIA card.")
    if len(installed()) > 1:
        raise LibraryError(
            "faiss-cpu and faiss-gpu are both installed and overwrite each other: "
            "pip uninstall -y faiss-cpu faiss-gpu, then pip install the one you want."
        )


def installed() -> list[str]:
    """The FAISS packages that are installed."""
    names = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            version(name)
            names.append(name)
    return names
