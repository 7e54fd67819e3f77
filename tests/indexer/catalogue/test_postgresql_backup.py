"""A backup of a catalogue on a server is a whole library, and pg_dump alone is told the password."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Part, Query
from tests.indexer.conftest import contents_of
from tests.postgresql import Server

QUERY = Query((Part(text="bananas in the harbour"),))


@pytest.fixture(autouse=True)
def client_programs(postgresql_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{postgresql_server.bin}{os.pathsep}{os.environ['PATH']}")


def shim(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pg_dump that stands before the real one."""
    folder.mkdir()
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("schema", [None, "ours"])
def test_a_backup_restored_into_an_empty_database_is_the_library(
    folder: Path, tmp_path: Path, postgresql_server: Server, schema: str | None
) -> None:
    database = postgresql_server.database()
    if schema is not None:
        postgresql_server.sql(f"CREATE SCHEMA {schema}", database=database.rpartition("/")[2])
        database += f"?options=-csearch_path%3D{schema}%2Cpublic"
    options = {"nice": False, "ocr": "off"}
    with Library.open(tmp_path / "first", catalogue=database, **options) as library:
        library.index([folder])
        written = library.backup(tmp_path)
        assert written.suffix == ".dump" and not list(tmp_path.glob("*.part"))
        told = library.catalogue.database.dialect.restore_hint(written)
        before, hits = contents_of(library), library.search(QUERY).hits
    assert "pg_restore --no-owner -d DATABASE" in told
    empty = postgresql_server.database()
    address = empty.replace("+psycopg", "")
    subprocess.run(["pg_restore", "--no-owner", "--exit-on-error", "-d", address, str(written)], check=True)
    if schema is not None:
        empty += f"?options=-csearch_path%3D{schema}%2Cpublic"
    with Library.open(tmp_path / "second", catalogue=empty, **options) as restored:
        assert contents_of(restored) == before
        assert [(h.path, h.score) for h in restored.search(QUERY).hits] == [(h.path, h.score) for h in hits]
        (folder / "photo 0.jpg").unlink()
        assert restored.index().files == 4 and restored.verify().problems == []


def test_the_password_stands_in_no_argument(
    tmp_path: Path, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("pg_dump")
    seen = tmp_path / "seen"
    shim(tmp_path / "bin", f'echo "$@" > {seen}; echo "$PGPASSWORD" >> {seen}; exec {real} "$@"', monkeypatch)
    address = postgresql_server.database().replace("sightline@", "sightline:geheim@")
    catalogue = Catalogue(place(address))
    catalogue.database.backup(tmp_path / "copy.dump")
    catalogue.close()
    arguments, password = seen.read_text().splitlines()
    assert password == "geheim" and "geheim" not in arguments and "--no-password" in arguments
    assert (tmp_path / "copy.dump").read_bytes()[:5] == b"PGDMP"


def test_a_backup_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(place(postgresql_server.database()))
    told = "pg_dump: error: aborting because of server version mismatch"
    shim(tmp_path / "bin", f'echo half > "${{1#--file=}}"; echo "{told}" >&2; exit 1', monkeypatch)
    with pytest.raises(LibraryError, match=r"could not back up .*: aborting because of server version"):
        catalogue.database.backup(tmp_path / "copy.dump")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LibraryError, match=r"needs pg_dump, .*apt install postgresql-client"):
        catalogue.database.backup(tmp_path / "copy.dump")
    catalogue.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin"]
