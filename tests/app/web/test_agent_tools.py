"""Other programs: the examples of docs/api.md are run, gradio_client and MCP against the real Gradio."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.web.agent_tools import decode_file
from app.web.requests import BadRequest
from data.media.kinds import kind_of
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
        return httpx.get(url, params=pairs)
    return httpx.post(url, data=dict(pairs), files=files)


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
    info = httpx.get(f"{server.url}/gradio_api/info").json()
    assert set(info["named_endpoints"]) == {"/search", "/similar", "/moments", "/transcript", "/status"}


def test_mcp_offers_five_tools_with_json_answers_and_described_parameters(server: Server) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def trial() -> None:
        async with (
            streamable_http_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert set(tools) == {"search", "similar", "moments", "transcript", "status"}
            for tool in ("search", "moments", "transcript"):
                for name, property in tools[tool].inputSchema["properties"].items():
                    assert property.get("description"), name
            result = await session.call_tool("search", {"text": "lighthouse", "k": 2})
            hits = json.loads(result.content[0].text)["hits"]  # type: ignore[union-attr]
            assert hits[0]["title"] == "lighthouse report.pdf" and len(hits) == 2
            alike = await session.call_tool("similar", {"chunk_id": hits[0]["chunk_id"], "k": 2})
            assert json.loads(alike.content[0].text)["hits"]  # type: ignore[union-attr]
            there = await session.call_tool("moments", {"text": "blue", "k": 1})
            (moment,) = json.loads(there.content[0].text)["moments"]  # type: ignore[union-attr]
            assert moment["title"] == "road trip.mp4" and moment["start_s"] <= moment["at_s"] < moment["end_s"]
            assert moment["open_url"].startswith(server.url)
            said = await session.call_tool("transcript", {"file_id": moment["file_id"]})
            assert json.loads(said.content[0].text) == {"cues": []}  # type: ignore[union-attr]
            status = await session.call_tool("status", {})
            assert json.loads(status.content[0].text)["images"] == 7  # type: ignore[union-attr]
            wrong = await session.call_tool("similar", {"chunk_id": 424242})
            assert "424242" in json.loads(wrong.content[0].text)["error"]  # type: ignore[union-attr]

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
        assert httpx.post(f"{server.url}/gradio_api/mcp/", json={}).status_code == 401
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
    assert httpx.get(f"{server.url}/gradio_api/{path}").status_code == 404
    assert httpx.post(f"{server.url}/gradio_api/{path}", files={"files": b"x"}).status_code == 404


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

    async def rest() -> None:
        from app.web import gradio_ui

        application = gradio_ui.build(library, host="127.0.0.1", port=7860)
        async with application.router.lifespan_context(application):
            looked.clear()
            await asyncio.sleep(1.0)

    loop = Loop()
    loop.run_until_complete(rest())
    loop.close()
    assert len(looked) < 50
