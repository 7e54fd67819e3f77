"""Tokens of a served library: a name each, whether it may change the library, and which folders it sees.

Built around one file in the library's folder, `tokens.json`, which holds hashes and no token. It is no table of
the catalogue: no search can reach it, and a copy of the catalogue carries no rights to another machine. It
knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from indexer.errors import LibraryError

FILE = "tokens.json"
MARK = "tokens.made"
"""Lies beside FILE from the first token on: if FILE is lost, nobody has access, not everybody."""
OWNER_FILE = "owner-token"
KEY_FILE = "cookie-key"


def make_token() -> str:
    """A token that cannot be guessed, short enough to be pasted."""
    return secrets.token_urlsafe(24)


def owner_token(data_dir: Path) -> str:
    """The owner's token, made once and stored in the library's folder, where only its user can read it."""
    return _stored_secret(data_dir / OWNER_FILE)


def cookie_key(data_dir: Path) -> bytes:
    """The key that cookies are made with, stored beside it: cookies outlive the server."""
    return _stored_secret(data_dir / KEY_FILE).encode()


def is_stored(token: str, data_dir: Path) -> bool:
    """Whether the owner's token is stored, so that it stays valid after a restart."""
    return _read_secret(data_dir / OWNER_FILE) == token


def _read_secret(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8").strip()
    return ""


def _stored_secret(path: Path) -> str:
    """The secret in a file, which the first call writes; where nothing can be written, one for this run alone."""
    secret = _read_secret(path)
    if secret:
        return secret
    secret = make_token()
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(".part")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret)
        temporary.replace(path)
    return secret


@dataclass(frozen=True)
class Visitor:
    """The person behind a request. `roots`: the folders that the person sees; empty: all."""

    name: str
    may_index: bool = False
    roots: tuple[str, ...] = ()

    def sees(self, path: str | Path) -> bool:
        """Whether a file or folder is one of the roots or lies below one."""
        normal = os.path.normpath(path)
        return not self.roots or any(
            normal == root or normal.startswith(root.rstrip(os.sep) + os.sep) for root in self.roots
        )

    def reaches(self, path: Path) -> bool:
        """Whether a file that the visitor sees lies below one of the roots after all links are followed."""
        if not self.roots:
            return True
        return Visitor(self.name, roots=tuple(map(os.path.realpath, self.roots))).sees(os.path.realpath(path))


OWNER = Visitor("owner", may_index=True)
"""The person who started the server; without tokens, everybody on this machine."""

visitor: ContextVar[Visitor | None] = ContextVar("visitor", default=None)
"""The current request's visitor; set by `app.web.guard.Guard`."""


@dataclass(frozen=True)
class TokenRecord:
    """A stored token. SHA-256 is a sufficient hash of 192 random bits."""

    name: str
    sha256: str
    may_index: bool
    roots: tuple[str, ...]
    made_at: float

    @property
    def visitor(self) -> Visitor:
        return Visitor(self.name, self.may_index, self.roots)


class Tokens:
    """The tokens of one library; read again whenever a program has changed the file."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._records: dict[str, TokenRecord] = {}

    def list(self) -> list[TokenRecord]:
        """All tokens, oldest first. Raises LibraryError if the file is damaged; then nobody has access."""
        return sorted(self._read().values(), key=lambda record: record.made_at)

    def __bool__(self) -> bool:
        return bool(self._read())

    def current_visitor(self) -> Visitor:
        """The current request's visitor. Raises LibraryError outside a request, where access is denied as
        soon as any token exists."""
        caller = visitor.get()
        if caller is None and self:
            raise LibraryError("The visitor of this request is unknown; nothing is shown.")
        return caller or OWNER

    def find(self, token: str) -> Visitor | None:
        """The visitor of a token; None if it is unknown."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        record = self._read().get(digest)
        return record.visitor if record else None

    def add(self, name: str, *, may_index: bool, roots: tuple[str, ...]) -> str:
        """A new token, which is not stored. Raises LibraryError if the name is taken."""
        if any(record.name == name for record in self._read().values()):
            raise LibraryError(f"There is a token for {name} already: sightline token remove {name}")
        token = make_token()
        digest = hashlib.sha256(token.encode()).hexdigest()
        self._write({**self._records, digest: TokenRecord(name, digest, may_index, roots, time.time())})
        return token

    def remove(self, name: str) -> None:
        """Delete a token. Raises LibraryError if there is none of that name."""
        others = {digest: record for digest, record in self._read().items() if record.name != name}
        if len(others) == len(self._records):
            raise LibraryError(f"There is no token for {name}: sightline token list")
        self._write(others)

    def _read(self) -> dict[str, TokenRecord]:
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                mark = self._path.with_name(MARK)
                if self._records or mark.exists():
                    raise LibraryError(
                        f"{self._path} is lost: put it back, or delete {mark} to begin without tokens."
                    ) from None
                return self._records
            stamp = stat.st_mtime_ns, stat.st_size
            if stamp != self._stamp:
                try:
                    rows = json.loads(self._path.read_bytes())
                    records = [TokenRecord(**{**row, "roots": tuple(row["roots"])}) for row in rows]
                except (OSError, ValueError, TypeError, KeyError) as error:
                    sentence = f"{self._path} cannot be read ({error}): mend it, or delete it and {MARK} to begin anew."
                    raise LibraryError(sentence) from error
                self._stamp, self._records = stamp, {r.sha256: r for r in records}
                if records:
                    self._mark()
            return self._records

    def _write(self, records: dict[str, TokenRecord]) -> None:
        self._mark()
        temporary = self._path.with_suffix(".part")
        temporary.touch(0o600)
        temporary.write_text(json.dumps([asdict(record) for record in records.values()], indent=1))
        temporary.replace(self._path)

    def _mark(self) -> None:
        """Note that there are tokens; a library that cannot be written to keeps no note."""
        with contextlib.suppress(OSError):
            self._path.with_name(MARK).touch(0o600)
