"""Commands that give access to other machines and people: `serve-model`, and the tokens of a served library.

Built around `app.model_server.server` and `app.web.tokens`. It holds no logic of its own.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Commands, Host, Json, Names, Port, Program, fail, opened, print_json, settings_of

commands = Commands()
token = Commands(cls=Program, help="Give other people access: a token for each, with its rights and folders.")
commands.add_typer(token, name="token")

MODEL_PORT = 8000


@commands.command("serve-model")
def serve_model(
    host: Host = None,
    port: Port = None,
    token: Annotated[
        str | None, typer.Option(help="The token that clients must send; made and printed where one is needed.")
    ] = None,
    name: Names = None,
) -> None:
    """Let other machines embed with this machine's model: they run with --model http://this-machine:8000."""
    from app.model_server.server import serve_model as serve
    from indexer import load_checked

    settings = settings_of(host=host, port=port, token=token, names=",".join(name or ()) or None)
    embedder = load_checked(settings.model, token=settings.model_token, **settings.of_model())
    model_port = settings.port if "port" in settings.given else MODEL_PORT
    serve(embedder, settings.host, model_port, settings.token, settings.host_names())


@token.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name, for the audit file.")],
    may_index: Annotated[
        bool, typer.Option("--index", help="Allow to add and remove folders, not only to search and open.")
    ] = False,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder that the token shows; may repeat.")
    ] = None,
) -> None:
    """Make a token; it is printed only now. As soon as one token exists, every visitor needs one."""
    from app.cli import output
    from app.web.tokens import Tokens

    settings = settings_of()
    roots = tuple(str(folder.expanduser().absolute()) for folder in root or ())
    with opened(settings, read_only=True) as library:
        library_roots = library.status().roots
    for folder in roots:
        if folder not in library_roots:
            fail(f"{folder} is no folder of this library; its folders: {', '.join(library_roots) or 'none'}", 2)
    typer.echo(Tokens(settings.data_dir.expanduser()).add(name, may_index=may_index, roots=roots))
    output.err.print("Open http://HOST/?token=… once in a browser, or send the token as a bearer token.")


@token.command("list")
def list_(json_: Json = False) -> None:
    """List the tokens: the person's name, the rights and the folders of each."""
    from app.cli import output
    from app.web.tokens import Tokens

    records = Tokens(settings_of().data_dir.expanduser()).list()
    if json_:
        print_json([{k: v for k, v in asdict(record).items() if k != "sha256"} for record in records])
        return
    for record in records:
        rights = "searches and indexes" if record.may_index else "searches"
        output.out.print(f"{record.name}: {rights} {', '.join(record.roots) or 'everything'}")
    if not records:
        output.err.print("There are no tokens.")


@token.command()
def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]) -> None:
    """Delete a token; it opens nothing from the next request on."""
    from app.web.tokens import Tokens

    Tokens(settings_of().data_dir.expanduser()).remove(name)
