"""`verify`: everything in a library checked against everything else, and what can be repaired.

Built around the order of trust: the user's files, then the catalogue, then the caches that
are made from it (text index, vector index, thumbnails). A sample of chunks is decoded and
embedded again and compared with what is stored, so that a library cannot silently lie. It
knows nothing of searching.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from data.media.kinds import MediaError
from data.span import Span
from indexer.catalogue.rows import ModelRow, Work
from indexer.catalogue.schema import content, file, root
from indexer.errors import IndexOutdated, LibraryError, VectorServerError
from indexer.files.scanner import stamp_of
from indexer.pipeline.embed_checked import embed_checked
from indexer.pipeline.jobs import side_for
from indexer.types import VerifyReport
from indexer.vectors.source import StoredEmbeddings
from model.embedder import ModelError

if TYPE_CHECKING:
    from indexer.library import Library

SAMPLE = 8
"""Contents that are decoded and embedded again."""

AGREE = 0.99
"""Cosine at which two vectors of one chunk are the same: float16 alone costs less than 0.0001, another
build of a decoder up to 0.002."""

NAMED = 20
"""Problems of one sort that are named one by one; the others are counted."""


@dataclass
class _Findings:
    library: Library
    repair: bool
    problems: list[str] = field(default_factory=list)
    repaired: int = 0

    def found(self, problem: str, mend: Callable[[], object] | None = None) -> None:
        self.problems.append(problem)
        if self.repair and mend is not None:
            mend()
            self.repaired += 1

    def each(self, names: list[str], problem: str, mend: Callable[[], object] | None = None) -> None:
        """One problem a name, mended by one step for all of them."""
        if not names:
            return
        self.problems += [f"{name}: {problem}" for name in names[:NAMED]]
        if len(names) > NAMED:
            self.problems.append(f"… and {len(names) - NAMED} more: {problem}")
        if self.repair and mend is not None:
            mend()
            self.repaired += min(len(names), NAMED + 1)


def verify(library: Library, repair: bool) -> VerifyReport:
    """Check a library; see `Library.verify`. Mending needs to be the one indexer of the library."""
    if repair and not library.may_index():
        raise LibraryError(
            f"Another Sightline ({library.indexer()}) is indexing this library: stop it, then repair."
        )
    findings = _Findings(library, repair)
    try:
        if _catalogue_is_sound(findings):
            _files(findings)
            _text(findings)
            _orphans(findings)
            row = library.catalogue.answering()
            if row is not None:
                _vectors(findings, row)
                _index(findings)
                _sample(findings, row)
            _thumbnails(findings)
    finally:
        if repair:
            library.done_indexing()
    return VerifyReport(findings.problems, findings.repaired)


def _catalogue_is_sound(findings: _Findings) -> bool:
    catalogue = findings.library.catalogue
    with catalogue.reader() as c:
        damage = catalogue.dialect.damage(c)
        broken = [] if damage else catalogue.dialect.dangling(c)
    if damage:
        findings.found(damage)
        return False
    if broken:
        findings.found(
            f"{len(broken)} rows of the catalogue point at rows that are not there.",
            lambda: catalogue.drop_dangling(broken),
        )
    return True


def _files(findings: _Findings) -> None:
    """Files on disk as the catalogue has them."""
    catalogue = findings.library.catalogue
    with catalogue.reader() as c:
        rows = c.execute(
            sa.select(file.c.path, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
            .join(root, root.c.id == file.c.root_id)
            .where(root.c.state == "here")
        ).all()
    gone, changed = [], []
    for row in rows:
        try:
            stamp = stamp_of(Path(row.path).stat())
        except OSError:
            gone.append(row.path)
            continue
        if stamp != (row.size, row.mtime_ns, row.ctime_ns):
            changed.append((row.path, stamp))
    findings.each(gone, "it is no longer there", lambda: catalogue.remove_files(gone))
    findings.each(
        [path for path, _ in changed],
        "it has changed since it was indexed",
        lambda: catalogue.rehash_all(changed),
    )


def _text(findings: _Findings) -> None:
    """The text indexes hold what the tables hold."""
    catalogue = findings.library.catalogue
    with catalogue.writer() as c:
        agree = catalogue.dialect.texts_agree(c)
    if not agree:

        def rebuild() -> None:
            with catalogue.writer() as c:
                catalogue.dialect.rebuild_texts(c)

        findings.found("The index of words does not match the texts.", rebuild)
    with catalogue.reader() as c:
        missing = c.exec_driver_sql(
            "SELECT count(*) FROM file f WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.rowid = f.id)"
        ).scalar_one()
    if missing:
        findings.found(f"{missing} file names are not in the index of names.", catalogue.rename_all)


def _orphans(findings: _Findings) -> None:
    """Contents, chunks and states that belong together."""
    catalogue = findings.library.catalogue
    with catalogue.reader() as c:
        lost = c.exec_driver_sql(
            "SELECT count(*) FROM content c WHERE (c.orphaned_at IS NULL) <>"
            " EXISTS (SELECT 1 FROM file f WHERE f.content_hash = c.hash)"
        ).scalar_one()
        empty = [
            row[0]
            for row in c.execute(
                sa.select(content.c.hash).where(
                    content.c.state == "ready",
                    sa.text("NOT EXISTS (SELECT 1 FROM chunk k WHERE k.content_hash = content.hash)"),
                )
            )
        ]
    if lost:
        findings.found(f"{lost} contents do not know whether a file has them.", catalogue.mark_orphans)
    findings.each(
        [_name(findings, digest) for digest in empty],
        "it is marked as indexed and has no chunks",
        lambda: catalogue.set_pending(empty),
    )


def _vectors(findings: _Findings, row: ModelRow) -> None:
    """Each chunk has a vector, finite and of unit length; not one and the same for all."""
    catalogue = findings.library.catalogue
    lacking = catalogue.lacking(row.id)
    if lacking:
        findings.found(f"{lacking} pieces have no embedding.", lambda: None)  # the next run makes them
    bad: list[int] = []
    first: np.ndarray | None = None
    total = alike = 0
    for ids, vectors in catalogue.vectors(row.id):
        rows = vectors.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
        wrong = ~np.isfinite(rows).all(axis=1) | ~(np.abs(lengths - 1) < 1e-2) | (rows.shape[1] != row.dim)
        bad += ids[wrong].tolist()
        first = rows[0] if first is None else first
        alike += int((rows @ first > 0.9999).sum())
        total += len(ids)
    if bad:
        findings.found(
            f"{len(bad)} embeddings are not finite or not of unit length.",
            lambda: catalogue.drop_embeddings(bad),
        )
    if total >= 20 and alike > 0.9 * total and _distinct_contents(findings) > 0.5 * total:
        findings.found(
            f"{alike} of {total} embeddings are one and the same: the model that made them was broken. "
            f"They are made again with {row.name}.",
            lambda: catalogue.drop_embeddings(None),
        )


def _distinct_contents(findings: _Findings) -> int:
    with findings.library.catalogue.reader() as c:
        return c.exec_driver_sql("SELECT count(*) FROM content WHERE state = 'ready'").scalar_one()


def _index(findings: _Findings) -> None:
    """The vector index holds exactly what the catalogue can find: every id, with its vector and its kind."""
    library = findings.library
    row = library.catalogue.answering()
    assert row is not None
    source = StoredEmbeddings(library.catalogue, row.id, row.dim)
    index = library.vector_index()
    try:
        index.catch_up()
        wanted = np.sort(source.ids()[0])
        held = [np.empty(0, np.int64)]
        wrong = 0
        moved = index.misplaced()
        for ids, vectors, groups in index.contents():
            held.append(ids)
            wrong += source.differing(ids, vectors, groups)
        present = np.sort(np.concatenate(held))
        missing, extra = len(np.setdiff1d(wanted, present)), len(np.setdiff1d(present, wanted))
        extra += len(present) - len(np.unique(present))
        if missing or extra:
            findings.found(
                f"The vector index lacks {missing} chunks and holds {extra} that are gone.", index.rebuild
            )
        if moved:
            findings.found(
                f"The vector index places {moved} chunks in folders where they are not.",
                (lambda: None) if missing or extra or wrong else index.rebuild,
            )
        if wrong:
            findings.found(
                f"The vector index holds {wrong} vectors that are not those of the catalogue.",
                (lambda: None) if missing or extra else index.rebuild,
            )
    except IndexOutdated as error:
        findings.found(str(error), index.rebuild)
    except VectorServerError as error:
        findings.found(str(error))


def _sample(findings: _Findings, row: ModelRow) -> None:
    """Some contents, hashed, decoded and embedded anew, give what is stored."""
    library = findings.library
    works = _some_works(findings)
    if not works:
        return
    try:
        model, embedder = library.models.answering()
    except ModelError as error:
        findings.found(f"The model cannot be loaded to compare: {error}")
        return
    if model.id != row.id:
        return
    from data import reader
    from indexer.files.hashing import StillChanging, hash_file

    for work in works:
        path = work.files[0][0]
        pieces = [p for p in library.catalogue.pieces(work.hash) if p.same_as is None][:1]
        try:
            digest, _ = hash_file(path)
        except (OSError, StillChanging):
            continue
        if digest != work.hash:
            findings.found(
                f"{path}: its bytes changed and its times did not (a failing disk?)",
                partial(library.catalogue.rehash, path, (0, 0, 0)),
            )
            continue
        specs = [reader.ChunkSpec(p.ordinal, Span(p.start_s, p.end_s, p.page)) for p in pieces]
        try:
            chunks = library.sandbox.submit(
                reader.decode,
                Path(path),
                work.kind,
                specs,
                max_frames=embedder.max_frames,
                max_side=side_for(embedder.inner, work.kind),
            ).result()
        except MediaError as error:
            findings.found(f"{path}: it could be read once and cannot now ({error})")
            continue
        for piece, chunk in zip(pieces, chunks, strict=False):
            stored = library.catalogue.vector(piece.chunk_id, row.id)
            if stored is None:
                continue
            told = reader.Chunk(chunk.spec, chunk.frames, piece.text)
            fresh = embed_checked(embedder, [reader.to_input(told, work.kind)])[0]
            if not float(stored @ fresh) > AGREE:
                findings.found(
                    f"{path}: embedding it again gives another vector (cosine {float(stored @ fresh):.3f})",
                    partial(library.catalogue.drop_embeddings, [piece.chunk_id]),
                )


def _some_works(findings: _Findings) -> list[Work]:
    """A few ready contents, others each time."""
    with findings.library.catalogue.reader() as c:
        rows = c.exec_driver_sql("SELECT rowid FROM content WHERE state = 'ready' AND orphaned_at IS NULL")
        numbers = [r[0] for r in rows]
    chosen = random.sample(numbers, min(SAMPLE, len(numbers)))
    return [w for w in findings.library.catalogue.works(chosen) if w.files]


def _thumbnails(findings: _Findings) -> None:
    """No pictures of what is gone. Missing ones are made when they are asked for."""
    library = findings.library
    stale = library.stale_thumbnails()
    if stale:
        findings.found(
            f"{len(stale)} thumbnails belong to nothing in the library.",
            lambda: library.thumbnails.drop(stale),
        )


def _name(findings: _Findings, digest: bytes) -> str:
    files = findings.library.catalogue.files_of(digest)
    return str(files[0].path) if files else f"content {digest.hex()[:12]}"
