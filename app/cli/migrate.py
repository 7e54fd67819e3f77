"""The command that moves a library to another engine: `migrate`.

Built around `indexer.catalogue.migrate` for the catalogue and the library's own vector index, which is
a cache and built anew. It holds no logic of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Commands, Json, opened, print_json, settings_of, typed

commands = Commands()


@commands.command()
def migrate(
    to: Annotated[
        str,
        typer.Option(metavar="PLACE", help="postgresql://USER@HOST/DATABASE, or a folder of its own."),
    ],
    json_: Json = False,
) -> None:
    """Move the library's catalogue to another engine; the old one answers meanwhile and stays as it is."""
    from app.cli import output
    from indexer.catalogue.catalogue import Catalogue
    from indexer.catalogue.dialects import place
    from indexer.catalogue.migrate import catalogue_in, move

    given = settings_of()
    where = place(to if "://" in to else Path(to).expanduser().absolute())
    target = {"catalogue": to} if not isinstance(where, Path) else {"catalogue": None, "data_dir": where}
    # What SIGHTLINE_VECTORS names is the old library's, and cannot be the new one's.
    vectors, source = typed("vectors"), given.model_copy(update={"vectors": None})
    with opened(source, read_only=False) as library, output.steps(quiet=json_) as told:
        new = Catalogue(catalogue_in(where) if isinstance(where, Path) else where)
        try:
            report = move(library.catalogue, new, told)
        finally:
            new.close()
    with opened(given.model_copy(update={**target, "vectors": vectors}), read_only=False) as moved:
        if moved.catalogue.models.answering() is not None:
            index = moved.vector_index()
            index.catch_up()
    if json_:
        print_json({"rows": report.rows, "digests": report.digests, "written": report.written, "to": to})
    else:
        left = given.vectors if given.vectors != vectors else None
        output.show_moved(report, isinstance(where, Path), to, vectors, left)
