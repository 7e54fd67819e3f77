"""What was tried against the server; docs/security.md has a row for each of these."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.bodies import MAX_VALUES, BodyMemory, BodyTooLarge, MemoryFull, has_too_many_values
from app.web.guard import FIELDS_LIMIT, UPLOAD_LIMIT, Guard, is_loopback
from app.web.listener import listen
from app.web.server import create_app
from app.web.tokens import make_token
from tests.app.conftest import HERE

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(library: Any) -> Iterator[TestClient]:
    """The application as it is served on the network: with a token."""
    app = create_app(library, gradio=False, host="0.0.0.0", token=TOKEN)
    with TestClient(app, base_url="http://192.168.1.20:7860", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "localhost.evil.example", "", "a b", "[::1"])
def test_a_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a website's own name made to point at this machine."""
    answer = client.get("/api/status", headers={"host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "127.0.0.1:9999"])
def test_this_machine_s_own_names_are_served_on_any_port(client: TestClient, host: str) -> None:
    assert client.get("/api/status", headers={"host": host}).status_code == 200


def test_an_address_of_the_network_is_refused_while_only_loopback_is_served(client: TestClient) -> None:
    assert client.get("/api/status", headers={"host": "192.168.1.20:7860"}).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:3000", "null", "http://localhost:7860"])
@pytest.mark.parametrize("method, path", [("POST", "/api/roots"), ("DELETE", "/api/roots"), ("GET", "/api/search")])
def test_another_website_s_origin_is_refused(client: TestClient, method: str, path: str, origin: str) -> None:
    answer = client.request(method, path, headers={"origin": origin}, json={"path": "/"})
    assert answer.status_code == 403


def test_our_own_origin_may_change_things(client: TestClient) -> None:
    answer = client.post("/api/roots", headers={"origin": HERE}, json={"path": "/no/such/folder"})
    assert answer.status_code == 400  # past the guard: the library says that the folder does not exist
    assert "/no/such/folder" in answer.json()["error"]


def test_another_site_s_page_cannot_load_pictures_or_frames_from_here(client: TestClient) -> None:
    for site, mode, target in (
        ("cross-site", "no-cors", "image"),
        ("same-site", "no-cors", "script"),
        ("cross-site", "navigate", "iframe"),
    ):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": target}
        assert client.get("/thumb/1.webp", headers=headers).status_code == 403


def test_a_link_on_another_site_may_be_followed(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=headers).status_code == 200


def test_the_network_needs_a_token(guarded: TestClient) -> None:
    for path in ("/", "/api/search?q=x", "/media/1", "/thumb/1.webp", "/gradio_api/info", "/ui/app.js", "/docs"):
        assert guarded.get(path).status_code == 401, path
    assert guarded.get("/healthz").status_code == 200


def test_a_wrong_token_is_as_good_as_none(guarded: TestClient) -> None:
    assert guarded.get("/api/status", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert guarded.get("/api/status", headers={"cookie": "sightline-7860=wrong"}).status_code == 401
    assert guarded.get("/?token=wrong").status_code == 401


def test_the_bearer_token_opens_the_api(guarded: TestClient) -> None:
    assert guarded.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_first_visit_turns_the_token_into_a_cookie_and_out_of_the_address(guarded: TestClient) -> None:
    answer = guarded.get(f"/?token={TOKEN}&q=dog", headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?q=dog"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    guarded.cookies.clear()
    again = guarded.get("/", headers={"cookie": cookie.split(";")[0]})
    assert again.status_code == 200
    guarded.cookies.clear()


def test_the_token_page_leads_nowhere_else(guarded: TestClient) -> None:
    answer = guarded.get(f"//evil.example/?token={TOKEN}")
    assert not answer.headers.get("location", "/").startswith("//")
    guarded.cookies.clear()


def test_a_network_address_is_known_by_number_and_by_this_machine_s_name_only(guarded: TestClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/status", headers={**headers, "host": "10.1.2.3:7860"}).status_code == 200
    assert guarded.get("/api/status", headers={**headers, "host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=https://example.com/",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=https://huggingface.co/",
        "/gradio_api/upload",
        "/gradio_api/upload_progress",
        "/gradio_api/stream/1",
        "/gradio_api/runs",
        "/gradio_api/run-history/records",
        "/gradio_api/vibe-code",
        "/gradio_api/deep_link",
        "/gradio_api/custom_component/1/client/component/x",
        "/gradio_api/infoo",
        "/login",
        "/monitoring",
        "/svelte/x",
    ],
)
def test_gradio_s_file_proxy_and_upload_routes_are_closed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.post(path).status_code == 404


def test_two_gigabytes_are_refused_before_a_byte_is_read() -> None:
    """The guard answers by the declared length; the application is never called."""
    called, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/search",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-length", str(2 * 1024**3).encode())],
    }
    asyncio.run(Guard(app, token=None, host="127.0.0.1", port=1)(scope, receive, send))
    assert sent[0]["status"] == 413 and not called


@pytest.mark.parametrize(
    "kind, limit",
    [("multipart/form-data; boundary=x", UPLOAD_LIMIT), ("application/x-www-form-urlencoded", FIELDS_LIMIT)],
)
def test_a_body_that_declares_no_length_is_cut_off_at_the_limit(kind: str, limit: int) -> None:
    """The files of a form go to the disk as they come; every other body is read into memory."""
    block = b"x" * (256 * 1024)
    read = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal read
        while True:
            read += len((await receive())["body"])

    async def receive() -> Any:
        return {"type": "http.request", "body": block, "more_body": True}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/search",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", kind.encode())],
    }
    with pytest.raises(BodyTooLarge):
        asyncio.run(Guard(app, token=None, host="127.0.0.1", port=1)(scope, receive, None))  # type: ignore[arg-type]
    assert read == limit


def test_large_bodies_are_counted_together() -> None:
    memory = BodyMemory(100)
    with memory.of(60), memory.of(40), pytest.raises(MemoryFull), memory.of(1):
        pass
    with memory.of(100):
        pass


def test_a_body_of_too_many_values_is_not_parsed() -> None:
    assert has_too_many_values(b"[" + b"{}," * MAX_VALUES + b"0]")
    assert not has_too_many_values(b'{"data": ["%s"]}' % base64.b64encode(bytes(10**6)))


def test_the_page_may_load_from_here_alone(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy and "object-src 'none'" in policy
    assert "http:" not in policy and "https:" not in policy and "*" not in policy


def test_every_page_has_a_nonce_of_its_own(client: TestClient) -> None:
    policies = {client.get("/").headers["content-security-policy"] for _ in range(3)}
    assert len(policies) == 3


def test_answers_cannot_be_sniffed_or_read_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/api/status", "/thumb/1.webp", "/media/1", "/ui/app.js"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cross-origin-resource-policy"] == "same-origin", path
        assert "access-control-allow-origin" not in headers, path


def test_a_file_opened_by_itself_runs_nothing(client: TestClient) -> None:
    image = client.get("/api/search", params={"kind": "image"}).json()["hits"][0]
    policy = client.get(f"/media/{image['file_id']}").headers["content-security-policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/media/../../etc/passwd",
        "/media/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/thumb/..%2f1.webp",
        "/ui/../server.py",
        "/ui/%2e%2e/server.py",
    ],
)
def test_paths_are_never_taken_from_the_client(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text and "import" not in answer.text


def test_websockets_are_turned_away(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/join"):
        pass


def test_loopback_is_told_from_the_network() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "::", "example.com")))
    assert len({make_token() for _ in range(10)}) == 10


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-forwarded-host", "x-real-ip"])
def test_a_proxy_before_a_server_without_a_token_is_refused(client: TestClient, header: str) -> None:
    answer = client.get("/api/status", headers={header: "203.0.113.7"})
    assert answer.status_code == 403 and "--name" in answer.json()["error"]


def test_an_answer_is_sent_at_once_not_when_the_packet_before_it_was_acknowledged() -> None:
    """Headers and body go out by themselves; with Nagle's algorithm each answer took 40 ms longer."""
    told: list[int] = []

    class Look(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            connection = transport.get_extra_info("socket")
            told.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def visit() -> None:
        server = await asyncio.get_running_loop().create_server(Look, sock=listen("127.0.0.1", 0))
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while not told:
            await asyncio.sleep(0.01)
        writer.close()
        server.close()

    asyncio.run(visit())
    assert told == [1]
