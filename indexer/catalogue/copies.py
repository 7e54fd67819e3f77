"""Copies: when and where each file was taken, and the text of its sidecar files.

Built around the columns of `file` for these facts: two copies of one content may have different names and
sidecars. A file with a number in `due` waits for the facts stage. It knows nothing of how facts are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from data.media.dates import Taken
from data.media.metadata import GENERATION, Metadata
from indexer.catalogue.database import Database
from indexer.catalogue.files import name_words
from indexer.catalogue.schema import clean_text, content, file, root, stored_name
from indexer.types import Kind

if TYPE_CHECKING:
    from data.copies import CopyFacts


@dataclass(frozen=True)
class DueCopy:
    """A file whose facts are due. `inside`: the metadata in its bytes; None if they have to be read as well.
    `generation`: of the reader that read them last; 0: before schema 8."""

    file_id: int
    path: str
    kind: Kind
    mtime_ns: int
    due: int
    digest: bytes
    inside: Metadata | None
    generation: int


_SAME = (
    (file.c.id == sa.bindparam("of"))
    & (file.c.content_hash == sa.bindparam("digest"))
    & (file.c.due == sa.bindparam("was_due"))
)
_BEFORE = sa.select(file.c.words, file.c.path, file.c.root_id).where(_SAME)
_AFTER = sa.update(file).where(_SAME)


class Copies:
    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, limit: int, skip: Collection[int] = ()) -> list[DueCopy]:
        """Returns files whose facts are due, of roots that are here. `skip`: ids of files."""
        query = (
            sa.select(
                *(file.c.id, file.c.path, file.c.kind, file.c.mtime_ns, file.c.due, content.c.hash, content.c.facts),
                *(
                    content.c.taken,
                    content.c.taken_from,
                    content.c.camera,
                    content.c.lat,
                    content.c.lon,
                    content.c.people,
                ),
            )
            .join(content, content.c.hash == file.c.content_hash)
            .join(root, root.c.id == file.c.root_id)
            .where(file.c.due.is_not(None), file.c.state == "known", root.c.state == "here")
            .limit(limit + len(skip))
        )
        with self._database.reader() as c:
            rows = [row for row in c.execute(query) if row.id not in skip][:limit]
        return [DueCopy(r.id, r.path, r.kind, r.mtime_ns, r.due, bytes(r.hash), _inside(r), r.facts) for r in rows]

    def count(self) -> int:
        """Returns how many files' facts are due."""
        with self._database.reader() as c:
            return int(c.exec_driver_sql("SELECT count(*) FROM file WHERE due IS NOT NULL").scalar_one())

    def write(self, read: Sequence[tuple[DueCopy, CopyFacts]]) -> None:
        """Store the facts of files. The facts of a file that has changed meanwhile stay due."""
        with self._database.writer() as c:
            tops = {r.id: str(r.path) for r in c.execute(sa.select(root.c.id, root.c.path))}
            for copy, facts in read:
                if copy.inside is None:
                    values = columns(facts.inside) | {"facts": GENERATION}
                    c.execute(sa.update(content).where(content.c.hash == copy.digest).values(values))
                same = {"of": copy.file_id, "digest": copy.digest, "was_due": copy.due}
                before = c.execute(_BEFORE, same).first()
                if before is None:
                    continue
                words = clean_text(facts.words)
                c.execute(_AFTER, same | columns(facts.best) | {"words": words, "due": None})
                if words != before.words:
                    name, folders = name_words(tops[before.root_id], before.path, words)
                    self._database.dialect.rename_file(c, copy.file_id, name, folders)
                if words and copy.generation == 0:  # before schema 8 these words stood in the content's text
                    old = (content.c.hash == copy.digest) & (content.c.state == "ready")
                    c.execute(sa.update(content).where(old).values(state="pending"))

    def read_again(self, paths: Iterable[str]) -> int:
        """Make the facts of these files due, as their sidecars have changed. Returns how many are in the library."""
        with self._database.writer() as c:
            return sum(
                c.exec_driver_sql(
                    "UPDATE file SET due = coalesce(due, 0) + 1 WHERE content_hash IS NOT NULL AND path = ?",
                    (stored_name(path),),
                ).rowcount
                for path in paths
            )

    def renew(self) -> None:
        """Make the facts of files due whose content an older version read."""
        with self._database.writer() as c:
            c.exec_driver_sql(
                "UPDATE file SET due = 1 WHERE due IS NULL AND EXISTS"
                " (SELECT 1 FROM content c WHERE c.hash = file.content_hash AND c.facts < ? AND c.state <> 'pending')",
                (GENERATION,),
            )


def columns(metadata: Metadata) -> dict[str, Any]:
    """Returns the columns of `content` and of `file` that metadata fills."""
    taken = metadata.taken
    return {
        "taken": taken.at if taken else None,
        "taken_from": taken.source if taken else None,
        "camera": metadata.camera,
        "lat": metadata.lat,
        "lon": metadata.lon,
        "people": packed_people(metadata.people),
    }


def packed_people(people: Sequence[str]) -> str | None:
    """Returns names as a column holds them: each between two line ends, so that a pattern finds a name's beginning."""
    return f"\n{clean_text(chr(10).join(people))}\n" if people else None


def unpacked_people(stored: str | None) -> tuple[str, ...]:
    return tuple(stored.strip("\n").split("\n")) if stored else ()


def _inside(row: Any) -> Metadata | None:
    if row.facts < GENERATION:
        return None
    taken = Taken(row.taken, row.taken_from) if row.taken else None
    return Metadata(taken, row.camera, row.lat, row.lon, unpacked_people(row.people))
