"""Commands that let other machines and other people in: `serve-model`, and the tokens of a served library.

Built around `app.model_server.server`; it turns options into its calls and holds no logic of its own.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Commands, Host, Json, Names, Port, fail, opened, print_json, settings_of

commands = Commands()
token = Commands(help="Let other people in: a token for each, with what it may do and see.")
commands.add_typer(token, name="token")

MODEL_PORT = 8000


@commands.command("serve-model")
def serve_model(
    host: Host = None,
    port: Port = None,
    token: Annotated[
        str | None, typer.Option(help="What clients have to show; made and printed when it is needed.")
    ] = None,
    name: Names = None,
) -> None:
    """Let other machines embed with this one's model: --model http://this-machine:8000 there."""
    from app.model_server.server import serve_model as serve
    from indexer import load_checked

    settings = settings_of(host=host, port=port, token=token, names=",".join(name or ()) or None)
    given = {name: getattr(settings, name) for name in ("device", "dtype", "base", "dim", "detail")}
    embedder = load_checked(
        settings.model, token=settings.model_token, **{k: v for k, v in given.items() if v is not None}
    )
    listens_at = settings.port if "port" in settings.model_fields_set else MODEL_PORT
    serve(embedder, settings.host, listens_at, settings.token, settings.host_names())


@token.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; stands in the audit file.")],
    may_index: Annotated[
        bool, typer.Option("--index", help="It may add and remove folders too, not search and open alone.")
    ] = False,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder of the library that it sees; may repeat.")
    ] = None,
) -> None:
    """Make a token; it is shown this once. From the first one on, everybody has to show one."""
    from app.cli import output
    from app.web.tokens import Tokens

    settings = settings_of()
    roots = tuple(str(folder.expanduser().absolute()) for folder in root or ())
    with opened(settings, read_only=True) as library:
        there = library.status().roots
    for folder in roots:
        if folder not in there:
            fail(f"{folder} is no folder of this library; there are: {', '.join(there) or 'none'}", 2)
    made = Tokens(settings.data_dir.expanduser()).add(name, may_index=may_index, roots=roots)
    typer.echo(made)
    output.err.print("Opened once as http://HOST/?token=…, or sent as a bearer token.")


@token.command("list")
def list_(json_: Json = False) -> None:
    """The tokens that were given out: whose, and what each may do and see."""
    from app.cli import output
    from app.web.tokens import Tokens

    records = Tokens(settings_of().data_dir.expanduser()).list()
    if json_:
        print_json([{k: v for k, v in asdict(one).items() if k != "sha256"} for one in records])
        return
    for one in records:
        rights = "searches and indexes" if one.may_index else "searches"
        output.out.print(f"{one.name}: {rights} {', '.join(one.roots) or 'everything'}", highlight=False)
    if not records:
        output.err.print("No tokens were given out.")


@token.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="Whose.")]) -> None:
    """Take a token back; it opens nothing from the next request on."""
    from app.web.tokens import Tokens

    Tokens(settings_of().data_dir.expanduser()).remove(name)
