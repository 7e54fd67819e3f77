"""Other programs: the examples of docs/api.md are run; gradio_client and a real MCP client against the real server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mcp.types import CallToolResult, ImageContent, TextContent

from app import __version__
from app.web.agent_tools import decode_file
from app.web.mcp_server import INSTRUCTIONS, TOOLS
from app.web.requests import BadRequest
from app.web.server import create_app
from data.media.kinds import kind_of
from tests.app.agent import agent, opened
from tests.app.serving import Server
from tests.media import draw_image

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = re.findall(r"```(python|sh)\n(.*?)```", DOCS.read_text("utf-8"), re.S)
HERE = "http://127.0.0.1:7860"


def curl(line: str) -> httpx.Response:
    """What curl would do with the few options that the examples use."""
    words = shlex.split(line)[1:]
    url, get, pairs, files = "", False, [], []
    while words:
        word = words.pop(0)
        if word == "-G":
            get = True
        elif word in ("-d", "--data-urlencode", "-F"):
            name, _, value = words.pop(0).partition("=")
            if value.startswith("@"):
                files.append((name, (value[1:], Path(value[1:]).read_bytes())))
            else:
                pairs.append((name, value))
        else:
            assert not word.startswith("-"), f"{word} is not understood here"
            url = word
    if get:
        return httpx.get(url, params=pairs, timeout=60)
    return httpx.post(url, data=dict(pairs), files=files, timeout=60)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_documentation_run(
    server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, number: int
) -> None:
    language, code = EXAMPLES[number]
    shutil.copy(folder / "red square.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    code = code.replace(HERE, server.url)
    if language == "python":
        exec(compile(code, "docs/api.md", "exec"), {"__name__": "example"})
        assert "lighthouse report.pdf" in capsys.readouterr().out
    else:
        answer = curl(code)
        assert answer.status_code == 200 and answer.json()["hits"]


def test_gradio_s_client_searches_with_text_and_with_a_file(server: Server, folder: Path) -> None:
    from gradio_client import Client

    client = Client(server.url, verbose=False, analytics_enabled=False)
    found = json.loads(client.predict(text="lighthouse", kinds=["pdf"], api_name="/search"))
    assert found["hits"][0]["title"] == "lighthouse report.pdf"
    assert found["hits"][0]["open_url"].startswith(server.url + "/open/")
    data = base64.b64encode((folder / "blue lake.png").read_bytes()).decode()
    for file in (data, "data:image/png;base64," + data):
        found = json.loads(client.predict(file_base64=file, kinds=["image"], api_name="/search"))
        assert found["hits"][0]["title"] == "blue lake.png"


def test_gradio_lists_our_five_endpoints_and_no_others(server: Server) -> None:
    info = httpx.get(f"{server.url}/gradio_api/info", timeout=60).json()
    assert set(info["named_endpoints"]) == {"/search", "/similar", "/moments", "/transcript", "/status"}


def test_every_tool_and_argument_is_described_whole(server: Server) -> None:
    async def trial() -> None:
        async with agent(server.url) as (session, begun):
            assert begun.serverInfo.name == "Sightline" and begun.serverInfo.version == __version__
            assert begun.instructions == INSTRUCTIONS
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert set(tools) == {tool.name for tool in TOOLS}
            for tool in tools.values():
                assert f"`{tool.name}`" in DOCS.read_text("utf-8"), "docs/api.md names every tool"
                assert tool.annotations is not None and tool.annotations.readOnlyHint
                assert tool.title and tool.description and tool.outputSchema
                for name, schema in tool.inputSchema["properties"].items():
                    assert schema["description"].endswith("."), f"{tool.name} {name} is cut"
                    assert ("default" in schema) != (name in tool.inputSchema.get("required", ())), name
            words = tools["search"].inputSchema["properties"]["text"]["description"]
            assert "longer:5m" in words, "the last of the filters"

    asyncio.run(trial())


def test_an_agent_gets_what_matches_as_text_as_data_and_as_pictures(server: Server) -> None:
    async def trial() -> None:
        async with agent(server.url) as (session, _):
            result = await session.call_tool("search", {"text": "lighthouse", "k": 2, "pictures": 1})
            answer = result.structuredContent
            assert not result.isError and answer is not None
            text, picture = result.content
            assert isinstance(text, TextContent) and json.loads(text.text) == answer
            assert isinstance(picture, ImageContent) and opened(picture).format == "WEBP"
            first = answer["hits"][0]
            assert first["title"] == "lighthouse report.pdf" and first["open_url"].startswith(server.url)
            assert "relevant" not in first and "\ue000" not in text.text
            assert date.fromisoformat(first["taken"][:10]) and "taken_at" not in first
            assert answer["matches"] >= len(answer["hits"]) and answer["unread"] == {}
            below = await session.call_tool("search", {"text": "lighthouse", "k": 50, "below_the_line": True})
            assert below.structuredContent is not None
            two = await session.call_tool("search", {"text": "lighthouse", "k": 2, "below_the_line": True})
            assert two.structuredContent is not None and len(two.structuredContent["hits"]) == 2
            marks = [hit["relevant"] for hit in below.structuredContent["hits"]]
            assert marks.count(True) == answer["matches"] < len(marks)

    asyncio.run(trial())


def test_an_agent_reads_and_sees_pages_pictures_and_frames(server: Server) -> None:
    async def trial() -> None:
        async with agent(server.url) as (session, _):

            async def call(name: str, **arguments: Any) -> CallToolResult:
                result = await session.call_tool(name, arguments)
                assert not result.isError and result.structuredContent is not None, result.content
                return result

            async def first(text: str) -> dict[str, Any]:
                hits = (await call("search", text=text, below_the_line=True)).structuredContent["hits"]
                return dict(hits[0])

            report = await first("name:lighthouse")
            page = await call("read", chunk_id=report["chunk_id"], page=2)
            assert page.structuredContent["text"] == "The lighthouse of the harbour"
            assert page.structuredContent["pages"] == 3 and page.structuredContent["text_is"] == "page"
            drawn = await call("show", chunk_id=report["chunk_id"], page=3)
            assert drawn.structuredContent == {"shown": [{"page": 3}]} and max(opened(drawn.content[1]).size) == 1024
            lake = await call("show", chunk_id=(await first('name:"blue lake"'))["chunk_id"])
            assert np.asarray(opened(lake.content[1]).convert("RGB")).mean((0, 1)).argmax() == 2
            film = await first("type:video")
            frames = await call("show", chunk_id=film["chunk_id"], at_s=[50, 5])
            assert [round(one["at_s"]) for one in frames.structuredContent["shown"]] == [5, 50]
            seen = [np.asarray(opened(frame).convert("RGB")).mean((0, 1)).argmax() for frame in frames.content[1:]]
            assert seen == [0, 2], "red, then blue"
            (moment,) = (await call("moments", text="blue", k=1)).structuredContent["moments"]
            assert moment["title"] == "road trip.mp4" and moment["start_s"] <= moment["at_s"] < moment["end_s"]
            said = await call("transcript", file_id=film["file_id"])
            assert said.structuredContent == {"cues": [], "state": "transcribed"}, "a tone, no words"
            assert (await call("status")).structuredContent["images"] == 7
            assert ["pdf", 2] in (await call("vocabulary")).structuredContent["values"]["type"]
            assert sum(one["count"] for one in (await call("timeline", kinds=["pdf"])).structuredContent["months"]) == 2
            assert (await call("places")).structuredContent["clusters"] == []
            alike = await call("similar", chunk_id=film["chunk_id"], below_the_line=True)
            assert film["chunk_id"] not in [hit["chunk_id"] for hit in alike.structuredContent["hits"]]

    asyncio.run(trial())


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("similar", {"chunk_id": 424242}, "no chunk 424242"),
        ("read", {"chunk_id": 424242}, "no chunk 424242"),
        ("show", {"chunk_id": -1}, "-1 is less than"),
        ("transcript", {"file_id": 424242}, "no file 424242"),
        ("search", {"after": "tomorrow"}, "is not a date"),
        ("search", {"file_base64": "%%"}, "not base64"),
        ("search", {"txt": "lighthouse"}, "'txt' was unexpected"),
        ("search", {"k": 10_000}, "10000 is greater than"),
        ("find", {}, "There is no tool 'find'"),
        ("transcript", {"file_id": 1}, "File 1 is no video"),
    ],
)
def test_what_cannot_be_answered_is_an_error_with_a_sentence(
    server: Server, tool: str, arguments: dict[str, Any], words: str
) -> None:
    async def trial() -> None:
        async with agent(server.url) as (session, _):
            result = await session.call_tool(tool, arguments)
            (text,) = result.content
            assert result.isError and isinstance(text, TextContent) and words in text.text

    asyncio.run(trial())


def test_mcp_and_the_client_stand_behind_the_token(library: Any) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AuthenticationError

    server = Server(library, token="let-me-in")
    server.start()
    server.wait_for_gradio()
    try:
        with pytest.raises((AuthenticationError, ValueError, httpx.HTTPError)):
            Client(server.url, verbose=False, analytics_enabled=False)
        assert httpx.post(f"{server.url}/gradio_api/mcp/", json={}, timeout=60).status_code == 401
        client = Client(
            server.url, verbose=False, analytics_enabled=False, headers={"Authorization": "Bearer let-me-in"}
        )
        assert json.loads(client.predict(api_name="/status"))["files"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    "path", ["file=/etc/passwd", "file=https://example.com", "proxy=https://huggingface.co/x", "upload"]
)
def test_what_is_closed_in_gradio_is_closed_while_it_runs(server: Server, path: str) -> None:
    assert httpx.get(f"{server.url}/gradio_api/{path}", timeout=60).status_code == 404
    assert httpx.post(f"{server.url}/gradio_api/{path}", files={"files": b"x"}, timeout=60).status_code == 404


def test_gradio_s_temporary_folder_is_nobody_else_s(server: Server) -> None:
    import os

    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".bmp", ".tif", ".heic"])
def test_a_file_is_known_by_its_first_bytes(tmp_path: Path, suffix: str) -> None:
    path = draw_image(tmp_path / f"x{suffix}")
    data, known = decode_file(base64.b64encode(path.read_bytes()).decode())
    assert kind_of(f"x{known}") == "image" and data == path.read_bytes()


@pytest.mark.parametrize("brand", ["heic", "msf1", "hevc", "avis"])
def test_a_phone_s_picture_is_no_video_whatever_its_brand(brand: str) -> None:
    head = b"\0\0\0\x18ftyp" + brand.encode() + bytes(64)
    assert kind_of(f"x{decode_file(base64.b64encode(head).decode())[1]}") == "image"


def test_a_data_uri_that_says_the_wrong_type_is_believed_by_its_bytes(tmp_path: Path) -> None:
    picture = base64.b64encode(draw_image(tmp_path / "x.png").read_bytes()).decode()
    assert decode_file(f"data:image/png;base64,{picture}")[1] == ".png"
    assert kind_of(f"x{decode_file(f'data:video/mp4;base64,{picture}')[1]}") == "image"


@pytest.mark.parametrize("text", ["not base64!", base64.b64encode(b"MZ\x90 a program").decode(), "data:text/html,x"])
def test_what_is_no_file_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decode_file(text)


def test_gradio_is_at_rest_when_nobody_asks(library: Any) -> None:
    """Its queue is looked into every millisecond as it comes, which empties a laptop's battery."""
    looked = []

    class Loop(asyncio.SelectorEventLoop):
        def call_at(self, when: float, *rest: Any, **more: Any) -> Any:
            looked.append(when)
            return super().call_at(when, *rest, **more)

    served = create_app(library, gradio=False).state.services

    async def rest() -> None:
        from app.web import gradio_ui

        application = gradio_ui.build(served, host="127.0.0.1", port=7860)
        async with application.router.lifespan_context(application):
            looked.clear()
            await asyncio.sleep(1.0)

    loop = Loop()
    loop.run_until_complete(rest())
    loop.close()
    assert len(looked) < 50
