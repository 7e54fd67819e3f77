"""The HTML that the server sends: the page without and within Gradio, the API page, a sentence.

Built around one element, `SURFACE`, in which static/app.js mounts itself before anything else has loaded. Of
Gradio's index page it uses `<script`, `</head>` and `<gradio-app` only.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

MODULES = (
    "albums", "api", "app", "card", "chips", "closer-look", "combobox", "controls", "dom", "duplicates", "filters",
    "format", "grid", "help", "info", "library", "map", "progress", "results", "selection", "settings",
    "state", "suggest", "timeline", "transcript", "upgrade", "url-question", "viewer", "viewer-image", "viewer-pdf",
    "viewer-video", "warm",
)  # fmt: skip
"""Modules that the browser loads at once, not one after another as it reads the imports."""

_HEAD = """<title>Sightline</title>
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{icon}" type="image/svg+xml">
<link rel="stylesheet" href="/ui/page.css">
<link rel="preload" href="/ui/sightline.css" as="style">
{modules}
<script type="module" nonce="{nonce}" src="/ui/app.js"></script>
"""

ICON = "data:image/svg+xml," + quote((Path(__file__).parents[1] / "static" / "icon.svg").read_text().strip())
"""Part of the page: browsers would fetch a file again with each entry of the history, beside the search."""

SURFACE = '<div id="sightline"></div>'

_ALONE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}</head>
<body>
{surface}
<noscript>Sightline needs JavaScript. The command line does not: sightline search "a dog in snow"</noscript>
</body>
</html>
"""


def _head(nonce: str) -> str:
    modules = "\n".join(f'<link rel="modulepreload" href="/ui/{name}.js">' for name in MODULES)
    return _HEAD.format(modules=modules, nonce=nonce, icon=ICON)


def without_gradio(nonce: str) -> str:
    """The page until Gradio is imported."""
    return _ALONE.format(head=_head(nonce), surface=SURFACE)


def within_gradio(markup: str, nonce: str) -> str:
    """Gradio's index page with our page in front and a nonce on every script."""
    markup = re.sub(r"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>", "", markup)
    markup = markup.replace('<link rel="manifest" href="/manifest.json" />', "")
    markup = re.sub(r"<title>.*?</title>", "", markup, flags=re.S)
    markup = re.sub(r"<script(?=[\s>])", f'<script nonce="{nonce}"', markup)
    markup = markup.replace("</head>", _head(nonce) + "</head>", 1)
    return markup.replace("<gradio-app", SURFACE + "<gradio-app", 1)


def docs(document: dict[str, Any]) -> str:
    """Every route of an OpenAPI document. FastAPI's own page loads scripts from a content network."""
    whole, gradio = (f'<a href="/{path}">{path}</a>' for path in ("openapi.json", "gradio_api/openapi.json"))
    about = html.escape(document["info"]["description"])
    routes = [
        _route(method, path, route) for path, methods in document["paths"].items() for method, route in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sightline API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{ICON}"><link rel="stylesheet" href="/ui/docs.css"></head>'
        f'<body><main id="docs"><h1>Sightline API</h1><p>{about} The whole description is {whole}; the named Gradio'
        f" endpoints are in {gradio}, the MCP server is at /gradio_api/mcp/.</p>{''.join(routes)}</main></body></html>"
    )


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    form = route.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
    fields = [{"name": name, "in": "form", **field} for name, field in form.get("properties", {}).items()]
    rows = []
    for parameter in (*route.get("parameters", ()), *fields):
        schema = parameter.get("schema", {})
        words = parameter.get("description") or schema.get("description") or ""
        preset = f" (default: {schema['default']})" if schema.get("default") else ""
        cells = (parameter["name"], parameter["in"], words + preset)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    about = html.escape(route.get("description") or route.get("summary") or "")
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    return f"<h2><b>{method.upper()}</b> {html.escape(path)}</h2><p>{about}</p>{table}"


SENTENCE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def sentence(title: str, text: str) -> str:
    """A page with a title, one sentence and a link to the search."""
    text = text.encode("utf-8", "replace").decode()  # file names can hold any bytes
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;"
        "place-content:center;min-height:90vh;padding:1rem;max-width:40rem;margin:auto;"
        "background:light-dark(#faf9f7,#151518);color:light-dark(#1d1c21,#ecebf0)}a{color:light-dark(#0b665c,#5fd3c2)}</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1><p>{html.escape(text)}</p>"
        '<p><a href="/">Search the library</a></p></main></body></html>'
    )
