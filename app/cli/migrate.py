"""The command `migrate`: copy a library to another engine.

Built around `Library.migrate`, which copies the catalogue; the new library builds its own vector index.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Commands, Json, opened, print_json, settings_of, typed

commands = Commands()


@commands.command()
def migrate(
    to: Annotated[str, typer.Option(metavar="PLACE", help="postgresql://USER@HOST/DATABASE, or a new folder.")],
    json_: Json = False,
) -> None:
    """Copy the library to another engine; the old library answers meanwhile and stays as it is."""
    from app.cli import output

    settings = settings_of()
    folder = None if "://" in to else Path(to).expanduser().absolute()
    target = {"catalogue": to} if folder is None else {"catalogue": None, "data_dir": folder}
    # SIGHTLINE_VECTORS names the old library's vectors; the new library takes an address from --vectors alone.
    vectors, source = typed("vectors"), settings.but(vectors=None)
    with opened(source) as library, output.steps(quiet=json_) as on_progress:
        report = library.migrate(folder or to, on_progress)
    with opened(settings.but(**target, vectors=vectors)) as copy:
        copy.catch_up_vectors()
    if json_:
        print_json({**asdict(report), "to": to})
    else:
        output.show_migration(report, folder is not None, to, vectors, settings.vectors != vectors)
