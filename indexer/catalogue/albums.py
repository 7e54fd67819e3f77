"""Albums and favourites: named sets of contents.

Built around the rows of `album_item`, one for each content in an album, by its hash: a renamed or moved file stays in
its albums, and a file that comes back is in them again. An album exists as long as it has an item; the favourites are
the album with the empty name. It knows nothing of search.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from indexer.catalogue.database import Database
from indexer.catalogue.files import under
from indexer.catalogue.schema import album_item, chunk, clean_text, file, stored_name
from indexer.errors import LibraryError
from indexer.types import Album

LONGEST_NAME = 100
BATCH = 500


class Albums:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, file_ids: Sequence[int]) -> int:
        """Put the contents of files into an album, which is made if there is none of this name. Returns how many were
        not in it before. Raises LibraryError if no album can have this name."""
        name = checked_name(name)
        with self._database.writer() as c:
            key = album_key(name)
            name = c.execute(sa.select(album_item.c.name).where(album_item.c.key == key)).scalar() or name
            added = 0
            for ids in _batches(file_ids):
                hashed = file.c.id.in_(ids) & file.c.content_hash.is_not(None)
                for row in c.execute(sa.select(file.c.content_hash, file.c.path).where(hashed)).all():
                    added += c.exec_driver_sql(
                        "INSERT INTO album_item (key, name, content_hash, path, added_at) VALUES (?, ?, ?, ?, ?)"
                        " ON CONFLICT (key, content_hash) DO NOTHING",
                        (key, name, row.content_hash, stored_name(row.path), time.time()),
                    ).rowcount
        return added

    def remove(self, name: str, file_ids: Sequence[int]) -> int:
        """Take the contents of files out of an album. Returns how many were in it."""
        with self._database.writer() as c:
            return sum(
                c.execute(
                    sa.delete(album_item).where(
                        album_item.c.key == album_key(name),
                        album_item.c.content_hash.in_(sa.select(file.c.content_hash).where(file.c.id.in_(ids))),
                    )
                ).rowcount
                for ids in _batches(file_ids)
            )

    def delete(self, name: str) -> int:
        """Delete an album; its files stay. Returns how many items it had."""
        with self._database.writer() as c:
            return c.execute(sa.delete(album_item).where(album_item.c.key == album_key(name))).rowcount

    def rename(self, name: str, to: str) -> None:
        """Give an album another name. Raises LibraryError if there is no such album, or another one of this name."""
        to, key = checked_name(to), album_key(name)
        with self._database.writer() as c:
            if not to or not key or not c.execute(sa.select(album_item.c.id).where(album_item.c.key == key)).first():
                raise LibraryError(f"There is no album called “{name}”.")
            taken = sa.select(album_item.c.id).where(album_item.c.key == album_key(to))
            if album_key(to) != key and c.execute(taken).first():
                raise LibraryError(f"There is an album called “{to}” already.")
            c.execute(sa.update(album_item).where(album_item.c.key == key).values(key=album_key(to), name=to))

    def all(self, within: Sequence[Path] = ()) -> list[Album]:
        """Returns the albums by name, the favourites first. `within`: the folders that the visitor may see; albums
        without a file there are left out, and `missing` is 0."""
        of_item = sa.select(file.c.id).where(file.c.content_hash == album_item.c.content_hash)
        here = of_item.where(sa.or_(*(under(file.c.path, str(f)) for f in within))) if within else of_item
        count = sa.func.sum(sa.case((here.exists(), 1), else_=0)).label("here")
        newest = sa.func.max(sa.case((here.exists(), album_item.c.id))).label("newest")
        names = sa.func.max(album_item.c.name).label("name")
        query = sa.select(album_item.c.key, names, sa.func.count().label("items"), count, newest)
        with self._database.reader() as c:
            rows = c.execute(query.group_by(album_item.c.key).order_by(album_item.c.key)).all()
            joined = album_item.join(chunk, chunk.c.content_hash == album_item.c.content_hash)
            covers = sa.select(album_item.c.id, sa.func.min(chunk.c.id)).select_from(joined)
            shown = covers.where(album_item.c.id.in_([r.newest for r in rows if r.newest])).group_by(album_item.c.id)
            cover_of = {row[0]: int(row[1]) for row in c.execute(shown)}
        return [
            Album(r.name, r.here, 0 if within else r.items - r.here, cover_of.get(r.newest))
            for r in rows
            if r.here or not within
        ]

    def items(self, name: str) -> list[tuple[str, bool]]:
        """Returns (path, whether it is in the library) of the contents of an album: the path of a file that has the
        content now, else of the one that was added."""
        first = (
            sa.select(sa.func.min(file.c.id).label("id"), file.c.content_hash).group_by(file.c.content_hash).subquery()
        )
        joined = album_item.outerjoin(first, first.c.content_hash == album_item.c.content_hash)
        joined = joined.outerjoin(file, file.c.id == first.c.id)
        query = sa.select(album_item.c.path, file.c.path.label("now")).select_from(joined)
        with self._database.reader() as c:
            rows = c.execute(query.where(album_item.c.key == album_key(name)).order_by(album_item.c.id)).all()
        return [(row.now or row.path, row.now is not None) for row in rows]

    def of_contents(self, hashes: Sequence[bytes]) -> dict[bytes, list[str]]:
        """Returns content -> the names of its albums."""
        result: dict[bytes, list[str]] = {}
        with self._database.reader() as c:
            for some in _batches(hashes):
                query = sa.select(album_item.c.content_hash, album_item.c.name)
                for row in c.execute(query.where(album_item.c.content_hash.in_(some)).order_by(album_item.c.key)):
                    result.setdefault(bytes(row.content_hash), []).append(row.name)
        return result


def album_key(name: str) -> str:
    """Returns what two spellings of an album's name have in common."""
    return _tidy(name).casefold()


def checked_name(name: str) -> str:
    """Returns an album's name without further spaces. Raises LibraryError if a query could not name it."""
    name = _tidy(name)
    if len(name) > LONGEST_NAME or '"' in name or not all(map(str.isprintable, name)):
        raise LibraryError(f"An album's name has at most {LONGEST_NAME} letters, and no quotation marks.")
    return name


def _tidy(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", clean_text(name)).split())


def _batches(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
