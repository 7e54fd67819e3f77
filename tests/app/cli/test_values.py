"""Values of options that are plainly right are taken as Typer takes them; what is wrong is told in Typer's words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner

from app.cli.values import plain


class PlainCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return plain(super().get_params(ctx))


def command(cls: type[TyperCommand]) -> typer.Typer:
    app = typer.Typer()

    @app.command(cls=cls)
    def _show(
        word: str,
        more: Annotated[list[Path] | None, typer.Argument()] = None,
        k: Annotated[int, typer.Option("-k", min=1, max=9)] = 3,
        share: float = 0.5,
        names: Annotated[list[str] | None, typer.Option("--name")] = None,
        fold: Annotated[Literal["max", "centroid"] | None, typer.Option()] = None,
        folder: Annotated[Path | None, typer.Option(exists=True)] = None,
        flag: bool = False,
        other: Annotated[bool | None, typer.Option("--other/--no-other")] = None,
    ) -> None:
        typer.echo(repr((word, more, k, share, names, fold, folder, flag, other)))

    return app


@pytest.mark.parametrize(
    "words",
    [
        ["a"],
        ["a", "b", "c/d"],
        ["a", "-k", "9", "--share", ".25", "--name", "x", "--name", "y", "--fold", "max", "--flag", "--no-other"],
        ["a", "--folder", "/"],
        ["a", "--folder", "/no/such"],
        ["a", "-k", "0"],
        ["a", "-k", "-3"],
        ["a", "-k", "1.5"],
        ["a", "-k", "\u0663"],
        ["a", "--share", "x"],
        ["a", "--fold", "MAX"],
        [],
    ],
)
def test_plain_values_are_those_of_typer(words: list[str]) -> None:
    done, expected = (CliRunner().invoke(command(cls), words) for cls in (PlainCommand, TyperCommand))
    assert (done.exit_code, done.output) == (expected.exit_code, expected.output.replace("{word}", "word"))
