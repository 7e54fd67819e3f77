"""Signing in: the owner's token, the tokens of other people, and the cookie that a visit with a token leaves.

Built around `SignIn`. A cookie is an HMAC of the hash of a token and the port of the server: it is not the token, it
holds at one port, and it ends with its token. It knows nothing of hosts, origins or what a visitor may do.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from cachetools import TTLCache

from app.web.tokens import OWNER, Tokens, Visitor

GUESSES, GUESS_S = 20, 60
"""Wrong tokens that a client's address may send in this many seconds; after them no token of it is looked at for as
long, only cookies."""
ADDRESSES = 4096
"""Client addresses whose wrong tokens are counted at once."""

TICKET_S = 60
"""A ticket that no browser has used is void after so many seconds."""

Refusal = tuple[int, str, dict[str, str]]
"""Status, sentence and headers of an answer that lets nobody in."""


class SignIn:
    """Finds the visitor of a request. `token` is the owner's. `cookie_key` signs cookies and tickets; without one,
    cookies end with the server and there are no tickets (`make_ticket`)."""

    def __init__(self, *, token: str | None, tokens: Tokens | None, port: int, cookie_key: bytes | None) -> None:
        self._token, self._tokens = token, tokens
        self._port, self._cookie_key = port, cookie_key or secrets.token_bytes(32)
        self._cookie_name = f"sightline-{port}"  # browsers send a host's cookies to all its ports
        self._used: TTLCache[str, bool] = TTLCache(ADDRESSES, 2 * TICKET_S)
        self._wrong: TTLCache[str, int] = TTLCache(ADDRESSES, GUESS_S)

    @property
    def is_needed(self) -> bool:
        """Whether visitors need a token. Raises LibraryError if the file of tokens is lost or damaged."""
        return bool(self._tokens) or self._token is not None

    def visitor_of(self, scope: MutableMapping[str, Any], headers: dict[str, str], is_visit: bool) -> Visitor | Refusal:
        """The visitor by bearer token or cookie. A visit by an address with `?token=` is redirected to the address
        without it; the answer sets the cookie."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        addressed = [value for key, value in query if key == "token" and value] if is_visit else []
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        by_cookie = self._by_cookie(_cookie(headers.get("cookie", ""), self._cookie_name))
        if by_cookie and not addressed:
            return by_cookie
        if bearer or addressed:
            address = (scope.get("client") or ("",))[0]
            if self._wrong.get(address, 0) >= GUESSES:
                return 429, f"Too many wrong tokens from {address}; wait a minute.", {"retry-after": str(GUESS_S)}
            if bearer and (visitor := self._by_token(bearer)):
                return visitor
            cookie = next(filter(None, map(self._cookie_of, addressed)), None)
            if cookie or by_cookie:
                return 303, "", self._without_token(scope["path"], query, cookie, headers)
            self._wrong[address] = self._wrong.get(address, 0) + 1
        return 401, "The token is missing or wrong.", {"www-authenticate": "Bearer"}

    def _without_token(
        self, path: str, query: list[tuple[str, str]], cookie: str | None, headers: dict[str, str]
    ) -> dict[str, str]:
        """Headers that redirect to the same page of this site without the token, and that set the cookie."""
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        # Browsers take a backslash for a slash, and two slashes at the front for another host.
        target = {"location": "/" + quote(path.lstrip("/\\"), safe="/") + (f"?{rest}" if rest else "")}
        if cookie is None:
            return target
        secure = "; Secure" if headers.get("x-forwarded-proto", "").lower() == "https" else ""
        attributes = f"Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000{secure}"
        return target | {"set-cookie": f"{self._cookie_name}={cookie}; {attributes}"}

    def _by_token(self, token: str) -> Visitor | None:
        if self._token is not None and _equal(token, self._token):
            return OWNER
        return self._tokens.find(token) if self._tokens else None

    def _by_cookie(self, cookie: str) -> Visitor | None:
        if not cookie:
            return None
        if self._token is not None and _equal(cookie, self._signed(_digest(self._token))):
            return OWNER
        records = self._tokens.list() if self._tokens else []
        return next((record.visitor for record in records if _equal(cookie, self._signed(record.sha256))), None)

    def _cookie_of(self, token: str) -> str | None:
        """The cookie of a valid token or of a ticket, which is then void; None if it is neither."""
        if self._token is not None and self._is_ticket(token):
            self._used[token], token = True, self._token
        return self._signed(_digest(token)) if self._by_token(token) else None

    def _is_ticket(self, token: str) -> bool:
        issued = token.partition(".")[0]
        is_fresh = issued.isdecimal() and len(issued) < 12 and 0 <= time.time() - int(issued) <= TICKET_S
        return is_fresh and token not in self._used and _is_signed_ticket(token, self._cookie_key, self._port)

    def _signed(self, digest: str) -> str:
        return hmac.new(self._cookie_key, f"{digest}:{self._port}".encode(), "sha256").hexdigest()


def make_ticket(cookie_key: bytes, port: int) -> str:
    """Returns a ticket, which lets the owner in once: for the address that a browser is opened with, as other
    accounts of the machine can read the arguments of a browser."""
    nonce = f"{int(time.time())}.{secrets.token_urlsafe(12)}"
    return f"{nonce}.{_ticket_signature(nonce, cookie_key, port)}"


def _is_signed_ticket(ticket: str, cookie_key: bytes, port: int) -> bool:
    nonce, _, signature = ticket.rpartition(".")
    return _equal(signature, _ticket_signature(nonce, cookie_key, port))


def _ticket_signature(nonce: str, cookie_key: bytes, port: int) -> str:
    return hmac.new(cookie_key, f"ticket:{nonce}:{port}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
