"""`verify`: check the parts of a library against each other, and repair them.

Built around the order of trust: the user's files, then the catalogue, then its caches (text index, vector
index, thumbnails). A sample of chunks is decoded and embedded again and compared with the stored vectors. It
knows nothing of searching.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from data.media.kinds import MediaError
from data.media.live import MOMENT_S
from indexer.active_models import ActiveModels
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import ModelRow, Work
from indexer.catalogue.schema import content, file, root
from indexer.errors import IndexOutdated, VectorServerError
from indexer.files.scanner import stamp_of
from indexer.pipeline.embed_checked import embed_checked
from indexer.pipeline.stage_ocr import OCR_SIDE
from indexer.thumbnails import Thumbnails
from indexer.types import VerifyReport
from indexer.vectors.index import VectorIndex
from indexer.vectors.source import GROUPS, StoredEmbeddings
from model.embedder import ModelError, side_for

if TYPE_CHECKING:
    from data.media.sandbox import Sandbox

SAMPLE = 8
"""Contents that are decoded and embedded again."""
SAME_COSINE = 0.99
"""Cosine above which two vectors of one chunk are the same: float16 alone costs less than 0.0001, another
build of a decoder up to 0.002."""
MOST_NAMES = 20
"""Problems of one sort that are listed by name; the others are counted."""


@dataclass
class _Check:
    """The library to check, and the problems so far. `index` and `sandbox` are opened at their first use."""

    catalogue: Catalogue
    models: ActiveModels
    thumbnails: Thumbnails
    index: Callable[[], VectorIndex]
    sandbox: Callable[[], Sandbox]
    repair: bool
    problems: list[str] = field(default_factory=list)
    repaired: int = 0
    sampled: int = 0
    contents: int = 0

    def report(self, problem: str, mend: Callable[[], object] | None = None) -> None:
        self.problems.append(problem)
        if self.repair and mend is not None:
            mend()
            self.repaired += 1

    def report_each(self, names: list[str], problem: str, mend: Callable[[], object]) -> None:
        """Report one problem a name; one call of `mend` repairs all of them."""
        if not names:
            return
        self.problems += [f"{name}: {problem}" for name in names[:MOST_NAMES]]
        if len(names) > MOST_NAMES:
            self.problems.append(f"… and {len(names) - MOST_NAMES} more: {problem}")
        if self.repair:
            mend()
            self.repaired += min(len(names), MOST_NAMES + 1)


def verify(
    catalogue: Catalogue,
    models: ActiveModels,
    thumbnails: Thumbnails,
    index: Callable[[], VectorIndex],
    sandbox: Callable[[], Sandbox],
    *,
    repair: bool,
) -> VerifyReport:
    """See `Library.verify`. To repair, this program must be the one indexer of the library."""
    check = _Check(catalogue, models, thumbnails, index, sandbox, repair)
    if _catalogue_is_sound(check):
        _files(check)
        _text(check)
        _orphans(check)
        row = catalogue.models.answering()
        if row is not None and _lengths(check, row):
            _vectors(check, row)
            _index(check, row)
            _sample(check, row)
        _thumbnails(check)
    return VerifyReport(check.problems, check.repaired, check.sampled, check.contents)


def _catalogue_is_sound(check: _Check) -> bool:
    catalogue = check.catalogue
    with catalogue.database.reader() as c:
        damage = catalogue.database.dialect.damage(c)
        broken = [] if damage else catalogue.database.dialect.dangling(c)
    if damage:
        check.report(damage)
        return False
    if broken:
        check.report(
            f"{len(broken)} rows of the catalogue refer to rows that do not exist.",
            lambda: catalogue.contents.drop_dangling(broken),
        )
    return True


def _files(check: _Check) -> None:
    """Files on disk have the size and times of the catalogue."""
    catalogue = check.catalogue
    with catalogue.database.reader() as c:
        rows = c.execute(
            sa.select(file.c.path, file.c.size, file.c.mtime_ns, file.c.ctime_ns)
            .join(root, root.c.id == file.c.root_id)
            .where(root.c.state == "here")
        ).all()
    missing, changed = [], []
    for row in rows:
        try:
            stamp = stamp_of(Path(row.path).stat())
        except OSError:
            missing.append(row.path)
            continue
        if stamp != (row.size, row.mtime_ns, row.ctime_ns):
            changed.append((row.path, stamp))
    check.report_each(missing, "it is no longer there", lambda: catalogue.files.remove(missing))
    check.report_each(
        [path for path, _ in changed], "it has changed since it was indexed", lambda: catalogue.files.rehash(changed)
    )


def _text(check: _Check) -> None:
    """The text indexes hold what the tables hold."""
    catalogue = check.catalogue
    with catalogue.database.reader() as c:
        agree = catalogue.database.dialect.texts_agree(c)
    if not agree:

        def rebuild() -> None:
            with catalogue.database.writer() as c:
                catalogue.database.dialect.rebuild_texts(c)

        check.report("The index of words does not match the texts.", rebuild)
    with catalogue.database.reader() as c:
        missing = c.exec_driver_sql(
            "SELECT count(*) FROM file f WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.rowid = f.id)"
        ).scalar_one()
    if missing:
        check.report(f"{missing} file names are not in the index of names.", catalogue.files.rebuild_names)


def _orphans(check: _Check) -> None:
    """A content is orphaned if and only if it has no file; a ready one has chunks."""
    catalogue = check.catalogue
    with catalogue.database.reader() as c:
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
                    ~((content.c.kind == "video") & (content.c.duration_s <= MOMENT_S)),  # of live photos
                )
            )
        ]
    if lost:
        check.report(f"{lost} contents are wrong about whether a file has them.", catalogue.contents.mark_orphans)
    check.report_each(
        [_name(check, digest) for digest in empty],
        "it is marked as indexed and has no chunks",
        lambda: catalogue.queue.set_pending(empty),
    )


def _lengths(check: _Check, row: ModelRow) -> bool:
    """Whether every stored vector has the model's number of components, so that they can be read together."""
    wrong = check.catalogue.models.wrong_length(row.id, row.dim)
    if wrong:
        check.report(
            f"{len(wrong)} embeddings do not have {row.dim} components.",
            lambda: check.catalogue.contents.drop_embeddings(wrong),
        )
    return not wrong or check.repair


def _vectors(check: _Check, row: ModelRow) -> None:
    """Each chunk has a vector, finite and of unit length, and the vectors differ."""
    catalogue = check.catalogue
    lacking = catalogue.models.lacking(row.id)
    if lacking:
        check.report(f"{lacking} chunks have no embedding.", lambda: None)  # the next run makes them
    bad: list[int] = []
    first: np.ndarray | None = None
    total = alike = 0
    source = StoredEmbeddings(catalogue.database, row.id, row.dim)
    for ids, vectors in (batch for group in GROUPS.values() for batch in source.vectors(group)):
        rows = vectors.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
        bad += ids[~np.isfinite(rows).all(axis=1) | ~(np.abs(lengths - 1) < 1e-2)].tolist()
        first = rows[0] if first is None else first
        alike += int((rows @ first > 0.9999).sum())
        total += len(ids)
    if bad:
        check.report(
            f"{len(bad)} embeddings are not finite or not of unit length.",
            lambda: catalogue.contents.drop_embeddings(bad),
        )
    with catalogue.database.reader() as c:
        contents: int = c.exec_driver_sql("SELECT count(*) FROM content WHERE state = 'ready'").scalar_one()
    if total >= 20 and alike > 0.9 * total and contents > 0.5 * total:
        check.report(
            f"{alike} of {total} embeddings are the same: the model that made them was broken. "
            f"They are made again with {row.name}.",
            lambda: catalogue.contents.drop_embeddings(None),
        )


def _index(check: _Check, row: ModelRow) -> None:
    """The vector index holds exactly the catalogue's embeddings: every id, with its vector and its kind."""
    source = StoredEmbeddings(check.catalogue.database, row.id, row.dim)
    index = check.index()
    try:
        index.catch_up()
        expected = np.sort(source.ids()[0])
        parts = [np.empty(0, np.int64)]
        wrong = 0
        misplaced = index.misplaced()
        for ids, vectors, groups in index.contents():
            parts.append(ids)
            wrong += source.differing(ids, vectors, groups)
        present = np.sort(np.concatenate(parts))
        missing, extra = len(np.setdiff1d(expected, present)), len(np.setdiff1d(present, expected))
        extra += len(present) - len(np.unique(present))
        if missing or extra:
            check.report(f"The vector index lacks {missing} chunks and holds {extra} too many.", index.rebuild)
        if misplaced:
            check.report(
                f"The vector index places {misplaced} chunks in folders where they are not.",
                (lambda: None) if missing or extra or wrong else index.rebuild,
            )
        if wrong:
            check.report(
                f"The vector index holds {wrong} vectors that differ from the catalogue's.",
                (lambda: None) if missing or extra else index.rebuild,
            )
    except IndexOutdated as error:
        check.report(str(error), index.rebuild)
    except VectorServerError as error:
        check.report(str(error))


def _sample(check: _Check, row: ModelRow) -> None:
    """Some contents, hashed, decoded and embedded again, give the stored vectors."""
    works = _some_works(check)
    if not works:
        return
    try:
        model, embedder = check.models.answering()
    except ModelError as error:
        check.report(f"The model cannot be loaded to compare: {error}")
        return
    if model.id != row.id:
        return
    from data import reader
    from indexer.files.hashing import StillChanging, hash_file

    sandbox = check.sandbox()
    for work in works:
        path = work.files[0][0]
        stored = [p for p in check.catalogue.contents.chunks_of(work.hash) if p.same_as is None][:1]
        try:
            digest, _ = hash_file(path)
        except (OSError, StillChanging):
            continue
        if digest != work.hash:
            check.report(
                f"{path}: its bytes have changed and its times have not (a failing disk?)",
                partial(check.catalogue.files.rehash, [(path, (0, 0, 0))]),
            )
            continue
        sides = [side_for(embedder.inner, work.kind)]
        if work.kind != "video":
            sides.append(OCR_SIDE)  # a chunk in which words were read was embedded again at this side
        for chunk in stored:
            vector = check.catalogue.contents.vector(chunk.chunk_id, row.id)
            cosines: list[float] = []
            for side in sides:
                if vector is None or any(cosine > SAME_COSINE for cosine in cosines):
                    break
                spec = reader.ChunkSpec(chunk.ordinal, chunk.span)
                try:
                    decoded = sandbox.submit(
                        reader.decode, Path(path), work.kind, [spec], max_frames=embedder.max_frames, max_side=side
                    ).result()
                except MediaError as error:
                    check.report(f"{path}: it could be read before and cannot be read now ({error})")
                    break
                inputs = [reader.to_input(replace(again, text=chunk.text), work.kind) for again in decoded]
                cosines += [float(vector @ embedding) for embedding in embed_checked(embedder, inputs)]
            if cosines and not max(cosines) > SAME_COSINE:
                check.report(
                    f"{path}: embedding it again gives another vector (cosine {max(cosines):.3f})",
                    partial(check.catalogue.contents.drop_embeddings, [chunk.chunk_id]),
                )
        check.sampled += 1


def _some_works(check: _Check) -> list[Work]:
    """A random sample of the ready contents that have a file; counts these contents."""
    with check.catalogue.database.reader() as c:
        rows = c.exec_driver_sql("SELECT rowid FROM content WHERE state = 'ready' AND orphaned_at IS NULL")
        numbers = [r[0] for r in rows]
    check.contents = len(numbers)
    sample = random.sample(numbers, min(SAMPLE, len(numbers)))
    return [w for w in check.catalogue.queue.works(sample) if w.files]


def _thumbnails(check: _Check) -> None:
    """Each thumbnail belongs to a content. A missing one is no problem: it is made at the first request."""
    stale = check.thumbnails.stale(check.catalogue.contents.hashes())
    if stale:
        check.report(f"{len(stale)} thumbnails belong to nothing in the library.", lambda: check.thumbnails.drop(stale))


def _name(check: _Check, digest: bytes) -> str:
    files = check.catalogue.files.of_content(digest)
    return str(files[0].path) if files else f"content {digest.hex()[:12]}"
