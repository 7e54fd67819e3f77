"""The address of a Milvus, as `--vectors` gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from indexer.errors import LibraryError

FORMS = "milvus://[USER:PASSWORD@]HOST[:PORT]/NAME, milvus+tls:// for the same over TLS, or milvus+lite:///PATH/FILE.db"


@dataclass(frozen=True)
class Address:
    """A Milvus: `uri` for its client, `name`: prefix of the collections' names, `shown`: the address without
    secrets, for messages, `path`: the file of a Milvus Lite (else empty)."""

    uri: str
    token: str
    name: str
    shown: str
    path: Path

    @property
    def lite(self) -> bool:
        return self.path != Path()


def address_of(vectors: str) -> Address:
    """The address in `--vectors`. Raises LibraryError if it is not valid."""
    invalid = LibraryError(f"--vectors is {FORMS}.")
    try:
        parts = urlsplit(vectors)
        port = parts.port or 19530
    except ValueError as error:
        raise invalid from error
    if parts.scheme == "milvus+lite":
        path = Path(unquote(parts.netloc + parts.path)).expanduser().absolute()
        if path.suffix != ".db":
            raise invalid
        return Address(str(path), "", "sightline", str(path), path)
    name = parts.path.strip("/")
    if parts.scheme not in ("milvus", "milvus+tls") or not parts.hostname or not name:
        raise invalid
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", name):
        raise LibraryError(f"The name in --vectors has letters, digits and underscores only, not {name!r}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    token = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    protocol = "https" if parts.scheme == "milvus+tls" else "http"
    return Address(f"{protocol}://{host}:{port}", token, name, f"{host}:{port}", Path())
