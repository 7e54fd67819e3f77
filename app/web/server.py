"""The web server: our routes at once, and Gradio as soon as it is imported.

Importing Gradio takes seconds, so `/` first answers with our page alone. Gradio is imported in a thread and mounted
last; from then on `/` is the Gradio application with our page inside one gr.HTML, and an open page takes Gradio in
without a reload (static/upgrade.js). Every request passes `app.web.guard.Guard` first.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app import __version__, speech_status
from app.web import (
    albums,
    api,
    archive,
    browsing,
    duplicates,
    file_manager,
    info,
    listener,
    media,
    pages,
    serving,
    settings,
    url_fetch,
)
from app.web.audit import AuditLog
from app.web.guard import Guard, is_loopback, page_policy
from app.web.model_fetch import Fetch, ModelFetch
from app.web.scoped_library import ScopedLibrary
from app.web.search_lane import SearchLane
from app.web.search_process import SearchProcess
from app.web.services import WebServices
from app.web.tokens import OWNER, Tokens, cookie_key, is_stored, owner_token, visitor
from app.web.url_fetch_lane import UrlFetch, UrlFetchLane
from app.web.yielding_import import yielding_imports
from indexer.library import Library

log = logging.getLogger("sightline")

STATIC = Path(__file__).parents[1] / "static"
PAINT_FIRST_S = 1.0
"""Gradio's import begins with the first request for the status (the page has painted), or this long after start."""


class GradioDoor:
    """The ASGI application at `/`: our page alone until Gradio is ready, then Gradio with our page inside."""

    def __init__(self, build: Callable[[], FastAPI] | None) -> None:
        self._build = build
        self._inner: FastAPI | None = None
        self._ready = asyncio.Event()
        self._begin = threading.Event()
        self.failed = self.is_awaited = False

    @property
    def ready(self) -> bool:
        return self._inner is not None

    def begin(self) -> None:
        """Start the import now: the page has painted."""
        self._begin.set()

    async def run(self) -> None:
        """Import and build Gradio in a thread, then hold its lifespan open until cancelled."""
        if self._build is None:
            return
        await asyncio.to_thread(self._begin.wait, PAINT_FIRST_S)
        try:
            inner = await asyncio.to_thread(self._build)
            async with inner.router.lifespan_context(inner):
                self._inner = inner
                self._ready.set()
                await asyncio.Event().wait()
        except Exception:
            log.exception("Gradio could not be loaded; the page works without its settings view and API")
            self.failed = True
            self._ready.set()
        finally:
            self._inner = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        front = path == "/"
        if self._inner is None and not front and path.startswith(("/gradio_api", "/config")):
            self.is_awaited = True
            await self._ready.wait()  # an agent or gradio_client that comes early
        if self._inner is None:
            response: Response = _page(pages.without_gradio) if front else JSONResponse({"error": "Not found."}, 404)
            await response(scope, receive, send)
        elif front and scope["method"] in ("GET", "HEAD"):
            await self._front(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _front(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with Gradio's page, a nonce on its scripts and our page in front of it."""
        assert self._inner is not None
        headers = [pair for pair in scope["headers"] if pair[0].lower() != b"accept-encoding"]
        parts: list[bytes] = []
        status = 200

        async def collect(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._inner({**scope, "headers": headers}, receive, collect)
        markup = b"".join(parts).decode("utf-8")
        page = pages.without_gradio if status != 200 else lambda nonce: pages.within_gradio(markup, nonce)
        await _page(page)(scope, receive, send)


def _page(render: Callable[[str], str]) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    return HTMLResponse(
        render(nonce), headers={"content-security-policy": page_policy(nonce), "cache-control": "no-store"}
    )


def create_app(
    library: Library,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    names: Iterable[str] = (),
    gradio: bool = True,
    speech: str = "auto",
    fetch: Fetch | None = None,
    key: bytes | None = None,
    web: UrlFetch | None = None,
) -> FastAPI:
    """The whole application over an open `Library`.

    `names`: further host names of this server (behind a proxy). `gradio=False` leaves Gradio out. `speech`: the
    setting `--speech`. `fetch`: downloads a model's files; None: the page offers no downloads. `web`:
    fetches by address for the owner; None: the server fetches nothing.
    `key`: of the cookies and tickets; None: the one stored in the library's folder.
    """
    names = tuple(names)
    tokens = Tokens(library.data_dir)
    scoped = ScopedLibrary(library, tokens)

    def give_way(longest_s: float) -> None:
        if not door.is_awaited:
            library.give_way(longest_s)

    def build_gradio() -> FastAPI:
        with yielding_imports(give_way):
            return _build_gradio(services, host, port)

    door = GradioDoor(build_gradio if gradio else None)

    def gradio_ready() -> bool:
        door.begin()  # only a page that has painted requests the status
        return door.ready or door.failed or not gradio

    chosen = library.choices()["speech"] if speech == "auto" else speech
    services = WebServices(
        scoped, tokens, AuditLog(library.data_dir, tokens), speech_status.line(chosen), gradio_ready, ModelFetch(fetch),
        UrlFetchLane(web), SearchLane(before_indexing=library.before_indexing, elsewhere=SearchProcess.of(library)),
        local=is_loopback(host) and not names,
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(door.run())
        try:
            yield
        finally:
            door.begin()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            services.close()

    app = FastAPI(
        title="Sightline", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Search your own images, videos and PDFs by meaning.",
    )  # fmt: skip
    app.state.services, app.state.door = services, door
    api.error_answers(app)

    @app.exception_handler(media.Gone)
    def gone(request: Request, error: media.Gone) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
            policy = {"content-security-policy": pages.SENTENCE_POLICY}
            return HTMLResponse(pages.sentence("Not here any more", str(error)), 404, policy)
        return api.Json({"error": str(error)}, 404)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> JSONResponse:
        return JSONResponse({"ok": True})

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return _page(lambda nonce: pages.docs(app.openapi()))

    app.include_router(api.router)
    app.include_router(media.router)
    app.include_router(info.router)
    app.include_router(browsing.router)
    app.include_router(albums.router)
    app.include_router(archive.router)
    app.include_router(duplicates.router)
    app.include_router(file_manager.router)
    app.include_router(settings.router)
    app.include_router(url_fetch.router)
    app.mount("/ui", _Modules(directory=STATIC))
    app.mount("/", door)  # last: it answers all other paths
    app.add_middleware(
        Guard, token=token, host=host, port=port, names=names, tokens=tokens,
        cookie_key=key or cookie_key(library.data_dir),
    )  # fmt: skip
    return app


class _Modules(StaticFiles):
    """Our scripts and styles; a browser checks each time for a new version, so that versions never mix."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _build_gradio(services: WebServices, host: str, port: int) -> FastAPI:
    visitor.set(OWNER)  # in this thread only: there is no request yet
    from app.web import gradio_ui

    return gradio_ui.build(services, host=host, port=port)


def serve(
    library: Library,
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = True,
    token: str | None = None,
    names: Iterable[str] = (),
    speech: str = "auto",
    no_token: bool = False,
    fetch: Fetch | None = None,
    web: UrlFetch | None = None,
) -> None:
    """Serve the library until interrupted. Without `token`, the owner's token is the one stored in the library's
    folder. `no_token` lets every account of this machine in without one, unless others can reach the server (a host
    other than loopback, a proxy's name) or people have tokens.

    Raises AddressInUse if the port is taken.
    """
    names = tuple(names)
    is_set = token is not None
    if no_token and is_loopback(host) and not names and not Tokens(library.data_dir):
        token = None
    else:
        token = token or owner_token(library.data_dir)
    socket = listener.listen(host, port)
    port = socket.getsockname()[1]
    key = cookie_key(library.data_dir)
    app = create_app(
        library, token=token, host=host, port=port, names=names, speech=speech, fetch=fetch, key=key, web=web
    )
    address = f"{listener.origin(host, port)}/"
    print(f"Sightline is at {address}" + (f"?token={token}" if token else ""), file=sys.stderr, flush=True)
    if token and not is_set and not is_stored(token, library.data_dir):
        print(f"The token cannot be stored in {library.data_dir}: it holds for this run.", file=sys.stderr, flush=True)
    if open_browser:
        listener.open_page(address, key if token else None)
    with serving.noted(library.data_dir, address):
        listener.run(app, socket, graceful_s=2, behind_proxy=bool(names))
