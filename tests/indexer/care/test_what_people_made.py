"""What people made survives whatever happens to the library around it: each thing, through each operation."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.web.tokens import Tokens, owner_token
from indexer.library import Library
from tests.indexer.care.conftest import reopened
from tests.indexer.care.test_salvage import garbage, overwrite, pages_of
from tests.indexer.pipeline.test_crash import teach_other

pytestmark = pytest.mark.slow

Operation = Callable[[Path, Path], Path]
"""Does something to the library in the first folder, over the media in the second. Returns the library's folder."""


def repair(data_dir: Path, folder: Path) -> Path:
    with closing(sqlite3.connect(data_dir / "catalogue.sqlite")) as c:
        c.execute("UPDATE embedding SET vector = zeroblob(2304) WHERE chunk_id < 4")
        c.execute("UPDATE file SET mtime_ns = 1 WHERE id = 1")
        c.execute("INSERT INTO words (words) VALUES ('delete-all')")
        c.execute("DELETE FROM names")
        c.commit()
    with reopened(data_dir) as library:
        assert library.verify(repair=True).repaired >= 3
    return data_dir


def salvage(data_dir: Path, folder: Path) -> Path:
    for table in ("chunk", "content", "file", "embedding"):
        overwrite(data_dir, pages_of(data_dir, table)[0], garbage())
    assert Library.salvage(data_dir).repaired == 5
    return data_dir


def rebuild_caches(data_dir: Path, folder: Path) -> Path:
    shutil.rmtree(data_dir / "vectors", ignore_errors=True)
    shutil.rmtree(data_dir / "thumbnails")
    with reopened(data_dir) as library:
        library.vector_index().rebuild()
    return data_dir


def embed_all_again(data_dir: Path, folder: Path) -> Path:
    with reopened(data_dir) as library:
        library.catalogue.contents.drop_embeddings(None)
    return data_dir


def read_all_again(data_dir: Path, folder: Path) -> Path:
    """As after an update that reads more of each kind of file."""
    with closing(sqlite3.connect(data_dir / "catalogue.sqlite")) as c:
        c.execute("UPDATE content SET generation = 0")
        c.commit()
    return data_dir


def switch_models(data_dir: Path, folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        teach_other(patch)
        with reopened(data_dir, "other") as library:
            library.index()
            assert library.status().model == "other@1-r1"
    return data_dir


def move_the_folder(data_dir: Path, folder: Path) -> Path:
    moved = folder.with_name("moved")
    folder.rename(moved)
    with reopened(data_dir) as library:
        library.index([moved])
        library.forget(folder)
        library.forget(moved / "private")
    return data_dir


def move_the_library(data_dir: Path, folder: Path) -> Path:
    return Path(data_dir.rename(data_dir.with_name("elsewhere")))


def restore_in_place(data_dir: Path, folder: Path) -> Path:
    backup = data_dir.with_name("backup.sqlite")
    with reopened(data_dir) as library:
        library.backup(backup)
        library.forget(folder)
    backup.replace(data_dir / "catalogue.sqlite")
    return data_dir


def restore_in_a_new_place(data_dir: Path, folder: Path) -> Path:
    """What the backup holds and no more, and the tokens, which `sightline backup` leaves out on purpose."""
    new = data_dir.with_name("new")
    new.mkdir()
    with reopened(data_dir, read_only=True) as library:
        library.backup(new / "catalogue.sqlite")
    for name in ("tokens.json", "tokens.made", "owner-token"):
        shutil.copy(data_dir / name, new / name)
    return new


def migrate_to_a_folder(data_dir: Path, folder: Path) -> Path:
    new = data_dir.with_name("migrated")
    with reopened(data_dir) as library:
        library.migrate(new, lambda *_: None)
    for name in ("tokens.json", "tokens.made", "owner-token"):
        shutil.copy(data_dir / name, new / name)
    return new


OPERATIONS: tuple[Operation, ...] = (
    repair, salvage, rebuild_caches, embed_all_again, read_all_again, switch_models, move_the_folder,
    move_the_library, restore_in_place, restore_in_a_new_place, migrate_to_a_folder,
)  # fmt: skip


def labels(library: Library) -> Any:
    return _labels(library, 0)


def moderation(library: Library) -> Any:
    return _labels(library, 1)


def _labels(library: Library, hidden: int) -> Any:
    with library.catalogue.database.reader() as c:
        rows = c.exec_driver_sql(
            "SELECT k.content_hash, k.ordinal, l.name, l.score FROM label l JOIN chunk k ON k.id = l.chunk_id"
            f" WHERE hidden = {hidden} ORDER BY 1, 2, 3"
        ).all()
    return [tuple(row) for row in rows]


def clicks(library: Library) -> Any:
    return library.clicks.enabled, list(library.clicks.rows())


def tokens(library: Library) -> Any:
    return Tokens(library.data_dir).list(), owner_token(library.data_dir)


def settings(library: Library) -> Any:
    return library.catalogue.settings.get("colour")


def folders(library: Library) -> Any:
    """Those of the library, and those left out of it."""
    return sorted((root.path.name, root.state) for root in library.catalogue.files.roots())


def transcripts(library: Library) -> Any:
    with library.catalogue.database.reader() as c:
        rows = c.exec_driver_sql("SELECT content_hash, start_s, end_s, text FROM cue").all()
    return [tuple(row) for row in rows]


def albums(library: Library) -> Any:
    return [
        (album.name, album.count, album.missing, len(library.album_items(album.name))) for album in library.albums()
    ]


THINGS = (labels, moderation, albums, clicks, tokens, settings, folders, transcripts)


@pytest.fixture(scope="module", params=OPERATIONS, ids=lambda operation: operation.__name__)
def pair(request: pytest.FixtureRequest, used: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The library as it was, and a copy after an operation and a run of the indexer."""
    base = tmp_path_factory.mktemp(request.param.__name__)
    folder = Path(shutil.copytree(used.with_name("media"), base / "media"))
    data_dir = Path(shutil.copytree(used, base / "library"))
    with closing(sqlite3.connect(data_dir / "catalogue.sqlite")) as c:  # the same library over the copied media
        for table, column in (("root", "path"), ("file", "path"), ("file", "folder")):
            c.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(used.parent), str(base)))
        for file, path in c.execute("SELECT id, path FROM file").fetchall():
            os.utime(path, (1e9, 1e9))
            stamp = Path(path).stat()
            c.execute("UPDATE file SET mtime_ns = ?, ctime_ns = ? WHERE id = ?", (10**18, stamp.st_ctime_ns, file))
        c.commit()
    data_dir = request.param(data_dir, folder)
    with pytest.MonkeyPatch.context() as patch:
        teach_other(patch)
        model = "other" if request.param is switch_models else "lite"
        with reopened(data_dir, model) as after, reopened(used, read_only=True) as before:
            after.index()
            assert after.verify().problems == []
            yield before, after


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_it_survives(pair: tuple[Library, Library], thing: Callable[[Library], Any]) -> None:
    before, after = map(thing, pair)
    assert before
    if thing is folders:
        after = [("media" if name == "moved" else name, state) for name, state in after if state != "away"]
    assert after == before
