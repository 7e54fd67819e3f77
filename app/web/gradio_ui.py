"""The Gradio application: the search page inside one gr.HTML, the settings view, the named API; our MCP server beside.

Built around `gr.Blocks`; the search page itself is app/static and uses the REST routes. Telemetry, history and file
routes are switched off here and closed in app/web/guard.py.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from fastapi import FastAPI

from app import __version__
from app.web import agent_tools
from app.web.guard import VISITOR
from app.web.listener import origin
from app.web.services import WebServices
from app.web.tokens import visitor
from indexer.types import SearchLibrary

ADOPT = (
    "import('/ui/app.js').then((page) => page.adopt(element.querySelector('[data-surface]')))"
    ".catch((error) => console.error(error));"
)

QUEUE_POLL_S = 0.1
"""Gradio polls its queue every millisecond, which costs 6 % of a core; no endpoint here uses the queue."""


def quiet_gradio() -> Any:
    """Import Gradio without telemetry, with a private temporary folder that goes at exit."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if "GRADIO_TEMP_DIR" not in os.environ:
        os.environ["GRADIO_TEMP_DIR"] = folder = tempfile.mkdtemp(prefix="sightline-gradio-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with _without_stubs():
        import gradio

    return gradio


class _WithoutStubs(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == "gradio.component_meta" else None
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _LoaderWithoutStubs(spec.loader.name, spec.loader.path)
        return spec


class _LoaderWithoutStubs(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module)["create_or_modify_pyi"] = lambda *_: None


@contextmanager
def _without_stubs() -> Iterator[None]:
    """`import gradio` writes no stub files for editors: for each component it parses the module's source twice and
    renders a template, 0.8 s of the 2.1 s of CPU that the import takes, and writes into the installed folder."""
    finder = _WithoutStubs()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def build(services: WebServices, *, host: str, port: int) -> FastAPI:
    """A FastAPI application with Gradio at its root and the MCP server. The caller runs its lifespan."""
    gradio = quiet_gradio()
    from app.web.mcp_server import McpServer

    page = blocks(gradio, services.library, origin(host, port))
    agents = McpServer(services, origin(host, port))
    application: FastAPI = gradio.mount_gradio_app(
        FastAPI(openapi_url=None, docs_url=None, redoc_url=None, routes=agents.routes, lifespan=agents.lifespan),
        page,
        path="/",
        theme=theme(gradio),
        ssr_mode=False,
        mcp_server=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        allowed_paths=[],
        show_error=False,
        pwa=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = QUEUE_POLL_S
    return application


def theme(gr: Any) -> Any:
    """The page's colours and the system's fonts for Gradio's components: no font is fetched."""
    font = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_lg,
        font=font,
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
    ).set(
        body_background_fill="#faf9f7",
        body_background_fill_dark="#151518",
        button_primary_background_fill="#0b665c",
        button_primary_background_fill_hover="#0d786c",
        button_primary_background_fill_dark="#0b665c",
        button_primary_text_color="#ffffff",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1f1f24",
    )


def blocks(gr: Any, library: SearchLibrary, origin: str) -> Any:
    """The page and its endpoints."""
    with gr.Blocks(title="Sightline", analytics_enabled=False) as page:
        gr.HTML(
            value="",
            html_template="<div data-surface></div>",
            js_on_load=ADOPT,
            apply_default_css=False,
            elem_id="surface",
        )
        with gr.Column(elem_id="settings"):
            _settings(gr, origin)
        for tool in agent_tools.tools(library, origin):
            gr.api(_for_visitor(tool), api_name=tool.__name__, queue=False)
    return page


def _for_visitor(tool: Callable[..., str]) -> Callable[..., str]:
    """The tool, run as the request's visitor: Gradio answers in a task of its own."""

    @functools.wraps(tool)
    def run(*args: Any, **kwargs: Any) -> str:
        from gradio.context import LocalContext

        request: Any = LocalContext.request.get(None)
        request = getattr(request, "request", None)
        previous = visitor.set(request.scope.get(VISITOR) if request is not None else None)
        try:
            return tool(*args, **kwargs)
        finally:
            visitor.reset(previous)

    return run


def _settings(gr: Any, origin: str) -> None:
    """Below the page's settings: how other programs use the library."""
    gr.Markdown("## From other programs\nThe same search for scripts, notebooks and agents.")
    with gr.Tab("Agents (MCP)"):
        config = {"mcpServers": {"sightline": {"url": f"{origin}/gradio_api/mcp/"}}}
        gr.Code(json.dumps(config, indent=2), language="json", label="MCP client", interactive=False)
    with gr.Tab("Python"):
        gr.Code(
            "import json\nfrom gradio_client import Client\n\n"
            f'client = Client("{origin}")\n'
            'answer = json.loads(client.predict(text="a dog in snow", api_name="/search"))\n'
            'print([hit["path"] for hit in answer["hits"]])',
            language="python",
            label="gradio_client",
            interactive=False,
        )
    with gr.Tab("Shell"):
        gr.Code(
            f"curl -G {origin}/api/search --data-urlencode 'q=a dog in snow'\n"
            f"curl {origin}/api/search -F files=@photo.jpg -F q=sunset",
            language="shell",
            label="REST",
            interactive=False,
        )
    gr.Markdown(
        f"All routes: [{origin}/docs]({origin}/docs). Unless it runs with --no-token, Sightline"
        f" expects its token with each request: `Authorization: Bearer …`. Sightline {__version__}."
    )
