"""A real MCP client, as an agent has it."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ContentBlock, ImageContent, InitializeResult
from PIL import Image


@asynccontextmanager
async def agent(url: str) -> AsyncIterator[tuple[ClientSession, InitializeResult]]:
    """A session with the MCP server at `url`, and what the server says of itself."""
    async with (
        streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        yield session, await session.initialize()


def opened(content: ContentBlock) -> Image.Image:
    """The picture that an answer holds."""
    assert isinstance(content, ImageContent)
    return Image.open(io.BytesIO(base64.b64decode(content.data)))
