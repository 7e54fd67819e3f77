"""The values of options that are plainly right, taken as they are.

Built around Typer's parameters. Typer gives every value to pydantic, whose import costs more CPU than all the rest of
a command that asks a server. Words, paths, whole numbers and choices need none of it; whatever is not plainly right is
left to Typer, which says what is wrong. It knows no option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperArgument, TyperOption


class _NotPlain(Exception):
    """A value that Typer must look at."""


class _PlainValue:
    """Typer's way from text to value: the plain one, or else `thorough`, Typer's own."""

    def __init__(self, thorough: Callable[[], Any]) -> None:
        self._thorough = thorough

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        described = param.type_descriptor
        try:
            return _value(value, described.annotation, described.parameter_info, param.multiple or param.nargs == -1)
        except _NotPlain:
            return self._thorough().coerce(value, param=param, ctx=ctx)


class PlainOption(TyperOption):
    def get_runtime_param(self) -> Any:
        return _PlainValue(super().get_runtime_param)


class PlainArgument(TyperArgument):
    """Shown as manual pages do: VIDEO, [TEXT]; neither braces around it nor the name of a Python type."""

    def get_runtime_param(self) -> Any:
        return _PlainValue(super().get_runtime_param)

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().get_usage_pieces(ctx)]

    def get_help_record(self, ctx: Any) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (re.sub(r" <[^<>]*>$", "", record[0]), record[1])


_PLAIN: dict[type, type] = {TyperOption: PlainOption, TyperArgument: PlainArgument}


def plain(parameters: Iterable[Any]) -> list[Any]:
    """Returns Typer's parameters, with plain values from now on."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.__class__ = _PLAIN.get(type(parameter), type(parameter))
    return parameters


def _value(value: Any, annotation: Any, described: Any, is_many: bool) -> Any:
    if value is None:
        return () if is_many else None
    if is_many and get_origin(annotation) is list and isinstance(value, list | tuple):
        (annotation,) = get_args(annotation)
        return [_value(one, annotation, described, False) for one in value]
    if annotation in (bool, str) and isinstance(value, annotation):
        return value
    if annotation is Path and isinstance(value, str | Path) and not _is_checked(described):
        return Path(value)
    if annotation is int and (isinstance(value, int) or (value.isascii() and value.isdecimal())):
        lowest, highest = described.min, described.max
        if (lowest is None or int(value) >= lowest) and (highest is None or int(value) <= highest):
            return int(value)
    if get_origin(annotation) is Literal and value in get_args(annotation):
        return value
    raise _NotPlain


def _is_checked(described: Any) -> bool:
    """Whether Typer checks that a path exists, or changes it."""
    asked = ("exists", "writable", "resolve_path", "path_type", "parser", "click_type")
    return any(getattr(described, name, None) for name in asked)
