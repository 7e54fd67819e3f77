"""What is typed means the same everywhere: command line, REST by GET and POST, the agents' tool.

(The page sends what is typed to GET /api/search; `tests/browser/test_filters.py` types it there.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.program import app
from app.web import agent_tools
from app.web.server import create_app
from indexer.library import Library
from tests.app.conftest import HERE
from tests.app.labelled_album import labelled_album

LISBON, OSLO, INVOICE, FILM = "tram.jpg", "fjord.jpg", "chimney.pdf", "storm.mp4"
PEOPLE = ("Anna Łucka", "Bob Ray")
TYPED = {
    "taken:2023-07": {LISBON},
    "taken:2021..2023": {LISBON, OSLO},
    "after:2023-07-14 type:image": {LISBON},
    "before:2022 type:image": {OSLO},
    "near:Lisbon": {LISBON},
    "near:59.91,10.75/60": {OSLO},
    "camera:pixel": {LISBON},
    "person:anna": {LISBON},
    'person:"Anna Łucka"': {LISBON},
    "person:ŁUC person:bob": {LISBON},
    "person:nna": set(),
    "type:pdf": {INVOICE},
    "type:jpg": {LISBON, OSLO},
    "in:Invoices": {INVOICE},
    "label:dog": {LISBON, FILM},
    'label:dog label:"city street"': {LISBON},
    "label:DOG type:video": {FILM},
    "name:chim": {INVOICE},
    "longer:3s": {FILM},
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    place = tmp_path_factory.mktemp("interfaces")
    with labelled_album(place, {LISBON: ["dog", "city street"], FILM: ["dog"]}, PEOPLE) as library:
        yield library


@pytest.fixture(scope="module")
def client(library: Library) -> Iterator[TestClient]:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        yield client


def cli(library: Library, text: str, **options: Any) -> dict[str, Any]:
    words = [f"--{name}={one}" for name, value in options.items() for one in listed(value)]
    run = ["search", text, "--json", "-k", "50", "--data-dir", str(library.data_dir), *words]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(params=["command line", "GET", "POST", "agents"])
def ask(request: pytest.FixtureRequest, library: Library, client: TestClient) -> Ask:
    search = agent_tools.tools(library, "http://here")[0]
    return {
        "command line": lambda text, **options: cli(library, text, **options),
        "GET": lambda text, **options: client.get("/api/search", params={"q": text, "k": 50, **options}).json(),
        "POST": lambda text, **options: client.post("/api/search", data={"q": text, "k": "50", **options}).json(),
        "agents": lambda text, **options: json.loads(search(text=text, k=50, **plural(options))),
    }[request.param]


def plural(options: dict[str, Any]) -> dict[str, Any]:
    """The agents' names for what may repeat."""
    return {{"kind": "kinds", "label": "labels"}.get(name, name): value for name, value in options.items()}


def titles(answer: dict[str, Any]) -> set[str]:
    return {hit["title"] for hit in answer["hits"]}


@pytest.mark.parametrize("typed", TYPED)
def test_a_typed_filter_means_the_same_in_every_interface(ask: Ask, typed: str) -> None:
    assert titles(ask(typed)) == TYPED[typed]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"after": "2023-07", "before": "2023-08"}, {LISBON}),
        ({"after": "2020", "before": "2022", "kind": ["image"]}, {OSLO}),
        ({"after": "2023-07-14", "before": "2023-07-15"}, {LISBON}),
        ({"label": ["dog"]}, {LISBON, FILM}),
        ({"label": ["dog", "city street"]}, {LISBON}),
        ({"label": ["zeppelin"]}, set()),
    ],
    ids=lambda given: str(sorted(given) if isinstance(given, set) else given),  # a set has no order
)
def test_a_field_means_the_same_in_every_interface(ask: Ask, options: dict[str, Any], expected: set[str]) -> None:
    assert titles(ask("name:*", **options)) == expected


def test_labels_are_counted_in_every_interface(ask: Ask) -> None:
    assert ask("name:*")["facets"]["label"] == {"dog": 2, "city street": 1}
    assert ask("label:dog type:video")["facets"]["label"] == {"dog": 1}
    assert ask("chimney sweeping")["facets"]["label"] == {}, "counted among what is relevant"


def test_a_date_that_is_none_is_one_sentence_in_every_interface(library: Library, client: TestClient) -> None:
    refused = client.get("/api/search", params={"after": "July"})
    assert refused.status_code == 400 and "write 2024, 2024-06 or 2024-06-01" in refused.json()["error"]
    done = CliRunner().invoke(app, ["search", "x", "--after", "July", "--data-dir", str(library.data_dir)])
    assert done.exit_code == 2
    told = json.loads(agent_tools.tools(library, "http://here")[0](text="x", after="July"))
    assert "is not a date" in told["error"]
    span = client.get("/api/search", params={"q": "after:2021..2023"})
    assert span.status_code == 422 and "one date is wanted" in span.json()["error"]


def test_a_town_that_is_not_known_is_one_sentence_in_every_interface(library: Library, client: TestClient) -> None:
    refused = client.get("/api/search", params={"q": "near:Atlantisville"})
    assert refused.status_code == 422 and "no town called “Atlantisville”" in refused.json()["error"]
    done = CliRunner().invoke(app, ["search", "near:Atlantisville", "--data-dir", str(library.data_dir)])
    assert "no town called “Atlantisville”" in str(done.exception)
    told = json.loads(agent_tools.tools(library, "http://here")[0](text="near:Atlantisville"))
    assert "no town called" in told["error"]
    empty = client.get("/api/search", params={"q": "near:Atlantis"}).json()
    assert not empty["hits"] and "within 25 km of Atlantis, South Africa" in empty["notice"]
    done = CliRunner().invoke(app, ["search", "near:Atlantis", "--data-dir", str(library.data_dir)])
    assert done.exit_code == 0 and "Atlantis, South Africa" in done.output


def test_moments_are_the_same_in_every_interface(library: Library, client: TestClient) -> None:
    (film,) = client.get("/api/search", params={"q": "type:video"}).json()["hits"]
    asked = {"q": "a red wall", "file_id": film["file_id"], "k": 3}
    by_rest = client.get("/api/moments", params=asked).json()["moments"]
    moments = {tool.__name__: tool for tool in agent_tools.tools(library, "http://here")}["moments"]
    by_agent = json.loads(moments(text="a red wall", file_id=film["file_id"], k=3))["moments"]
    run = ["moments", film["path"], "a red wall", "-k", "3", "--json", "--data-dir", str(library.data_dir)]
    by_cli = json.loads(CliRunner().invoke(app, run).stdout)
    assert by_rest == by_cli == [m | {"open_url": m["open_url"].removeprefix("http://here")} for m in by_agent]
    assert by_rest and by_rest[0]["start_s"] <= by_rest[0]["at_s"] < by_rest[0]["end_s"]
    assert client.get("/api/moments", params={"q": ""}).status_code == 400
