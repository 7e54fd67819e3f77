"""A backup of a catalogue that is on a PostgreSQL server, through PostgreSQL's own `pg_dump`.

Built around one child process. The password goes to it in its environment, never in its arguments, which
every user of the machine may read. It knows nothing of what the tables hold.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa

from indexer.errors import LibraryError


def dump(url: sa.URL, schema: str | None, shown: str, to: Path) -> None:
    """Write the database (of one `schema`, where it holds several libraries) in pg_dump's custom format: one
    snapshot, taken while everybody goes on writing. All of it is at `to`, or nothing. Raises LibraryError."""
    program = shutil.which("pg_dump")
    if program is None:
        raise LibraryError(
            "A backup of a catalogue on PostgreSQL needs pg_dump, which is not installed here: install "
            "PostgreSQL's client (apt install postgresql-client), or run there what it would run: "
            f"pg_dump -Fc -d {shown}."
        )
    given = url.set(drivername="postgresql", password=None)
    password = url.password or given.query.get("password")
    address = given.difference_update_query(["password"]).render_as_string()
    half = to.with_name(to.name + ".part")
    of_schema = [f"--schema={schema}", "--extension=pg_trgm"] if schema else []
    command = [program, f"--file={half}", "--format=custom", "--no-password", *of_schema, f"--dbname={address}"]
    own = {"PGPASSWORD": str(password)} if password else {}
    try:
        done = subprocess.run(
            command, env=os.environ | own, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LibraryError(f"pg_dump could not back up {shown}: {_reason(done.stderr)}.")
        half.replace(to)
    except OSError as error:
        raise LibraryError(f"{to} cannot be written ({error.strerror}): name another file.") from error
    finally:
        half.unlink(missing_ok=True)


def _reason(told: str) -> str:
    lines = [line.strip().removeprefix("pg_dump: ").removeprefix("error: ") for line in told.splitlines()]
    return (next((line for line in lines if line), "it ended without a word")).rstrip(".")
