"""`sightline tune`: the search learns its owner's words, and keeps what it learnt only if a held-out part gains.

Built around `Library.tune`. It holds no logic of its own.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.options import Commands, Json, opened, print_json

commands = Commands()


@commands.command()
def tune(
    undo: Annotated[bool, typer.Option("--undo", help="Search as before tuning.")] = False, json_: Json = False
) -> None:
    """Let the search learn your own words from what you opened, captions and names; kept only if it finds more."""
    from eval.metrics import score_ranking

    with opened() as library:
        if undo:
            is_undone = library.untune()
            if json_:
                print_json({"undone": is_undone})
            else:
                typer.echo("Search is as before tuning." if is_undone else "Search is not tuned.", err=True)
            return
        report = library.tune(score_ranking)
    print_json(asdict(report)) if json_ else typer.echo(report.as_text())
