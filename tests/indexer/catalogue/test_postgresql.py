"""A library whose catalogue is on a PostgreSQL server: it answers as the embedded one does, and what can go
wrong with a server is told in one line. (What the catalogue does on either is tested where it is tested.)"""

import builtins
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalogue import schema
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.dialects.postgresql import engine
from indexer.catalogue.dialects.postgresql.names import escaped, unescaped
from indexer.catalogue.dialects.postgresql.text import tsquery, tsvector
from indexer.catalogue.rows import FoundFile
from indexer.catalogue.text.expression import Expression, Phrase
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import Answer, Part, Query
from tests import media
from tests.indexer.conftest import contents_of
from tests.postgresql import Server


@pytest.fixture
def database(postgresql_server: Server) -> str:
    return postgresql_server.database()


@pytest.fixture
def both(folder: Path, tmp_path: Path, database: str) -> Iterator[tuple[Library, Library]]:
    """The same folder in an embedded library and in one with its catalogue on the server."""
    shutil.copy(folder / "photo 0.jpg", os.fsencode(folder) + b"/b\xff\xfe.jpg")
    media.draw_pdf(folder / "long.pdf", [" ".join(f"word{n}" for n in range(400)) + " banana banana"])
    with (
        Library.open(tmp_path / "embedded", nice=False, ocr="off") as embedded,
        Library.open(tmp_path / "on server", nice=False, ocr="off", catalogue=database) as on_server,
    ):
        embedded.index([folder])
        on_server.index([folder])
        yield embedded, on_server


def told(answer: Answer) -> list[tuple[Any, ...]]:
    return [(h.path, h.span.start_s, h.span.page, round(h.score, 3), h.relevant, h.snippet) for h in answer.hits]


def test_a_library_on_a_server_holds_and_answers_what_the_embedded_one_does(
    both: tuple[Library, Library], folder: Path
) -> None:
    embedded, on_server = both
    assert contents_of(on_server) == contents_of(embedded)
    assert on_server.verify().problems == []
    asked = ("bananas", "invoice", "invioce", "harb", '"an invoice"', "banana -harbour", "kind:pdf word7")
    for text in (*asked, "baanna", "harobur", "photo", "a red circle", "greetings from the harbour letter"):
        query = Query((Part(text=text),))
        assert told(on_server.search(query)) == told(embedded.search(query)), text
    for text in ("name:photo*", "kind:pdf", f"in:{folder.name}", f"under:{folder}", "ext:mp4 after:2001"):
        query = Query((Part(text=text),))  # equals stand in the order of their numbers
        assert sorted(told(on_server.search(query))) == sorted(told(embedded.search(query))), text
    assert on_server.index().chunks == 0  # nothing is read twice


def test_one_program_indexes_and_the_next_is_told_who(folder: Path, tmp_path: Path, database: str) -> None:
    with (
        Library.open(tmp_path / "one", nice=False, ocr="off", catalogue=database) as one,
        Library.open(tmp_path / "two", nice=False, ocr="off", catalogue=database) as two,
    ):
        assert one.may_index() and one.may_index()
        with pytest.raises(LibraryError, match=rf"Another Sightline \(process {os.getpid()} on .*\) is indexing"):
            two.index([folder])
        one.done_indexing()
        assert two.may_index()


def test_a_server_that_was_killed_and_started_again_is_found_again(
    postgresql_server: Server, folder: Path, tmp_path: Path, database: str
) -> None:
    with Library.open(tmp_path / "one", nice=False, ocr="off", catalogue=database) as library:
        library.index([folder])
        query = Query((Part(text="bananas"),))
        before = told(library.search(query))
        postgresql_server.kill()
        with pytest.raises(LibraryError, match=r"does not answer|is starting or stopping"):
            library.search(query)
        with pytest.raises(LibraryError, match=r"does not answer|is starting or stopping"):
            library.status()
        postgresql_server.start()
        assert told(library.search(query)) == before
        media.draw_image(folder / "new.jpg", seed=9, size=(160, 120))
        assert library.index().chunks == 1 and library.verify().problems == []


# -- what can be wrong with a server -------------------------------------------------------------


def refused(address: str, message: str, **options: Any) -> None:
    with pytest.raises(LibraryError, match=message) as caught:
        Catalogue(place(address), **options)
    assert "\n" not in str(caught.value) and "sekret" not in str(caught.value)


def test_a_wrong_password_is_said_without_showing_it(postgresql_server: Server, database: str) -> None:
    postgresql_server.sql("DROP ROLE IF EXISTS guarded", "CREATE ROLE guarded LOGIN PASSWORD 'right'")
    address = database.replace("sightline@", "guarded:sekret@")
    refused(address, "refuses the user or the password of postgresql://guarded@127.0.0.1.*SIGHTLINE_CATALOGUE")


def test_no_such_server_database_or_user_is_named(postgresql_server: Server, database: str) -> None:
    refused("postgresql://sekretary:sekret@127.0.0.1:1/library".replace("sekretary", "me"), "does not answer")
    refused(postgresql_server.url("nowhere"), "There is no database nowhere .*createdb nowhere")
    refused(postgresql_server.url("postgres", "nobody"), "knows no user nobody")


@pytest.mark.parametrize("address", ["mysql://h/d", "postgresql://h", "postgresql+psycopg2://h/d", "sqlite:///x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(LibraryError, match=r"postgresql\+psycopg://USER@HOST|names no database"):
        place(address)


def test_a_newer_library_on_a_server_is_refused_in_one_line(postgresql_server: Server, database: str) -> None:
    Catalogue(place(database)).close()
    postgresql_server.sql("UPDATE schema_version SET version = 999", database=database.rsplit("/", 1)[1])
    refused(database, r"newer Sightline \(schema 999.*update Sightline")
    refused(database, r"newer Sightline \(schema 999.*update Sightline", read_only=True)


def test_another_programs_tables_are_not_touched(postgresql_server: Server, database: str) -> None:
    postgresql_server.sql("CREATE TABLE theirs (x int)", database=database.rsplit("/", 1)[1])
    refused(database, "holds another program's tables")


def test_a_database_without_pg_trgm_names_what_the_administrator_must_do(
    postgresql_server: Server, database: str
) -> None:
    """The user may make tables and no extension."""
    name = database.rsplit("/", 1)[1]
    postgresql_server.sql("DROP ROLE IF EXISTS plain", "CREATE ROLE plain LOGIN")
    postgresql_server.sql(f"REVOKE CREATE ON DATABASE {name} FROM PUBLIC")
    postgresql_server.sql("GRANT CREATE ON SCHEMA public TO plain", database=name)
    address = database.replace("sightline@", "plain@")
    refused(address, "lacks the extension pg_trgm.*administrator run CREATE EXTENSION pg_trgm")
    postgresql_server.sql("CREATE EXTENSION pg_trgm", database=name)
    Catalogue(place(address)).close()


def test_a_user_who_may_not_create_tables_is_told_so(postgresql_server: Server, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    postgresql_server.sql("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    postgresql_server.sql("CREATE EXTENSION pg_trgm", database=name)
    refused(database.replace("sightline@", "guest@"), "may not create tables .*GRANT CREATE")


def test_a_server_that_is_too_old_is_named(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OLDEST", 99)
    refused(database, r"is PostgreSQL \d+; Sightline needs 99 or newer")


def test_a_database_that_is_not_kept_in_utf8_is_refused(postgresql_server: Server) -> None:
    postgresql_server.sql(
        "DROP DATABASE IF EXISTS latin", "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'"
    )
    refused(postgresql_server.url("latin"), "kept in LATIN1: create it with encoding UTF8")


def test_reading_where_there_is_no_library_yet_makes_none(postgresql_server: Server, database: str) -> None:
    refused(database, "There is no library at .* yet: index a folder first", read_only=True)
    refused(database, "There is no library at .* yet: index a folder first", read_only=True)


def test_without_psycopg_the_way_to_get_it_is_told(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "psycopg":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(database, r"needs psycopg: pip install 'sightline\[scale\]'")


# -- one ladder for both ------------------------------------------------------------------------


def test_each_step_of_the_ladder_is_there_for_both_engines() -> None:
    for name in ("sqlite", "postgresql"):
        numbers = [number for number, _ in schema.migrations(name)]
        assert numbers == list(range(1, numbers[-1] + 1)) and len(numbers) >= 3


def test_a_step_written_once_climbs_on_a_server_too_and_one_that_fails_changes_nothing(database: str) -> None:
    Catalogue(place(database)).close()
    dialect = engine.PostgreSQL(place(database))  # type: ignore[arg-type]
    ladder = schema.migrations("postgresql")
    step = (ladder[-1][0] + 1, "CREATE TABLE extra (id INTEGER PRIMARY KEY, at REAL, raw BLOB, note TEXT);")
    bad = (step[0] + 1, "CREATE TABLE half (x TEXT);\nCREATE TABLE half (x TEXT);")
    with dialect.connect() as connection:
        engine.bring_up_to_date(connection, [*ladder, step], "here")
        connection.execute("INSERT INTO extra (at, raw, note) VALUES (1.5, '\\x00ff', 'kept')")
        connection.commit()
        with pytest.raises(Exception, match="already exists"):
            engine.bring_up_to_date(connection, [*ladder, step, bad], "here")
        connection.rollback()
        assert connection.execute("SELECT id, at, raw, note FROM extra").fetchall() == [(1, 1.5, b"\0\xff", "kept")]
        assert connection.execute("SELECT version, to_regclass('half') FROM schema_version").fetchall() == [
            (step[0], None)
        ]


def test_names_of_an_older_library_on_a_server_are_made_anew_when_it_is_opened(database: str) -> None:
    catalogue = Catalogue(place(database))
    catalogue.files.note(catalogue.files.set_root(Path("/p")), [FoundFile("/p/cats.jpg", "image", (1, 1, 1))])
    catalogue.close()
    dialect = engine.PostgreSQL(place(database))  # type: ignore[arg-type]
    with dialect.connect() as connection:
        # As the step before left it: the plural as it stands.
        ((number,),) = connection.execute("DELETE FROM names RETURNING rowid").fetchall()
        connection.execute("INSERT INTO names VALUES (%s, 'cats:1A', 1, 4)", (number,))
        connection.execute("DROP TABLE cue, album_item")
        later = (
            "heard", "generation", "taken", "taken_from", "facts", "note", "live", "parts", "people", "picture_hash",
        )  # fmt: skip
        connection.execute(f"ALTER TABLE content {', '.join(f'DROP COLUMN {name}' for name in later)}")
        connection.execute("ALTER TABLE content ADD COLUMN taken_at double precision")
        later = ("taken", "taken_from", "camera", "lat", "lon", "words", "due", "people")
        connection.execute(f"ALTER TABLE file {', '.join(f'DROP COLUMN {name}' for name in later)}")
        connection.execute("ALTER TABLE root DROP COLUMN left_out; ALTER TABLE seen DROP COLUMN left_out")
        connection.execute("UPDATE schema_version SET version = 3")
    Catalogue(place(database)).close()
    with dialect.connect() as connection:
        assert connection.execute("SELECT terms::text FROM names").fetchall() == [("'cat':1A 'p':3",)]
        docs = connection.execute("SELECT docs FROM term WHERE place = 'names' AND term = 'cat'").fetchone()
        assert docs == (1,)


# -- names and terms on their way ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "é", "b\udcff\udcfe.jpg", "\U0010ff80\U0010ffff", "a\U0010ff90\udc90"])
def test_a_name_of_any_bytes_travels_as_utf8_and_back(name: str) -> None:
    assert unescaped(escaped(name).encode().decode()) == name


def test_two_names_never_travel_as_one() -> None:
    assert escaped("\udcf4\udc8f\udcbe\udc80") != escaped("\U0010ff80") or os.fsencode("\U0010ff80") == (
        os.fsencode("\udcf4\udc8f\udcbe\udc80")
    )


def test_terms_and_questions_are_written_as_postgresql_reads_them() -> None:
    assert tsvector(["it's", "a", "it's"]) == ("'it''s':1,3 'a':2", 3)
    asked = Expression("words", [(Phrase("running library"),), (Phrase("pay", True), Phrase("fees"))])
    assert tsquery(asked) == "('run' <-> 'librari') & ('pai':* | 'fee')"
    assert asked == '"running library" AND ("pay" * OR "fees")'


def test_a_folder_that_changes_its_catalogue_does_not_answer_from_the_other_ones_index(
    folder: Path, tmp_path: Path, database: str
) -> None:
    """The numbers of chunks are another library's then."""
    other = tmp_path / "other"
    other.mkdir()
    media.draw_pdf(other / "note.pdf", ["A note on cranes"] * 7)
    with Library.open(tmp_path / "library", nice=False, ocr="off") as embedded:
        embedded.index([folder])
    with Library.open(tmp_path / "library", nice=False, ocr="off", catalogue=database) as on_server:
        on_server.index([other])
        hits = on_server.search(Query((Part(text="cranes"),)), 20).hits
        assert {h.title for h in hits} == {"note.pdf"}
        assert not [p for p in on_server.verify().problems if "thumbnails" not in p]  # those are by content
