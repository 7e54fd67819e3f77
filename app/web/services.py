"""What the routes share: the library as a visitor sees it, and the services that run until the server ends.

Built around `WebServices`, which the application's state holds and FastAPI passes to a route as a parameter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.web.audit import AuditLog
from app.web.model_fetch import ModelFetch
from app.web.render_pool import Renderer
from app.web.search_lane import SearchLane
from app.web.tokens import OWNER, Tokens
from app.web.transcode import Stretches
from app.web.uploads import Uploads
from app.web.url_fetch_lane import UrlFetchLane
from indexer.types import SearchLibrary


@dataclass
class WebServices:
    """`speech`: one line about the speech model. `gradio_ready`: whether the page can take Gradio in. `local`: whether
    the server is reached from this machine only."""

    library: SearchLibrary
    tokens: Tokens
    audit: AuditLog
    speech: str
    gradio_ready: Callable[[], bool]
    model_fetch: ModelFetch = field(default_factory=lambda: ModelFetch(None))
    url_fetch: UrlFetchLane = field(default_factory=lambda: UrlFetchLane(None))
    lane: SearchLane = field(default_factory=SearchLane)
    renderer: Renderer = field(default_factory=Renderer)
    uploads: Uploads = field(default_factory=Uploads)
    local: bool = False
    reel_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One reel is cut at a time."""
    stretches: Stretches = field(default_factory=lambda: Stretches(Renderer()))

    def is_owner(self) -> bool:
        """Whether the request in progress is the owner's."""
        return self.tokens.current_visitor() is OWNER

    def may_reveal(self) -> bool:
        """Whether the request in progress may open the file manager of this machine."""
        return self.local and self.is_owner()

    def close(self) -> None:
        self.lane.close()
        self.renderer.close()
        self.stretches.close()
        self.uploads.close()


async def _services(request: Request) -> WebServices:  # a plain function would run in a thread of its own
    services: WebServices = request.app.state.services
    return services


Services = Annotated[WebServices, Depends(_services)]
"""The type of a route's parameter that takes the services."""
