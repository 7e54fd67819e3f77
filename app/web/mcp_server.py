"""The MCP server: the library as tools for agents, at /gradio_api/mcp.

Built around the low-level server of the package `mcp` and one table of tools; the queries are those of the REST routes
(`build_query`). Gradio's own MCP server takes the first line of a description alone, has neither instructions nor
pictures, and calls an error an answer. It knows nothing of how an answer is found.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from app import __version__
from app.web import captions
from app.web.agent_tools import KNOWN_ERRORS, search_query, text_of
from app.web.api import MAX_MOMENTS
from app.web.guard import BODY_LIMIT, VISITOR
from app.web.media import Gone, open_file
from app.web.render import frames_webp, image_webp, page_webp
from app.web.requests import MAX_ID, MAX_OFFSET, BadRequest, build_query, upload_folder
from app.web.search_lane import Busy
from app.web.services import WebServices
from app.web.tokens import visitor
from indexer.types import MARK, UNMARK, Answer, ChunkInfo, Hit, Moment, Query

PATH = "/gradio_api/mcp"
MOST = 50
"""Hits in one answer: an agent reads them all."""
PICTURES, SIDE = 8, 1024
"""Pictures in one answer, and the longest side of one that is shown, in pixels."""
MOST_S = 1e9
"""The largest second of a video that can be asked for."""
LONGEST_TEXT = 20_000
"""Characters of one chunk's text."""

INSTRUCTIONS = """Sightline searches this person's own images, videos and PDFs on their machine. Every tool only reads.

Begin with `search`: plain words for what is shown, written or said, and filters typed among the words (taken:2024-03
near:Lisbon camera:pixel person:Anna type:pdf in:Invoices label:dog album:Trips longer:5m). A hit is an image, a page of
a PDF or a stretch of a video; `chunk_id` names it for the other tools, `file_id` its file. `read` gives the whole text
of a hit and all that is known of its file, `transcript` what is said in a video, `moments` the second at which
something happens, `show` the picture itself: look at it before you describe it. `vocabulary` lists the values that
filters have here, `timeline` counts by month, `places` by place.

Search answers only with hits that match (above the line of relevance). No hits: nothing in the library stands out for
the words, or it is not read yet, which `unread` and `notice` say. Quote paths and `open_url`, which opens the hit, in
answers to the person. Dates are ISO 8601, as the clock showed where it was taken; `taken_from` "file" means the file
system's date, which often is that of a copy."""


@dataclass(frozen=True)
class Tool:
    """`arguments`: JSON schema by name; those in `required` have no default. `gives`: JSON schema by key."""

    name: str
    title: str
    description: str
    arguments: dict[str, Any]
    gives: dict[str, Any]
    required: tuple[str, ...] = ()

    def declaration(self) -> types.Tool:
        schema = {"type": "object", "properties": self.arguments, "additionalProperties": False}
        return types.Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            inputSchema=schema | ({"required": list(self.required)} if self.required else {}),
            outputSchema={"type": "object", "properties": self.gives, "required": list(self.gives)[:1]},
            annotations=types.ToolAnnotations(
                title=self.title, readOnlyHint=True, destructiveHint=False, idempotentHint=True, openWorldHint=False
            ),
        )


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "default": "", "description": description}


def _whole(description: str, default: int | None, low: int, high: int) -> dict[str, Any]:
    own = {} if default is None else {"default": default}
    return {"type": "integer", "minimum": low, "maximum": high, "description": description, **own}


def _list(description: str, **items: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", **items}, "default": [], "description": description}


def _flag(description: str) -> dict[str, Any]:
    return {"type": "boolean", "default": False, "description": description}


def _of(kind: str, description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


CHUNK = _whole("The chunk_id of a hit.", None, 0, MAX_ID)
FILE = _whole("The file_id of a hit.", None, 0, MAX_ID)
FILTERS = {
    "kinds": _list("Only these kinds; empty means all.", enum=["image", "video", "pdf"]),
    "under": _text("Only files below this folder, by its whole path."),
    "after": _text("Only files taken on or after this date: 2024, 2024-06 or 2024-06-01."),
    "before": _text("Only files taken before this date."),
    "labels": _list("Only chunks with all of these labels; `vocabulary` lists them."),
}
BELOW = _flag("Also hits below the line of relevance, marked `relevant: false`: near misses, seldom what is meant.")
SHOWN = _whole("How many of the first hits come with a small picture as image content.", 0, 0, PICTURES)
LIMIT = _whole("How many hits.", 10, 1, MOST)
HITS = {
    "hits": _of("array", "Best first: path, title, kind, page or start_s and end_s, taken, snippet, open_url, ids."),
    "matches": _of("integer", "How many hits match, on all pages of the answer."),
    "at_least": _of("boolean", "More may match than `matches` counts."),
    "facets": _of("object", "The matches by kind, folder, year, length and label."),
    "unread": _of("object", "How many files of each kind are not read yet; empty if all are."),
    "notice": _of("string", "Why something is missing, as a sentence; left out if nothing is."),
}
TOOLS = (
    Tool(
        "search",
        "Search the library",
        "Search the person's own images, videos and PDFs by meaning, words and filters. Without words or a file, all"
        " that passes the filters, newest first. For a count, ask for one hit and read `matches` and `facets`.",
        {
            "text": _text(
                "What to look for, in plain words: what is shown, written or said. “Quoted words” must be there, -word"
                " must not. Filters can be typed too: taken:2023-07 near:Lisbon camera:pixel person:Anna type:pdf"
                " in:Invoices label:dog album:Trips longer:5m."
            ),
            "avoid": _text("Words for what hits should not show."),
            "file_base64": _text("An image, a video clip or a PDF to look for, as base64 or as a data: URI."),
            **FILTERS,
            "sort": {
                "type": "string",
                "enum": ["relevance", "date"],
                "default": "relevance",
                "description": "Best first, or newest first among what matches.",
            },
            "one_per_file": _flag(
                "One hit per file: its best page or moment, with the number of the others as `folded`."
            ),
            "below_the_line": BELOW,
            "pictures": SHOWN,
            "k": LIMIT,
            "offset": _whole("How many hits to skip, for further pages.", 0, 0, MAX_OFFSET),
        },
        HITS,
    ),
    Tool(
        "similar",
        "Find what resembles a hit",
        "Find images, pages and stretches of video that look like a hit of an earlier search.",
        {"chunk_id": CHUNK, "below_the_line": BELOW, "pictures": SHOWN, "k": LIMIT},
        HITS,
        ("chunk_id",),
    ),
    Tool(
        "moments",
        "Find the second",
        "Find where in the person's videos something happens or is said, to the second.",
        {
            "text": _of("string", "What happens there, in plain words."),
            "file_id": _whole("The file_id of a hit, to look in that video only; 0 means all videos.", 0, 0, MAX_ID),
            "k": _whole("How many moments.", 5, 1, MAX_MOMENTS),
        },
        {"moments": _of("array", "Best first: path, start_s, end_s, at_s (where to look), open_url, ids.")},
        ("text",),
    ),
    Tool(
        "transcript",
        "Read what is said",
        "What is said in one video, line by line with its seconds, from its subtitles or by a speech model.",
        {
            "file_id": FILE,
            "start_s": {
                "type": "number",
                "minimum": 0,
                "maximum": MOST_S,
                "default": 0,
                "description": "From this second on.",
            },
            "end_s": {
                "type": "number",
                "minimum": 0,
                "maximum": MOST_S,
                "default": 0,
                "description": "Up to this second; 0 means to the end.",
            },
        },
        {
            "cues": _of("array", "start_s, end_s and text of each line."),
            "state": _of(
                "string",
                "transcribed or subtitles: `cues` is all that is said; pending: not heard to its end yet;"
                " failed: its sound cannot be read; none: it has no sound; unread: the video is not read yet;"
                " unreadable: it cannot be read.",
            ),
        },
        ("file_id",),
    ),
    Tool(
        "read",
        "Read a hit",
        "The whole text of a hit (a PDF page, words read in a picture, a caption, what is said in a stretch of video),"
        " and all that is known of its file: camera, place, people, albums, size, copies.",
        {
            "chunk_id": CHUNK,
            "page": _whole("Another page of the same PDF, from 1; 0 means the hit's own.", 0, 0, 1_000_000),
        },
        {
            "text": _of("string", "The text; empty if there is none or it is not read yet."),
            "text_is": _of("string", "caption, picture (a caption and the words read in it), page or speech."),
            "path": _of("string", "The file."),
        },
        ("chunk_id",),
    ),
    Tool(
        "show",
        "Look at a hit",
        "The picture itself as image content: the photo, the PDF page, or frames of the video at its seconds.",
        {
            "chunk_id": CHUNK,
            "at_s": {
                "type": "array",
                "items": {"type": "number", "minimum": 0, "maximum": MOST_S},
                "maxItems": PICTURES,
                "default": [],
                "description": "Seconds of the video whose frames are shown; empty means one in the middle of the hit.",
            },
            "page": _whole("Another page of the same PDF, from 1; 0 means the hit's own.", 0, 0, 1_000_000),
        },
        {"shown": _of("array", "What each picture is: page, or at_s.")},
        ("chunk_id",),
    ),
    Tool(
        "vocabulary",
        "List the filters' values",
        "For each filter (taken, near, camera, person, type, in, label, album) the values that this library has, with"
        " their numbers of files: which people, places, cameras, folders and albums there are.",
        {},
        {"values": _of("object", "filter -> list of [value, number].")},
    ),
    Tool(
        "timeline",
        "Count by month",
        "How many images, videos and PDFs each month has, newest first, among those that pass the filters.",
        {"text": _text("Filters as typed in a search, such as type:image near:Lisbon."), **FILTERS},
        {"months": _of("array", "month, count, and of_file: by the file system's date for want of another.")},
    ),
    Tool(
        "places",
        "Count by place",
        "Where what matches was taken, as clusters with the nearest town: of all files that pass the filters without"
        " words, else of the matches.",
        {"text": _text("Words and filters as in a search."), **FILTERS},
        {
            "clusters": _of("array", "town, lat, lon, count, and near: the value of the filter that finds them."),
            "placed": _of("integer", "How many say where they were taken,"),
            "total": _of("integer", "of how many."),
        },
    ),
    Tool(
        "status",
        "What the library holds",
        "Counts of files by kind, the folders, the model, and what is still to be read.",
        {},
        {"files": _of("integer", "Files in the library."), "notices": _of("array", "Sentences about its state.")},
    ),
)


@dataclass
class Content:
    """An answer: JSON for `structuredContent` and as text, and pictures as WebP."""

    answer: dict[str, Any]
    pictures: list[bytes] = field(default_factory=list)

    def result(self) -> types.CallToolResult:
        text = text_of(self.answer)
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=text)]
        for picture in self.pictures:
            data = base64.b64encode(picture).decode()
            content.append(types.ImageContent(type="image", data=data, mimeType="image/webp"))
        return types.CallToolResult(content=content, structuredContent=json.loads(text))


class Agents:
    """Answers the calls. `origin` is put before the links in answers."""

    def __init__(self, services: WebServices, origin: str) -> None:
        self._services, self._origin = services, origin

    async def call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        tool = next((tool for tool in TOOLS if tool.name == name), None)
        if tool is None:
            return _error(f"There is no tool {name!r}: there are {', '.join(tool.name for tool in TOOLS)}.")
        values = {key: schema["default"] for key, schema in tool.arguments.items() if "default" in schema} | arguments
        for key in values:
            if tool.arguments[key]["type"] == "integer":  # 3.0 is one, for JSON
                values[key] = int(values[key])
        method: Callable[..., Awaitable[Content]] = getattr(self, name)
        try:
            return (await method(**values)).result()
        except Busy:
            return _error("Too many searches wait; try again in a moment.")
        except (*KNOWN_ERRORS, Gone) as error:
            return _error(str(error))

    async def _run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A search, in the lane of searches."""
        return await self._services.lane.run(lambda: function(*args, **options))

    async def search(self, pictures: int, below_the_line: bool, k: int, offset: int, **asked: Any) -> Content:
        with upload_folder() as folder:
            query = search_query(folder, **asked)
            answer: Answer = await self._run(self._services.library.search, query, k=k, offset=offset)
        return await self._hits(answer, pictures, below_the_line)

    async def similar(self, chunk_id: int, pictures: int, below_the_line: bool, k: int) -> Content:
        await asyncio.to_thread(self._chunk, chunk_id)
        answer: Answer = await self._run(self._services.library.similar, chunk_id, k=k)
        return await self._hits(answer, pictures, below_the_line)

    async def moments(self, text: str, file_id: int, k: int) -> Content:
        query = build_query({"q": [text], "kind": ["video"], "file_id": [str(file_id)] if file_id else []})
        moments: list[Moment] = await self._run(self._services.library.moments, query, k=k)
        return Content({"moments": [self._linked(moment.to_json()) for moment in moments]})

    async def transcript(self, file_id: int, start_s: float, end_s: float) -> Content:
        return await asyncio.to_thread(self._transcript, file_id, start_s, end_s)

    def _transcript(self, file_id: int, start_s: float, end_s: float) -> Content:
        library = self._services.library
        file = library.file(file_id)
        if file is None:
            raise BadRequest(f"The library has no file {file_id}.")
        if file.kind != "video":
            raise BadRequest(f"File {file_id} is no video but of kind {file.kind}.")
        cues = [c for c in library.transcript(file_id) if c.end_s > start_s and (c.start_s < end_s or end_s <= 0)]
        return Content({"cues": captions.as_json(cues), "state": library.speech_state(file_id)})

    async def read(self, chunk_id: int, page: int) -> Content:
        return await asyncio.to_thread(self._read, chunk_id, page)

    def _read(self, chunk_id: int, page: int) -> Content:
        chunk = self._chunk(chunk_id, page)
        details = self._services.library.details(chunk.chunk_id)
        if details is None:
            raise Gone(f"The library has no chunk {chunk_id}; it may have been removed.")
        known = {name: value for name, value in asdict(details).items() if name not in ("chunk", "text_is")}
        file, text = chunk.file, chunk.text
        if details.text_is == "speech":
            start, end = chunk.span.start_s or 0.0, chunk.span.end_s or float("inf")
            cues = self._services.library.transcript(file.file_id)
            text = text or " ".join(cue.text for cue in cues if cue.end_s > start and cue.start_s < end)
        own = {
            "text": text[:LONGEST_TEXT], "text_is": details.text_is, "path": str(file.path), "kind": file.kind,
            "chunk_id": chunk.chunk_id, "file_id": file.file_id, "page": chunk.span.page, "pages": file.pages,
            "start_s": chunk.span.start_s, "end_s": chunk.span.end_s, "duration_s": file.duration_s,
            "width": file.width, "height": file.height, "bytes": file.size, "taken": file.taken,
            "taken_from": file.taken_from, "note": file.note, "open_url": f"{self._origin}/open/{chunk.chunk_id}",
        }  # fmt: skip
        facts = {key: value for key, value in (own | known).items() if not _is_blank(value)}
        return Content(facts | {"text": own["text"]})

    async def show(self, chunk_id: int, at_s: list[float], page: int) -> Content:
        chunk = await asyncio.to_thread(self._chunk, chunk_id, page)
        file, span, make = chunk.file, chunk.span, self._services.renderer.make
        path = (await asyncio.to_thread(open_file, self._services, file.file_id)).path
        if file.kind == "pdf" or (file.kind == "image" and (span.page or 1) > 1):
            number = span.page or 1
            return Content({"shown": [{"page": number}]}, [await make(page_webp, path, number, SIDE, file.kind)])
        if file.kind == "image":
            return Content({"shown": [{"path": str(file.path)}]}, [await make(image_webp, path, SIDE)])
        middle = ((span.start_s or 0.0) + (span.end_s or span.start_s or 0.0)) / 2
        frames: list[tuple[float, bytes]] = await make(frames_webp, path, sorted(at_s) or [middle], SIDE)
        if not frames:
            raise Gone(f"{file.path.name} has no picture there: it has {file.duration_s or 0:.0f} seconds.")
        return Content({"shown": [{"at_s": round(second, 2)} for second, _ in frames]}, [data for _, data in frames])

    async def vocabulary(self) -> Content:
        return Content({"values": await self._run(self._services.library.vocabulary)})

    async def timeline(self, **asked: Any) -> Content:
        months = await self._run(self._services.library.timeline, _query(**asked))
        return Content({"months": [asdict(month) for month in months]})

    async def places(self, **asked: Any) -> Content:
        return Content(asdict(await self._run(self._services.library.places, _query(**asked))))

    async def status(self) -> Content:
        return Content(asdict(await asyncio.to_thread(self._services.library.status)))

    def _chunk(self, chunk_id: int, page: int = 0) -> ChunkInfo:
        """A chunk, or the one of another page of its file. Raises Gone."""
        library = self._services.library
        chunk = library.chunk(chunk_id)
        if chunk is None:
            raise Gone(f"The library has no chunk {chunk_id}; it may have been removed.")
        if not page or page == chunk.span.page:
            return chunk
        other = next((c for c in library.chunks(chunk.file.file_id) if c.span.page == page), None)
        if other is None:
            raise Gone(f"{chunk.file.path.name} has no page {page}: it has {chunk.file.pages or 0}.")
        return other

    async def _hits(self, answer: Answer, pictures: int, below_the_line: bool) -> Content:
        hits = [hit for hit in answer.hits if hit.relevant or below_the_line]
        result: dict[str, Any] = {
            "hits": [self._hit(hit, below_the_line) for hit in hits],
            "matches": answer.matches,
            "at_least": answer.at_least,
            "facets": answer.facets if answer.matches else {},
            "unread": answer.unread,
        }
        if answer.notice:
            result["notice"] = answer.notice
        thumbnails = [
            await asyncio.to_thread(self._services.library.thumbnail, hit.chunk_id) for hit in hits[:pictures]
        ]
        return Content(result, [picture for picture in thumbnails if picture is not None])

    def _hit(self, hit: Hit, below_the_line: bool) -> dict[str, Any]:
        """A hit without what is not known of it and what an agent has no use for."""
        own = hit.to_json()
        own["snippet"] = hit.snippet.replace(MARK, "").replace(UNMARK, "")
        left_out = {"thumb_url", "taken_at", "width", "height", "relevant"}
        row = {key: value for key, value in own.items() if key not in left_out and not _is_blank(value)}
        return self._linked(row | ({"relevant": hit.relevant} if below_the_line else {}))

    def _linked(self, row: dict[str, Any]) -> dict[str, Any]:
        return {key: self._origin + row[key] if key.endswith("_url") else row[key] for key in row}


def _is_blank(value: Any) -> bool:
    """Whether a value says nothing: none, no, or an empty text or list."""
    return value is None or value is False or (isinstance(value, str | list | tuple) and not value)


def _query(text: str, kinds: list[str], under: str, after: str, before: str, labels: list[str]) -> Query:
    return build_query(
        {"q": [text], "kind": kinds, "under": [under], "after": [after], "before": [before], "label": labels}
    )


def _error(sentence: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=sentence)], isError=True)


class McpServer:
    """The ASGI application, and its lifespan."""

    def __init__(self, services: WebServices, origin: str) -> None:
        agents = Agents(services, origin)
        server: Server[Any, Any] = Server("Sightline", version=__version__, instructions=INSTRUCTIONS)

        @server.list_tools()  # type: ignore[no-untyped-call, untyped-decorator]
        async def list_tools() -> list[types.Tool]:
            return [tool.declaration() for tool in TOOLS]

        @server.call_tool()  # type: ignore[untyped-decorator]
        async def call_tool(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
            request = server.request_context.request
            previous = visitor.set(request.scope.get(VISITOR) if request is not None else None)
            try:
                return await agents.call(name, arguments)
            finally:
                visitor.reset(previous)

        self._manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=BODY_LIMIT)
        self.routes = [Route(PATH, self), Mount(PATH, self)]

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)
