"""Where the vectors are: which engine an address names, and how its index is opened.

Built around one address, empty for the embedded engine. It also knows which FAISS is installed:
`faiss-cpu` and `faiss-gpu` bring the same folder and overwrite each other.
"""

from __future__ import annotations

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
    """The index of model `key`'s vectors: in `folder`, or at the address `vectors`.

    A server that does not answer is no error here; the index says so and goes on trying.
    """
    if vectors:
        from indexer.vectors.milvus.index import MilvusIndex

        return MilvusIndex(address_of(vectors), key, source.dim, source)
    check_engine()
    from indexer.vectors.faiss.index import FaissIndex

    return FaissIndex(folder, key, source.dim, source, writable=writable)


def check_engine() -> None:
    """Raise LibraryError when FAISS is missing, or installed twice over itself."""
    if find_spec("faiss") is None:
        raise LibraryError("FAISS is not installed: pip install 'sightline[cpu]', or [gpu] with an NVIDIA card.")
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
