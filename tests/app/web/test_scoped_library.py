"""The view of a library that routes get: the whole protocol, and nothing that slips through."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.web import api, media
from app.web.audit import AuditLog
from app.web.scoped_library import ScopedLibrary
from app.web.services import WebServices
from app.web.tokens import OWNER, Tokens, Visitor, visitor
from indexer.errors import LibraryError
from indexer.library import Library
from indexer.types import SearchLibrary


def methods(of: type) -> set[str]:
    return {name for name in vars(of) if not name.startswith("_")}


def test_the_scoped_library_has_what_the_protocol_names_and_nothing_else() -> None:
    assert methods(ScopedLibrary) == methods(SearchLibrary)
    assert not hasattr(ScopedLibrary, "__getattr__")


@pytest.mark.parametrize("name", sorted(methods(SearchLibrary) - {"clicks", "data_dir"}))  # attributes
def test_library_protocol_and_view_take_the_same_arguments(name: str) -> None:
    takes = [list(inspect.signature(getattr(of, name)).parameters) for of in (Library, SearchLibrary, ScopedLibrary)]
    assert takes[0] == takes[1] == takes[2]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


@pytest.fixture
def services(library: Library, tokens: Tokens, tmp_path: Path) -> Iterator[WebServices]:
    audit = AuditLog(tmp_path, tokens)
    services = WebServices(ScopedLibrary(library, tokens), tokens, audit, "nobody listens", lambda: True)
    yield services
    services.close()


def test_a_route_is_a_function_that_can_be_called(services: WebServices) -> None:
    status = json.loads(bytes(api.status(services).body))
    assert status["speech"] == "nobody listens" and status["gradio"] and status["images"] == 7
    assert api.chunk(services, 424242).status_code == 404
    with pytest.raises(media.Gone, match="424242"):
        media.open_chunk(services, 424242)


def test_what_is_the_owner_s_is_refused_to_who_sees_some_folders(services: WebServices, library: Library) -> None:
    seen = visitor.set(Visitor("ann", may_index=True, roots=library.status().roots))
    try:
        owners = (services.library.retry, lambda: services.library.clicks)
        for call in owners:
            with pytest.raises(LibraryError, match="some folders only"):
                call()
        visitor.set(OWNER)
        assert services.library.clicks is library.clicks
    finally:
        visitor.reset(seen)


def test_outside_a_request_nothing_is_shown_once_a_token_exists(services: WebServices, tokens: Tokens) -> None:
    assert services.library.status().images == 7
    tokens.add("ann", may_index=False, roots=())
    with pytest.raises(LibraryError, match="unknown"):
        services.library.status()
