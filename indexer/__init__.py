"""Folder to chunks to vectors to catalogue, and search over it. Knows nothing of the web or the terminal.

Callers import from here, `indexer.library`, `indexer.types` and `indexer.errors` only. A name loads its module
at its first use: FAISS and SQLAlchemy take half a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.active_models import load_checked
    from indexer.catalogue.lock import FileLock
    from indexer.features.export import answer_csv, export
    from indexer.features.judge import JudgementError, evaluate, judgements_of, read_judgements
    from indexer.features.labels import label_by, label_counts, moderate, read_rules, write_report
    from indexer.features.multiple_choice import answer
    from indexer.features.pairs import PAIR_KINDS
    from indexer.features.reel import reel, reel_of
    from indexer.library import Library, check_addresses
    from indexer.pipeline.worker import Worker
    from indexer.search.query_syntax import beginning, is_browsing
    from indexer.search.snippets import marked
    from indexer.search.text_search import words_to_mark

__all__ = [
    "PAIR_KINDS", "FileLock", "JudgementError", "Library", "Worker", "answer", "answer_csv", "beginning",
    "check_addresses", "evaluate", "export", "is_browsing", "judgements_of", "label_by", "label_counts", "load_checked",
    "marked", "moderate", "read_judgements", "read_rules", "reel", "reel_of", "words_to_mark", "write_report",
]  # fmt: skip

_MODULES = {
    "active_models": ("load_checked",),
    "catalogue.lock": ("FileLock",),
    "features.export": ("answer_csv", "export"),
    "features.judge": ("JudgementError", "evaluate", "judgements_of", "read_judgements"),
    "features.labels": ("label_by", "label_counts", "moderate", "read_rules", "write_report"),
    "features.multiple_choice": ("answer",),
    "features.pairs": ("PAIR_KINDS",),
    "features.reel": ("reel", "reel_of"),
    "library": ("Library", "check_addresses"),
    "pipeline.worker": ("Worker",),
    "search.query_syntax": ("beginning", "is_browsing"),
    "search.snippets": ("marked",),
    "search.text_search": ("words_to_mark",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"indexer.{module}"), name)
    raise AttributeError(f"module 'indexer' has no attribute {name!r}")
