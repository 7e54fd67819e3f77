"""Commands that let other machines and other people in: `serve-model`, and the tokens of a served library.

Built around `app.model_server`; it turns options into its calls and holds no logic of its own.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.options import Base, DataDir, Dim, Host, Model, Names, Port, settings_of

commands = typer.Typer()

MODEL_PORT = 8000


@commands.command("serve-model")
def serve_model(
    model: Model = None,
    host: Host = None,
    port: Port = None,
    token: Annotated[
        str | None, typer.Option(help="What clients have to show; made and printed when it is needed.")
    ] = None,
    name: Names = None,
    base: Base = None,
    dim: Dim = None,
    data_dir: DataDir = None,
) -> None:
    """Let other machines embed with this one's model: --model http://this-machine:8000 there."""
    from app.model_server import serve_model as serve
    from indexer.models import load_checked

    settings = settings_of(
        model=model, host=host, port=port, token=token, names=",".join(name or ()) or None, base=base,
        dim=dim, data_dir=data_dir,
    )  # fmt: skip
    given = {"device": settings.device, "dtype": settings.dtype, "base": settings.base, "dim": settings.dim}
    embedder = load_checked(
        settings.model, token=settings.model_token, **{k: v for k, v in given.items() if v is not None}
    )
    listens_at = settings.port if "port" in settings.model_fields_set else MODEL_PORT
    serve(embedder, settings.host, listens_at, settings.token, settings.host_names())
