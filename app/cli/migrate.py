"""The command that moves a library to another engine: `migrate`.

Built around `Library.migrate` for the catalogue; the vector index is a cache, and the new library makes its
own. It holds no logic of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Commands, Json, opened, print_json, settings_of, typed

commands = Commands()


@commands.command()
def migrate(
    to: Annotated[str, typer.Option(metavar="PLACE", help="postgresql://USER@HOST/DATABASE, or a folder of its own.")],
    json_: Json = False,
) -> None:
    """Move the library's catalogue to another engine; the old one answers meanwhile and stays as it is."""
    from app.cli import output

    given = settings_of()
    folder = None if "://" in to else Path(to).expanduser().absolute()
    target = {"catalogue": to} if folder is None else {"catalogue": None, "data_dir": folder}
    # What SIGHTLINE_VECTORS names is the old library's, and cannot be the new one's.
    vectors, source = typed("vectors"), given.model_copy(update={"vectors": None})
    with opened(source, read_only=False) as library, output.steps(quiet=json_) as on_progress:
        report = library.migrate(folder or to, on_progress)
    with opened(given.model_copy(update={**target, "vectors": vectors}), read_only=False) as moved:
        moved.catch_up_vectors()
    if json_:
        print_json({"rows": report.rows, "digests": report.digests, "written": report.written, "to": to})
    else:
        left = given.vectors if given.vectors != vectors else None
        output.show_moved(report, folder is not None, to, vectors, left)
