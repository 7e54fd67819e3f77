"""The guard in front of every route: visitors, hosts, origins, body sizes, security headers.

Built around one pure ASGI class, `Guard`, so that every request (to our routes, to Gradio, to the MCP server)
passes it. It knows nothing of libraries or searches. docs/security.md lists the attacks that the tests try.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import nullcontext
from typing import Any
from urllib.parse import urlsplit

from app.web.bodies import (
    MAX_VALUES,
    MIB,
    BodyMemory,
    BodyTooLarge,
    MemoryFull,
    Message,
    Receive,
    bounded,
    has_too_many_values,
    read_whole,
    replayed,
)
from app.web.file_arguments import names_a_file
from app.web.sign_in import SignIn
from app.web.tokens import OWNER, Tokens, Visitor, visitor
from indexer.errors import LibraryError

log = logging.getLogger("sightline")

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOAD_LIMIT = 256 * MIB
"""Bytes of all files of one query. A longer clip is better searched by a cut of it."""
BODY_LIMIT = 32 * MIB
"""Bytes of JSON to Gradio, with a file as base64 text; with one wide character the text takes four times as much."""
FIELDS_LIMIT = MIB
"""Bytes of a body without files to one of our routes."""
BODIES_IN_MEMORY = 3
"""How many of the largest bodies are in memory at once; smaller ones count with their length."""

GRADIO_ROUTES = (
    "api/",
    "call/",
    "cancel",
    "heartbeat/",
    "info",
    "mcp",
    "openapi.json",
    "queue/",
    "reset",
    "run/",
    "startup-events",
    "theme.css",
)
"""Routes below /gradio_api that Gradio's components, its client and MCP need. Its file, proxy, upload, stream,
run-history, monitoring and code-editing routes answer 404: `file=` and `proxy=` let a visitor make the server
fetch addresses."""

VISITOR = "sightline.visitor"
"""The key of a request's scope that holds its visitor."""

FORWARDED = frozenset(("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"))
"""Headers that a proxy adds. Without a token, everybody behind the proxy would be the owner."""

CLOSED_AT_THE_ROOT = ("login", "logout", "svelte", "monitoring", "deep_link", "custom_component")


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def page_policy(nonce: str) -> str:
    """The Content-Security-Policy of our page. Gradio's gr.HTML does not run without 'unsafe-eval'."""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "frame-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'self'",
            "object-src 'none'",
        )
    )


class Guard:
    """ASGI middleware: refuses foreign hosts, origins and visitors; bounds bodies; sets security headers.

    `token` is the owner's (None: the owner needs none), `tokens` are other people's: as soon as there is one,
    every visitor needs one. `names` are further host names, beside loopback's and, if the server listens on the
    network, this machine's. The port of a Host is not compared: a tunnel may change it, and DNS rebinding needs
    a foreign *name*. `cookie_key` is that of `SignIn`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        host: str,
        port: int,
        names: Iterable[str] = (),
        body_limit: int = BODY_LIMIT,
        tokens: Tokens | None = None,
        cookie_key: bytes | None = None,
    ) -> None:
        self.app, self.body_limit = app, body_limit
        self.memory = BodyMemory(BODIES_IN_MEMORY * body_limit)
        self.sign_in = SignIn(token=token, tokens=tokens, port=port, cookie_key=cookie_key)
        self.names = {"localhost", *(name.lower() for name in names)}
        self.any_address = not is_loopback(host)
        if self.any_address:
            own = socket.gethostname().lower()
            self.names |= {own, own.split(".")[0], f"{own.split('.')[0]}.local", host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no route of ours or Gradio's speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        try:
            caller = self._admit(scope, headers)
        except LibraryError as error:
            log.error("%s", error)
            caller = 503, "The tokens of this library cannot be read; its log says why."
        if not isinstance(caller, Visitor):
            await _answer(send, *caller)
            return
        limit = self._limit(scope["path"], headers)
        size = int(headers.get("content-length") or (limit if "transfer-encoding" in headers else 0))
        if size > limit:
            await _answer(send, 413, str(BodyTooLarge(limit)))
            return
        visitor.set(caller)
        scope[VISITOR] = caller  # for Gradio, which answers in a task of its own
        receive, send = bounded(receive, limit), _with_headers(send)
        try:
            with self.memory.of(size) if limit == self.body_limit else nullcontext():
                await self._pass_on(scope, receive, send)
        except MemoryFull as error:
            await _answer(send, 503, str(error), {"retry-after": "1"})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the application; one to Gradio after a look at its body."""
        if scope["path"].startswith("/gradio_api/") and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            try:
                body = await read_whole(receive)
            except BodyTooLarge as error:
                await _answer(send, 413, str(error))
                return
            if has_too_many_values(body):
                await _answer(send, 422, f"That is more than {MAX_VALUES:,} values.")
                return
            if await asyncio.to_thread(names_a_file, body):
                await _answer(send, 400, "This server fetches nothing: send the bytes of the file as base64 text.")
                return
            receive = replayed(body, receive)
            del body
        await self.app(scope, receive, send)

    def _limit(self, path: str, headers: dict[str, str]) -> int:
        """The most bytes of a body. Files of a form go to the disk as they come; all else is read into memory."""
        if path == "/api/search" and headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return UPLOAD_LIMIT
        return min(FIELDS_LIMIT, self.body_limit) if path.startswith("/api/") else self.body_limit

    def _admit(self, scope: Scope, headers: dict[str, str]) -> Visitor | tuple[Any, ...]:
        """The request's visitor; or (status, sentence, extra headers) if the request is refused."""
        path, method = scope["path"], scope["method"]
        host = headers.get("host", "")
        if not self._is_served(host):
            return 421, "This address is not served here. Open Sightline by the address it printed."
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return 403, "Requests from other websites are refused."
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        visit = mode == "navigate" and method == "GET" and headers.get("sec-fetch-dest") == "document"
        if site in ("cross-site", "same-site") and not visit:
            return 403, "Requests from other websites are refused."
        length = headers.get("content-length")
        if length is not None and not length.isdigit():
            return 400, "Content-Length is not a number."
        if _closed(path):
            return 404, "There is nothing here."
        if path == "/healthz":
            return OWNER
        if not self.sign_in.is_needed:
            if headers.keys() & FORWARDED:
                return (403, "A proxy stands in front: start this server with --name and the proxy's host name.")
            return OWNER
        caller = self.sign_in.visitor_of(scope, headers, method == "GET" and mode in ("navigate", None))
        if not isinstance(caller, Visitor):
            return *caller, caller[0] == 401 and "text/html" in headers.get("accept", "")
        if not caller.may_index and _changes(method, path):
            return 403, f"The token of {caller.name} may search and open, not change anything."
        return caller

    def _is_served(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return address.is_loopback or self.any_address


def _changes(method: str, path: str) -> bool:
    """Whether a request changes the library, or lists folders outside it. Gradio's endpoints do neither."""
    if path == "/api/browse":
        return True
    if method in ("GET", "HEAD", "OPTIONS") or not path.startswith("/api/"):
        return False
    return path not in ("/api/search", "/api/zip", "/api/reel")


def _closed(path: str) -> bool:
    parts = path.lstrip("/").split("/", 1)
    if parts[0] in CLOSED_AT_THE_ROOT:
        return True
    if parts[0] != "gradio_api":
        return False
    rest = parts[1] if len(parts) > 1 else ""
    return not any(rest == route.rstrip("/") or rest.startswith(route.rstrip("/") + "/") for route in GRADIO_ROUTES)


def _with_headers(send: Send) -> Send:
    """`send` that adds the security headers which an answer lacks."""
    defaults = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"x-frame-options", b"SAMEORIGIN"),
    )

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(key.lower(), value) for key, value in message.get("headers", ())]
            # Gradio's CORS headers would let other websites read the answer.
            headers = [pair for pair in headers if not pair[0].startswith(b"access-control-allow")]
            present = {key for key, _ in headers}
            headers += [pair for pair in defaults if pair[0] not in present]
            kind = dict(headers).get(b"content-type", b"")
            if b"content-security-policy" not in present and not kind.startswith(b"application/pdf"):
                # Pages set their own policy; no other answer may run or load anything. The page reads the sentence of a
                # failed download in a frame.
                headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'self'"))
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


_TOKEN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sightline: token</title>
<meta name="viewport" content="width=device-width"><style>:root{{color-scheme:light dark}}
*{{box-sizing:border-box}}
body{{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:0;display:grid;place-content:center;
min-height:100vh;padding:1rem;background:light-dark(#faf9f7,#151518);color:light-dark(#1d1c21,#ecebf0)}}
main{{width:min(26rem,calc(100vw - 2rem));padding:1.6rem;border-radius:18px;background:light-dark(#fff,#1f1f24);
border:1px solid light-dark(#e3e1e6,#35343c);box-shadow:0 6px 20px rgb(20 18 30/9%)}}
.mark{{margin:0 0 .9rem;font-weight:700;letter-spacing:-.02em;color:light-dark(#0b665c,#5fd3c2)}}
h1{{font-size:1.25rem;letter-spacing:-.01em;margin:0 0 .3rem}}p{{margin:0 0 1rem;color:light-dark(#5f5d68,#a5a3af)}}
form{{display:flex;flex-wrap:wrap;gap:.6rem;align-items:end}}label{{flex:1 1 12rem;font-weight:600}}
input,button{{font:inherit;min-height:44px;padding:.5em .9em;border-radius:12px;
border:1px solid light-dark(#8d8b95,#6d6b76)}}
input{{display:block;width:100%;margin-top:.3rem;background:none;color:inherit}}
button{{border:0;font-weight:600;background:light-dark(#0b665c,#5fd3c2);color:light-dark(#fff,#06231f);
cursor:pointer}}
:focus-visible{{outline:2.5px solid light-dark(#0b665c,#5fd3c2);outline-offset:2px}}</style>
<main><p class="mark">Sightline</p><h1>This library needs a token</h1>
<p>{sentence} It was printed where Sightline was started.</p>
<form action="/" method="get"><label>Token <input name="token" type="password" autofocus
autocomplete="current-password"></label> <button>Open</button></form></main></html>"""


async def _answer(
    send: Send, status: int, sentence: str, extra: dict[str, str] | None = None, page: bool = False
) -> None:
    """Send a sentence as JSON, or in a page with a field for the token."""
    kind, body = "application/json", json.dumps({"error": sentence}).encode()
    if page:
        kind, body = "text/html; charset=utf-8", _TOKEN_PAGE.format(sentence=html.escape(sentence)).encode()
    headers = {
        "content-type": kind,
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
        " frame-ancestors 'none'",
        **(extra or {}),
    }
    raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
