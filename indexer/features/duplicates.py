"""Duplicates: files with the same bytes, and near-equal images, in groups with the one to keep first.

Built around the catalogue's contents (the copies of a file share one) and `search/near_equal.py`. It deletes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from data.media.picture_hash import hash_of_thumbnail
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.files import under
from indexer.catalogue.schema import album_item, chunk, content, file
from indexer.search.near_equal import candidate_pairs, is_near, seconds
from indexer.thumbnails import Thumbnails
from indexer.types import FAVOURITES, DuplicateFile, DuplicateGroup

FILLED = 500
"""Images whose hash is made in one transaction."""


@dataclass(frozen=True)
class _Content:
    """A content with the files of it that the visitor may see. `own_time`: as in `near_equal.Picture`."""

    hash: bytes
    picture_hash: bytes | None
    width: int | None
    height: int | None
    own_time: str | None
    size: int
    files: tuple[int, ...]

    @property
    def quality(self) -> tuple[int, int, int]:
        """Sort key: the most pixels, then the most bytes, then the file that was indexed first."""
        return -(self.width or 0) * (self.height or 0), -self.size, self.files[0]


class Duplicates:
    """The groups of a library, made once for each of its states. Safe to use from many threads."""

    def __init__(self, catalogue: Catalogue, thumbnails: Thumbnails) -> None:
        self._catalogue, self._thumbnails = catalogue, thumbnails
        self._lock = threading.Lock()
        self._key: tuple[object, ...] = ()
        self._groups: list[list[_Content]] = []

    def page(
        self, k: int, offset: int = 0, *, exact: bool = False, within: Sequence[Path] = ()
    ) -> tuple[list[DuplicateGroup], int]:
        """Returns groups `offset` to `offset + k`, those with the most bytes to gain first, and the number of all.
        `exact`: copies only. `within`: the folders that the visitor may see."""
        groups = self._all(exact, tuple(within))
        return [group for contents in groups[offset : offset + k] if (group := self._group(contents))], len(groups)

    def fill(self, most: int = FILLED) -> int:
        """Make the hashes of images that have none yet, from their thumbnails. Returns how many were made."""
        missing = sa.select(content.c.hash).where(
            content.c.kind == "image", content.c.state == "ready", content.c.picture_hash.is_(None)
        )
        with self._catalogue.database.reader() as c:
            hashes = list(c.execute(missing.limit(most)).scalars())
        made = {digest: hash_of_thumbnail(self._thumbnails.get(digest, 0) or b"") for digest in hashes}
        if made:
            with self._catalogue.database.writer() as c:
                for digest, value in made.items():
                    c.execute(sa.update(content).where(content.c.hash == digest).values(picture_hash=value))
        return len(made)

    def _all(self, exact: bool, within: tuple[Path, ...]) -> list[list[_Content]]:
        state = (
            "SELECT (SELECT max(id) FROM change), (SELECT count(picture_hash) FROM content), count(*), sum(size),"
            " count(content_hash), sum(id) FROM file"
        )
        with self._catalogue.database.reader() as c:
            key = exact, within, tuple(c.exec_driver_sql(state).one())
        with self._lock:
            if key != self._key:
                self._groups = _grouped(self._contents(within), exact)
                self._key = key
            return self._groups

    def _contents(self, within: tuple[Path, ...]) -> list[_Content]:
        columns = (file.c.content_hash, file.c.id, file.c.size, file.c.taken, file.c.taken_from)
        of_content = (content.c.width, content.c.height, content.c.picture_hash, content.c.pages, content.c.kind)
        query = sa.select(*columns, *of_content).join(content, content.c.hash == file.c.content_hash)
        query = query.where(content.c.state == "ready").order_by(file.c.id)
        if within:
            query = query.where(sa.or_(*(under(file.c.path, str(folder)) for folder in within)))
        with self._catalogue.database.reader() as c:
            rows = c.execute(query).all()
        files: dict[bytes, list[int]] = {}
        for row in rows:
            files.setdefault(row.content_hash, []).append(row.id)
        first = {row.content_hash: row for row in reversed(rows)}
        return [
            _Content(
                digest,
                first[digest].picture_hash if first[digest].kind == "image" and not first[digest].pages else None,
                first[digest].width,
                first[digest].height,
                first[digest].taken if first[digest].taken_from != "file" else None,
                first[digest].size,
                tuple(ids),
            )
            for digest, ids in files.items()
        ]

    def _group(self, contents: list[_Content]) -> DuplicateGroup | None:
        """The files of a group as they are now; None if fewer than two are left."""
        hashes = [one.hash for one in contents]
        with self._catalogue.database.reader() as c:
            chunks = sa.select(chunk.c.content_hash, sa.func.min(chunk.c.id)).where(chunk.c.content_hash.in_(hashes))
            first = {row[0]: int(row[1]) for row in c.execute(chunks.group_by(chunk.c.content_hash))}
            hearts = sa.select(album_item.c.content_hash).where(album_item.c.key == FAVOURITES)
            favourites = set(c.execute(hearts.where(album_item.c.content_hash.in_(hashes))).scalars())
        infos = [
            DuplicateFile(info, first[one.hash], one.hash in favourites, one is contents[0])
            for one in contents
            for number in one.files
            if one.hash in first and (info := self._catalogue.files.get(number)) is not None
        ]
        return DuplicateGroup(len(contents) == 1, tuple(infos)) if len(infos) > 1 else None


def _grouped(contents: list[_Content], exact: bool) -> list[list[_Content]]:
    """Returns the groups: each content that no better one is near to, with those near to it, the best first."""
    contents = sorted(contents, key=lambda one: one.quality)
    pictures = [] if exact else [one for one in contents if one.picture_hash]
    near: dict[int, list[int]] = {}
    hashes = [one.picture_hash or b"" for one in pictures]
    pairs = candidate_pairs(hashes, [seconds(one.own_time) for one in pictures])
    for a, b in sorted(pairs):
        if is_near(pictures[a], pictures[b]):
            near.setdefault(a, []).append(b)
    groups: dict[bytes, list[_Content]] = {one.hash: [one] for one in contents}
    for place, one in enumerate(pictures):
        for other in near.get(place, ()) if one.hash in groups else ():
            if pictures[other].hash in groups:
                groups[one.hash].append(pictures[other])
                del groups[pictures[other].hash]
    several = [group for group in groups.values() if sum(len(one.files) for one in group) > 1]
    return sorted(several, key=lambda group: (-_gain(group), group[0].files[0]))


def _gain(group: list[_Content]) -> int:
    """The bytes of all files but the best."""
    return sum(one.size * len(one.files) for one in group) - group[0].size
