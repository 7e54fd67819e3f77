"""Care of what lies in the data directory: backups, and pictures that are made again or go.

Built around the catalogue as the truth and thumbnails as its cache. It knows nothing of
indexing and searching; `verify.py` compares everything with everything.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from data.media.kinds import MediaError
from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

log = logging.getLogger(__name__)


def backup(catalogue: Catalogue, to: Path) -> Path:
    """See `Library.backup`."""
    if to.is_dir():
        to = to / f"sightline-{time.strftime('%Y%m%d-%H%M%S')}{catalogue.database.dialect.backup_suffix}"
    if to.exists():
        raise LibraryError(f"{to} is there already: name another file.")
    if not to.parent.is_dir():
        raise LibraryError(f"{to.parent} does not exist: name a file in a folder that does.")
    catalogue.database.backup(to)
    return to


def stale_thumbnails(catalogue: Catalogue, thumbnails: Thumbnails) -> list[Path]:
    """Cached pictures of contents that the library does not have, and half-written ones."""
    return thumbnails.not_among({digest.hex() for digest in catalogue.contents.hashes()})


def made_thumbnail(
    catalogue: Catalogue, thumbnails: Thumbnails, sandbox: Sandbox, chunk_id: int, *, keep: bool
) -> bytes | None:
    """WebP of a chunk, decoded again from a file that holds it. None: no such chunk, or its file is gone."""
    from data import reader

    where = catalogue.contents.of_chunk(chunk_id)
    info = catalogue.contents.chunk(chunk_id)
    if where is None or info is None:
        return None
    spec = reader.ChunkSpec(info.ordinal, info.span)
    for held in catalogue.files.of_content(where[0]):
        try:
            picture = sandbox.submit(reader.make_thumbnail, held.path, held.kind, spec, urgent=True).result()
        except MediaError as error:
            log.info("no thumbnail of %s: %s", held.path, error)
            continue
        if keep and picture:
            try:
                thumbnails.put(*where, picture)
            except OSError as error:
                log.info("a thumbnail could not be kept: %s", error)
        return picture or None
    return None
