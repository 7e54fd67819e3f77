"""Which FAISS is installed: `faiss-cpu` and `faiss-gpu` bring the same folder and overwrite each other."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from indexer.records import LibraryError

PACKAGES = ("faiss-cpu", "faiss-gpu")


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
