"""Settings, read once: from options, `SIGHTLINE_*` variables, defaults. Handed down as plain arguments."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexer.types import LibraryOptions


class SettingsError(Exception):
    """A setting that cannot be used. `str(error)` is one sentence for a person."""


class Settings(BaseSettings):
    """Every setting there is; `--data-dir` is `SIGHTLINE_DATA_DIR`, and so on."""

    model_config = SettingsConfigDict(env_prefix="SIGHTLINE_", extra="forbid", protected_namespaces=())

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("sightline", appauthor=False))
    model: str = "lite"
    base: str | None = None
    dim: int | None = Field(default=None, ge=8)
    detail: str | None = None
    """How closely EmbeddingGemma 2 looks: `image=280,page=560,frame=140,frames=16`, or a part of it."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    nice: bool = True
    window: float = Field(default=30.0, ge=1.0)
    overlap: float = Field(default=0.0, ge=0.0)
    poll: bool = False
    ocr: Literal["off", "auto", "all"] = "auto"
    speech: str = "auto"
    """Who listens to videos: off, auto (the built-in listener, where it is installed), or a name."""
    catalogue: str | None = None
    """Where the catalogue is kept: the address of a PostgreSQL database; None: in the library's folder."""
    vectors: str | None = None
    """Where the vectors are indexed: the address of a Milvus; None: in the library's folder."""
    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=0, le=65535)
    token: str | None = None
    names: str = ""
    """Further host names that this server is reached by, with commas: behind a proxy, in a container."""
    model_token: str | None = None
    """For a model on another machine: `--model https://…`."""

    def library(self) -> LibraryOptions:
        """How these settings open a library."""
        same = self.model_dump(include={field.name for field in fields(LibraryOptions)})
        same["model_given"] = "model" in self.model_fields_set
        return LibraryOptions(**same, window_s=self.window, overlap_s=self.overlap)

    def host_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.names.replace(",", " ").split() if name)


def read(**given: Any) -> Settings:
    """Settings with the options `given` on top; an option of None was not given.

    Raises `SettingsError` that names the setting and what is wrong with it.
    """
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        option = f"--{name.replace('_', '-')} (or SIGHTLINE_{name.upper()})"
        raise SettingsError(f"{option}: {first['msg'].lower()}, not {first['input']!r}") from error
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
