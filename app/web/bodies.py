"""Bodies of requests: their bound in bytes, and one that is read before the application reads it.

Built around ASGI's `receive`, which hands a body over in parts. It knows nothing of what a body means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MIB = 1024 * 1024


class BodyTooLarge(Exception):
    """A body is over its limit. `str(error)` is one sentence for a person."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"That is more than {limit // MIB} MB. Send a smaller file, or a cut of it.")


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
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` that hands over `body`, which was read before, and then goes on."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return messages.pop() if messages else await receive()

    return receive_replayed
