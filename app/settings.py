"""Settings, read once from options, `SIGHTLINE_*` variables and defaults, and passed on as plain arguments.

Built around one dataclass, whose annotations say what each setting takes. It is read without pydantic, whose import
costs a cold search an eighth of its CPU time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from app.data_dir import user_data_dir
from indexer.types import LibraryOptions

_YES, _NO = ("1", "true", "yes", "on", "t", "y"), ("0", "false", "no", "off", "f", "n")


class SettingsError(Exception):
    """A setting that cannot be used. `str(error)` is one sentence for a person."""


class _Wrong(Exception):
    """What a setting must be instead."""


def _number(default: Any, least: float, most: float = math.inf) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True)
class Settings:
    """All settings. `--data-dir` is `SIGHTLINE_DATA_DIR`, and so on."""

    data_dir: Path = field(default_factory=user_data_dir)
    model: str = "lite"
    base: str | None = None
    dim: int | None = _number(None, 8)
    detail: str | None = None
    """EmbeddingGemma 2's tokens per image and frames: `image=280,page=560,frame=140,frames=16`, or a part of it."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = _number(None, 1)
    nice: bool = True
    window: float = _number(30.0, 1)
    overlap: float = _number(0.0, 0)
    poll: bool = False
    ocr: Literal["off", "auto", "all"] = "auto"
    speech: str = "auto"
    """Model that transcribes videos and recordings: off, auto (the built-in one, if installed), or a name."""
    copies: bool | None = None
    """Take in other programs' copies: thumbnails, snapshots, recycle bins; None: the library's stored choice."""
    catalogue: str | None = None
    """Address of a PostgreSQL database; None: the library's folder."""
    vectors: str | None = None
    """Address of a Milvus; None: the library's folder."""
    host: str = "127.0.0.1"
    port: int = _number(7860, 0, 65535)
    token: str | None = None
    names: str = ""
    """Further host names of this server, with commas: behind a proxy, in a container."""
    web: bool = False
    """The owner's page fetches an address that is typed into the search box, after asking."""
    web_networks: str = ""
    """Private networks that a fetch by address may reach, with commas: 192.168.1.0/24."""
    model_token: str | None = None
    """For a model on another machine: `--model https://…`."""

    given: frozenset[str] = frozenset()
    """The names of those that an option or a variable gave."""

    def library(self) -> LibraryOptions:
        """These settings as the options of a library."""
        names = {one.name for one in fields(LibraryOptions)} & {one.name for one in fields(self)}
        options = {name: getattr(self, name) for name in names}
        return LibraryOptions(
            **options, explicit_model="model" in self.given, window_s=self.window, overlap_s=self.overlap
        )

    def of_model(self) -> dict[str, Any]:
        """The options of `model.load`, those that are set."""
        options = {name: getattr(self, name) for name in ("device", "dtype", "base", "dim", "detail")}
        return {name: value for name, value in options.items() if value is not None}

    def but(self, **changed: Any) -> Settings:
        """These settings with some changed."""
        return replace(self, **changed)

    def host_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.names.replace(",", " ").split() if name)


def read(**options: Any) -> Settings:
    """The settings; `options` that are not None come before variables and defaults.

    Raises `SettingsError`, which names the setting and the problem.
    """
    given = _given(options, os.environ)
    settings = Settings(**given, given=frozenset(given))
    if settings.catalogue or settings.vectors:
        from indexer import check_addresses
        from indexer.errors import LibraryError

        try:
            check_addresses(settings.library())
        except LibraryError as error:
            raise SettingsError(str(error)) from error
    if settings.overlap >= settings.window:
        raise SettingsError("--overlap must be shorter than --window")
    return settings


def _given(options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that are given, by name."""
    hints = get_type_hints(Settings)
    given = {}
    for one in fields(Settings):
        value = options.get(one.name)
        if value is None:
            value = environment.get(f"SIGHTLINE_{one.name.upper()}")
        if value is None or one.name == "given":
            continue
        try:
            given[one.name] = _value(value, hints[one.name], **one.metadata)
            if one.name == "web_networks":
                _check_networks(given[one.name])
        except _Wrong as wrong:
            option = f"--{one.name.replace('_', '-')} (or SIGHTLINE_{one.name.upper()})"
            raise SettingsError(f"{option}: {wrong}, not {value!r}") from wrong
    return given


def _value(value: Any, kind: Any, least: float = -math.inf, most: float = math.inf) -> Any:
    """An option, or the text of a variable, as the kind of value that a setting takes. Raises `_Wrong`."""
    kinds = [one for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) is Literal:
        if value not in kinds:
            raise _Wrong(f"must be one of {', '.join(kinds)}")
        return value
    kind = kinds[0] if kinds else kind
    if kind is bool and isinstance(value, str):
        if value.strip().lower() not in _YES + _NO:
            raise _Wrong("must be yes or no")
        return value.strip().lower() in _YES
    if kind not in (int, float):
        return kind(value)
    what = "a whole number" if kind is int else "a number"
    span = f" from {least:g} to {most:g}" if most < math.inf else f" of at least {least:g}"
    try:
        number = kind(value)
    except ValueError as error:
        raise _Wrong(f"must be {what}{span}") from error
    if not least <= number <= most or not math.isfinite(number):
        raise _Wrong(f"must be {what}{span}")
    return number


def _check_networks(networks: str) -> None:
    from ipaddress import ip_network

    try:
        for network in networks.replace(",", " ").split():
            ip_network(network, strict=False)
    except ValueError as error:
        raise _Wrong("must be networks such as 192.168.1.0/24") from error
