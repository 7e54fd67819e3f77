"""HTTP to a model server: the token, retries, one exception per kind of failure.

Built around `Connection`, whose `get` and `post` return successful responses. It knows nothing of inputs or vectors.
"""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from model.embedder import InputRejected, ModelAway, ModelError, first_line

if TYPE_CHECKING:
    import httpx

RETRY_S = 20.0
"""Time of retries at a busy server (429, 503) before `ModelAway`."""
MAX_PAUSE_S = 10.0
RESPONSE_TIMEOUT_S = 300.0
"""Enough for a batch of windows on a slow machine."""
MAX_CONNECTIONS = 16
"""Also the number of concurrent conversations with a chat server, which joins them into batches."""


class Connection:
    """HTTP to one server: the token, retries at a busy server, and a message for every error."""

    def __init__(self, address: str, token: str | None) -> None:
        try:
            parts = urlsplit(address)
            port = f":{parts.port}" if parts.port else ""
        except ValueError as error:
            raise ModelError(f"{address} is no address of a server: write https://host:8000") from error
        if not parts.hostname:
            raise ModelError(f"{address} is no address of a server: write https://host:8000")
        if parts.username or parts.password:
            raise ModelError("A model server's token does not go into its address: set SIGHTLINE_MODEL_TOKEN.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        path = parts.path.rstrip("/").removesuffix("/v1")
        self.base, self.model_name = f"{parts.scheme}://{host}{port}{path}", unquote(parts.fragment)
        self.is_loopback = _is_loopback(parts.hostname)
        self._token, self._lock = token, threading.Lock()
        self._http: httpx.Client | None = None

    def get(self, path: str) -> dict[str, Any]:
        return read_json_object(self._send(lambda client: client.get(self.base + path)), self.base)

    def post(
        self, path: str, *, content: bytes | None = None, kind: str | None = None, json: Any = None
    ) -> httpx.Response:
        headers = {"content-type": kind} if kind else {}
        return self._send(lambda client: client.post(self.base + path, content=content, json=json, headers=headers))

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                import httpx

                headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
                timeout = httpx.Timeout(RESPONSE_TIMEOUT_S, connect=5.0, pool=None)
                limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
                # No proxy of the environment for this machine's own ports.
                trust_env = not self.is_loopback
                self._http = httpx.Client(headers=headers, timeout=timeout, limits=limits, trust_env=trust_env)
            return self._http

    def _send(self, call: Callable[[httpx.Client], httpx.Response]) -> httpx.Response:
        """Returns a successful response. Raises `ModelAway`, `ModelError` or `InputRejected`."""
        import httpx

        client = self._client()
        deadline, attempts = time.monotonic() + RETRY_S, 0
        while True:
            attempts += 1
            try:
                response = call(client)
            except httpx.UnsupportedProtocol as error:
                raise ModelError(f"{self.base} is no address of a server: write https://host:8000") from error
            except httpx.TransportError as error:
                if attempts == 1:  # the server may have closed an idle connection
                    continue
                raise ModelAway(f"The model server {self.base} does not answer ({first_line(error)}).") from error
            if response.status_code in (429, 503):
                pause_s = _pause_s(response.headers.get("retry-after"), attempts)
                if time.monotonic() + pause_s > deadline:
                    raise ModelAway(f"The model server {self.base} is busy ({_reason(response)}).")
                time.sleep(pause_s)
                continue
            self._raise_for_status(response)
            return response

    def _raise_for_status(self, response: httpx.Response) -> None:
        code = response.status_code
        if code < 300:
            return
        if code in (401, 403):
            raise ModelError(f"{self.base} refuses the token ({code}): set SIGHTLINE_MODEL_TOKEN to one of its own.")
        if code in (400, 413, 415, 422):
            raise InputRejected(f"{self.base}: {_reason(response)}")
        if code in (502, 504):
            raise ModelAway(f"The model server {self.base} is not reached through its proxy ({code}).")
        raise ModelError(f"{self.base} is no model server that can be used ({code}: {_reason(response)}).")


def _pause_s(retry_after: str | None, attempts: int) -> float:
    """Returns the seconds until the next attempt: `retry_after`, else exponential backoff, with jitter."""
    try:
        seconds = float(retry_after) if retry_after else 0.0
    except ValueError:  # a date, by the server's clock
        seconds = 1.0
    backoff = 0.1 * 2.0 ** min(attempts, 6) * random.uniform(0.5, 1.5)
    return min(seconds * random.uniform(1.0, 1.3) if seconds > 0 else backoff, MAX_PAUSE_S)


def _reason(response: httpx.Response) -> str:
    """Returns the message of an error: Sightline's (`error`), OpenAI's (`error.message`), or the first line."""
    try:
        body = response.json()
    except ValueError:
        lines = response.text.strip().splitlines()
        return (lines[0] if lines else response.reason_phrase)[:200]
    error = body.get("error", body.get("detail", body.get("message"))) if isinstance(body, dict) else None
    return str(error.get("message") if isinstance(error, dict) else error or response.reason_phrase)[:200]


def read_json_object(response: httpx.Response, base: str) -> dict[str, Any]:
    """Returns the JSON object of a response. Raises `ModelError`."""
    try:
        body = response.json()
    except ValueError as error:
        raise ModelError(f"{base} is no model server: its answer is not JSON.") from error
    if not isinstance(body, dict):
        raise ModelError(f"{base} is no model server: its answer is not a JSON object.")
    return body


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
