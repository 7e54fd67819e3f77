"""No request makes the server open a connection: arguments that stand for a file are refused before Gradio.

`nothing_is_fetched` in tests/app/conftest.py fails each of these tests, and all others of app, that reaches out.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from app.web.file_arguments import names_a_file
from tests.app.conftest import outgoing
from tests.app.serving import Server

ADDRESS = "http://pictures.example/cat.jpg"
FILE = {"path": ADDRESS, "url": ADDRESS, "orig_name": "cat.jpg", "meta": {"_type": "gradio.FileData"}}


def test_a_connection_that_goes_out_is_noticed() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo("pictures.example", 80)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("192.0.2.1", 80))
    assert [outgoing.pop(), outgoing.pop()] == ["192.0.2.1", "pictures.example"]


@pytest.mark.parametrize("route", ["api/search", "run/search", "call/search", "queue/join"])
@pytest.mark.parametrize("place", [FILE, [FILE], {"deep": {"er": [FILE]}}])
def test_an_argument_that_names_an_address_is_refused(server: Server, route: str, place: Any) -> None:
    body = {"data": ["cat", place], "fn_index": 0, "session_hash": "x"}
    answer = httpx.post(f"{server.url}/gradio_api/{route}", json=body, timeout=60)
    assert answer.status_code == 400 and "fetches nothing" in answer.json()["error"]


def test_an_agent_s_argument_that_names_an_address_is_refused(server: Server) -> None:
    call = {"name": "search", "arguments": {"text": "cat", "file_base64": FILE}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{server.url}/gradio_api/mcp/", json=body, headers=headers, timeout=60)
    assert answer.status_code == 400


def test_words_that_look_like_an_address_are_searched_for(server: Server) -> None:
    answer = httpx.post(f"{server.url}/gradio_api/call/search", json={"data": [ADDRESS]}, timeout=60)
    assert answer.status_code == 200


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-32"])
def test_a_file_is_seen_however_it_is_written(coding: str) -> None:
    assert names_a_file(json.dumps({"data": [FILE]}).encode(coding))
    escaped = '{"data": [{"\\u0070ath": "\\u0068ttp://a.example/x"}]}'
    assert names_a_file(escaped.encode(coding))
    twice = '{"path": "http://a.example/x", "path": "cat"}'
    assert names_a_file(twice.encode(coding)) and names_a_file(("[" * 100_000).encode(coding))
    assert not names_a_file(json.dumps({"data": [ADDRESS, {"path": "cat"}]}).encode(coding))
