"""Folder to chunks to vectors to catalogue, and search over it. Knows nothing of the web or the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.library import Library

__all__ = ["Library"]


def __getattr__(name: str) -> Any:
    """`from indexer import Library` loads FAISS and SQLAlchemy only when the library is really wanted."""
    if name == "Library":
        from indexer.library import Library

        return Library
    raise AttributeError(name)
