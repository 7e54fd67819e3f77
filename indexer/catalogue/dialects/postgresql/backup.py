"""Backs up a catalogue on a PostgreSQL server with `pg_dump`.

Built around one child process. It gets the password in its environment, never in its arguments, which every user
of the machine can read. It knows nothing of the tables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa

from indexer.errors import LibraryError


def dump(url: sa.URL, schema: str | None, shown: str, to: Path) -> None:
    """Write the database (only one `schema`, if it has several libraries) in pg_dump's custom format to `to`, as one
    snapshot, while other programs write. A failure leaves no file. Raises LibraryError."""
    program = shutil.which("pg_dump")
    if program is None:
        raise LibraryError(
            "A backup of a catalogue on PostgreSQL needs pg_dump, which is not installed here: install "
            "PostgreSQL's client (apt install postgresql-client), or run there what it would run: "
            f"pg_dump -Fc -d {shown}."
        )
    no_password = url.set(drivername="postgresql", password=None)
    password = url.password or url.query.get("password")
    address = no_password.difference_update_query(["password"]).render_as_string()
    partial = to.with_name(to.name + ".part")
    of_schema = [f"--schema={schema}", "--extension=pg_trgm"] if schema else []
    command = [program, f"--file={partial}", "--format=custom", "--no-password", *of_schema, f"--dbname={address}"]
    variables = {"PGPASSWORD": str(password)} if password else {}
    try:
        process = subprocess.run(
            command, env=os.environ | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise LibraryError(f"pg_dump could not back up {shown}: {_reason(process.stderr)}.")
        partial.replace(to)
    except OSError as error:
        raise LibraryError(f"{to} cannot be written ({error.strerror}): name another file.") from error
    finally:
        partial.unlink(missing_ok=True)


def _reason(stderr: str) -> str:
    lines = [line.strip().removeprefix("pg_dump: ").removeprefix("error: ") for line in stderr.splitlines()]
    return (next((line for line in lines if line), "it ended without a word")).rstrip(".")
