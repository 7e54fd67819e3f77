"""The first role: files to contents, by the BLAKE3 of their bytes.

Built around batches of files from the agenda and commits a few times a second. A file that
changes while it is read is left to rest. It knows nothing of what is in the files.
"""

from __future__ import annotations

import time

from indexer.catalogue.rows import Stamp, Unhashed
from indexer.files.hashing import StillChanging, hash_file
from indexer.pipeline.context import Workshop
from indexer.pipeline.queue import Agenda

BATCH = 256

COMMIT_S = 0.2
"""Between commits: readers begin so soon after the first file."""


class Hasher:
    def __init__(self, shop: Workshop, agenda: Agenda) -> None:
        self._shop, self._agenda = shop, agenda

    def step(self) -> None:
        """Hash what there is; without anything, wait for the bell."""
        files = self._agenda.claim_files(BATCH)
        if not files:
            self._shop.files_bell.wait(0.25 if self._agenda.has_resting() else 1.0)
            return
        try:
            self._hash(files)
        finally:
            self._agenda.files_done()

    def _hash(self, files: list[Unhashed]) -> None:
        done: list[tuple[Unhashed, Stamp, bytes]] = []
        gone: list[str] = []
        told = time.monotonic()
        for f in files:
            if self._shop.bell.stopped():
                break
            try:
                digest, stamp = hash_file(f.path)
                done.append((f, stamp, digest))
                self._agenda.rested(f.file_id)
            except StillChanging:
                self._agenda.let_rest(f.file_id)
            except FileNotFoundError:
                gone.append(f.path)
                self._agenda.rested(f.file_id)
            except OSError as error:
                self._agenda.rested(f.file_id)
                self._shop.catalogue.fail_file(f.file_id, _reason(error))
                self._shop.tally.failed += 1
            if time.monotonic() - told > COMMIT_S:
                self._commit(done)
                done, told = [], time.monotonic()
        self._commit(done)
        if gone:
            self._shop.catalogue.remove_files(gone)
            self._shop.written()

    def _commit(self, done: list[tuple[Unhashed, Stamp, bytes]]) -> None:
        if done:
            self._shop.tally.reused += self._shop.catalogue.hashed(done)
            self._shop.written()  # a copy may bring back what was an orphan
            self._shop.bell.ring()


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read the file; change its permissions"
    return f"the disk could not deliver the file ({error.strerror or error})"
