"""Backups, and thumbnails that are missing from the cache.

Built around the catalogue as the truth and thumbnails as its cache. It knows nothing of indexing and searching.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data.media.kinds import MediaError
from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)


def backup(catalogue: Catalogue, settings: Mapping[str, str], to: Path) -> Path:
    """See `Library.backup`."""
    if to.is_dir():
        to = to / f"sightline-{time.strftime('%Y%m%d-%H%M%S')}{catalogue.database.dialect.backup_suffix}"
    if to.exists():
        raise LibraryError(f"{to} exists already: name another file.")
    if not to.parent.is_dir():
        raise LibraryError(f"{to.parent} does not exist: name a file in a folder that exists.")
    catalogue.database.backup(to, settings)
    return to


def make_thumbnail(
    catalogue: Catalogue, thumbnails: Thumbnails, sandbox: Sandbox, chunk_id: int, *, keep: bool
) -> bytes | None:
    """WebP of a chunk, decoded from one of its files. None if there is no such chunk or no readable file."""
    from data import reader

    where = catalogue.contents.of_chunk(chunk_id)
    info = catalogue.contents.chunk(chunk_id)
    if where is None or info is None:
        return None
    spec = reader.ChunkSpec(info.ordinal, info.span)
    for file in catalogue.files.of_content(where[0]):
        try:
            thumbnail = sandbox.submit(reader.make_thumbnail, file.path, file.kind, spec, urgent=True).result()
        except MediaError as error:
            log.info("no thumbnail of %s: %s", file.path, error)
            continue
        if keep and thumbnail:
            try:
                thumbnails.put(*where, thumbnail)
            except OSError as error:
                log.info("a thumbnail could not be stored: %s", error)
        return thumbnail or None
    return None
