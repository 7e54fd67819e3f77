"""Settings, read once from options, `SIGHTLINE_*` variables and defaults, and passed on as plain arguments."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.data_dir import user_data_dir
from indexer.types import LibraryOptions


class SettingsError(Exception):
    """A setting that cannot be used. `str(error)` is one sentence for a person."""


class Settings(BaseSettings):
    """All settings. `--data-dir` is `SIGHTLINE_DATA_DIR`, and so on."""

    model_config = SettingsConfigDict(env_prefix="SIGHTLINE_", extra="forbid", protected_namespaces=())

    data_dir: Path = Field(default_factory=user_data_dir)
    model: str = "lite"
    base: str | None = None
    dim: int | None = Field(default=None, ge=8)
    detail: str | None = None
    """EmbeddingGemma 2's tokens per image and frames: `image=280,page=560,frame=140,frames=16`, or a part of it."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    nice: bool = True
    window: float = Field(default=30.0, ge=1.0)
    overlap: float = Field(default=0.0, ge=0.0)
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
    port: int = Field(default=7860, ge=0, le=65535)
    token: str | None = None
    names: str = ""
    """Further host names of this server, with commas: behind a proxy, in a container."""
    web: bool = False
    """The owner's page fetches an address that is typed into the search box, after asking."""
    web_networks: str = ""
    """Private networks that a fetch by address may reach, with commas: 192.168.1.0/24."""
    model_token: str | None = None
    """For a model on another machine: `--model https://…`."""

    def library(self) -> LibraryOptions:
        """These settings as the options of a library."""
        options = self.model_dump(include={field.name for field in fields(LibraryOptions)})
        options["explicit_model"] = "model" in self.model_fields_set
        return LibraryOptions(**options, window_s=self.window, overlap_s=self.overlap)

    @field_validator("web_networks")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for network in value.replace(",", " ").split():
            ip_network(network, strict=False)
        return value

    def host_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.names.replace(",", " ").split() if name)


def read(**options: Any) -> Settings:
    """The settings; `options` that are not None come before variables and defaults.

    Raises `SettingsError`, which names the setting and the problem.
    """
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
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
