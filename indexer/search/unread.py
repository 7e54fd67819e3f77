"""What an answer cannot have yet: files that are not read, by kind.

Built around the conditions of a query on a file's path, as nothing else is known of a file that is not read; the counts
are kept for a second. It knows nothing of what was found.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from cachetools import TTLCache

from indexer.catalogue.dialects import Reading
from indexer.search.filters import file_condition
from indexer.types import KINDS, Filters, Kind

COUNTED_S = 1.0


class Unread:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._counts: TTLCache[Filters, dict[Kind, int]] = TTLCache(16, COUNTED_S)
        self._lock = threading.Lock()

    def of(self, connection: Reading, filters: Filters) -> dict[Kind, int]:
        """Returns kind -> number of files that are not read, among those that may pass the filters."""
        known = {
            name: getattr(filters, name) for name in ("file_id", "under", "within", "folders", "names", "extensions")
        }
        known_filters = Filters(**known)
        with self._lock:
            counts: dict[Kind, int] | None = self._counts.get(known_filters)
        if counts is None:
            condition, values = file_condition(known_filters)
            both: Counter[Kind] = Counter()
            for table, state in (
                ("file f", "f.state = 'pending'"),
                ("content c JOIN file f ON f.content_hash = c.hash", "c.state = 'pending' AND f.state = 'known'"),
            ):
                sql = f"SELECT f.kind, count(*) FROM {table} WHERE {state} AND {condition} GROUP BY f.kind"
                both.update(dict(connection.execute(sql, values).fetchall()))
            counts = {kind: both[kind] for kind in KINDS if both[kind]}
            with self._lock:
                self._counts[known_filters] = counts
        return {kind: n for kind, n in counts.items() if kind in (filters.kinds or KINDS)}


NOUNS: Mapping[Kind, tuple[str, str]] = {
    "image": ("image", "images"),
    "video": ("video", "videos"),
    "pdf": ("PDF", "PDFs"),
}


def unread_notice(unread: Mapping[Kind, int]) -> str | None:
    """Returns a sentence for an answer without a match while files are not read; None if all are."""
    if not unread:
        return None
    counts = [f"{n:,} {NOUNS[kind][n != 1]}" for kind, n in unread.items()]
    listed = " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)
    verb = "is" if sum(unread.values()) == 1 else "are"
    return f"Nothing that has been read matches; {listed} {verb} still to be read."
