"""Bodies of requests: the bounds of one and of all together, and one that is read before the application reads it.

Built around ASGI's `receive`, which hands a body over in parts. It knows nothing of what a body means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MIB = 1024 * 1024
MAX_VALUES = 100_000
"""Values in a JSON body: 48 MB of empty objects are gigabytes as Python objects, a search has twenty values."""


class BodyTooLarge(Exception):
    """A body is over its limit. `str(error)` is one sentence for a person."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"That is more than {limit // MIB} MB. Send a smaller file, or a cut of it.")


class MemoryFull(Exception):
    """The bodies of other requests leave no room. `str(error)` is one sentence for a person."""

    def __init__(self) -> None:
        super().__init__("Too many large requests at once; try again.")


class BodyMemory:
    """Counts the bytes of bodies that are held in memory; used in one event loop."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Room for a body of `size` bytes during the block. Raises MemoryFull."""
        if self._bytes + size > self._most:
            raise MemoryFull
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size


def has_too_many_values(body: bytes) -> bool:
    """Whether a JSON body would be more than MAX_VALUES values, without parsing it. Commas and brackets in texts count,
    too; base64 has none."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES


def bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that raises BodyTooLarge past `limit` bytes: a chunked body declares no length."""
    size = 0

    async def receive_bounded() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > limit:
                raise BodyTooLarge(limit)
        return message

    return receive_bounded


async def read_whole(receive: Receive) -> bytes:
    """The whole body; what has come of it, if the client disconnects."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` that hands over `body`, which was read before, and then goes on."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return messages.pop() if messages else await receive()

    return receive_replayed
