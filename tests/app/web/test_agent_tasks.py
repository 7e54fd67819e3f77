"""Twenty tasks that an agent gets, played through a real MCP client: the answer is in what the fewest calls bring.

Each task is what the person says, the calls, and the answer. docs/api.md shows the tasks with their calls.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp import ClientSession
from mcp.types import CallToolResult

from indexer.library import Library
from tests.app.agent import agent, opened
from tests.app.serving import Server
from tests.media import add_subtitles, draw_image, draw_pdf, draw_video

DOCS = Path(__file__).parents[3] / "docs" / "api.md"

PAGES = {
    "Invoices/power 117.pdf": ["Invoice 117 of Northlight, 12 March 2024. Electricity. Total due: 84.20 EUR"],
    "Invoices/power 161.pdf": ["Invoice 161 of Northlight, 11 April 2024. Electricity. Total due: 91.75 EUR"],
    "Contracts/lease.pdf": [
        "Lease of the flat at 5 Harbour Street",
        "The rent is 950 EUR a month, due on the third day.",
        "Notice period: three months, in writing.",
    ],
    "Manuals/washing machine.pdf": [
        "Washing machine: safety",
        "Error E18: the pump is blocked. Clean the filter behind the flap.",
        "Programmes and temperatures",
    ],
    "Recipes/bread.pdf": ["Sourdough bread: flour, water, salt. Bake it for 40 minutes at 230 degrees."],
    "Medical/vaccinations.pdf": ["Vaccinations of Anna: tetanus in 2022, next due in 2032"],
    "Travel/boarding pass.pdf": ["Boarding pass: Lisbon to Oslo, flight TP762, seat 14C"],
}
PHONE = {"make": "Google", "model": "Pixel 7", "gps": (38.7223, -9.1393)}
CAMERA = {"make": "Canon", "model": "EOS R6", "gps": (59.9139, 10.7522)}
PICTURES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "Portugal/tram.jpg": ((230, 190, 40), {**PHONE, "taken": "2023:07:14 18:20:00", "description": "A yellow tram"}),
    "Portugal/beach.jpg": ((230, 210, 150), {**PHONE, "taken": "2023:07:16 11:00:00", "description": "On the beach"}),
    "Norway/fjord.jpg": ((40, 90, 160), {**CAMERA, "taken": "2021:02:03 10:00:00", "description": "A fjord"}),
    "Norway/evening.jpg": ((44, 86, 150), {**CAMERA, "taken": "2021:02:03 17:00:00"}),
    "Home/cat.jpg": ((200, 40, 40), {"taken": "2024:01:05 09:00:00", "description": "Our cat asleep on the red sofa"}),
    "Home/label.jpg": (
        (240, 240, 240),
        {"taken": "2024:01:06 09:00:00", "description": "Label of the router with the password fjord-4711"},
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A small household's library behind the whole application."""
    place = tmp_path_factory.mktemp("home")
    for name, pages in PAGES.items():
        draw_pdf(place / "files" / name, pages)
    for name, (color, exif) in PICTURES.items():
        draw_image(place / "files" / name, color=color, exif=exif)
    note = {"title": "tram.jpg", "people": [{"name": "Anna"}]}
    (place / "files" / "Portugal" / "tram.jpg.json").write_text(json.dumps(note))
    films = place / "files" / "Films"
    scenes = ((0.0, (200, 40, 40)), (4.0, (40, 40, 200)))
    draw_video(films / "storm.mp4", 8, 5, scenes=scenes)
    draw_video(films / "birthday.mkv", 20, 5)
    add_subtitles(films / "birthday.mkv", (2, 6, "Happy birthday, dear Anna"), (12, 15, "Now blow out the candles"))
    draw_video(films / "lecture.mkv", 50, 5)
    add_subtitles(films / "lecture.mkv", (5, 9, "Today we speak of tides"), (40, 46, "The moon pulls the ocean"))
    with Library.open(place / "library", ocr="off") as library:
        library.index([place / "files"])
        with Server(library) as server:
            server.wait_for_gradio()
            yield server


class Play:
    """The calls of one task. `data`: the JSON of the last answer; `text`: all that came back."""

    def __init__(self, session: ClientSession) -> None:
        self._session, self.calls, self.text = session, 0, ""
        self.data: dict[str, Any] = {}
        self.result: CallToolResult | None = None

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self.calls += 1
        self.result = await self._session.call_tool(tool, arguments)
        assert not self.result.isError, self.result.content
        self.data = self.result.structuredContent or {}
        self.text += json.dumps(self.data)
        return self.data

    def color(self, number: int = 1) -> list[float]:
        """The mean colour of a picture in the last answer."""
        assert self.result is not None
        mean = np.asarray(opened(self.result.content[number]).convert("RGB")).mean((0, 1))
        return [float(value) for value in mean]


Argument = Any | Callable[[dict[str, Any]], Any]


def first(key: str) -> Callable[[dict[str, Any]], Any]:
    """An argument of the next call: this of the first hit."""
    return lambda answer: answer["hits"][0][key]


@dataclass(frozen=True)
class Task:
    """`calls`: tool and arguments; an argument may be a function of the answer before."""

    words: str
    calls: tuple[tuple[str, dict[str, Argument]], ...]
    is_answered: Callable[[Play], bool]


def reads(words: str, text: str, answer: str, **more: Argument) -> Task:
    """A task that is answered by a search and the whole text of its first hit."""
    calls = ("search", {"text": text, "k": 3}), ("read", {"chunk_id": first("chunk_id"), **more})
    return Task(words, calls, lambda play: answer in play.data["text"])


TASKS = (
    reads("Find the invoice from March and tell me the total.", "electricity invoice March 2024", "84.20 EUR"),
    reads("How much is our rent?", "rent a month", "950 EUR"),
    reads("The washing machine says E18. What do I do?", "E18", "Clean the filter"),
    reads("How long do I bake the sourdough bread?", "bake sourdough bread", "40 minutes"),
    reads("When is Anna's next tetanus shot due?", "tetanus vaccination", "2032"),
    reads("Which seat do I have on the flight to Oslo?", "boarding pass flight to Oslo", "14C"),
    reads("What is the notice period of the flat?", "lease type:pdf", "three months", page=3),
    Task(
        "What is the password of the router?",
        (("search", {"text": "password of the router", "k": 3}),),
        lambda play: "fjord-4711" in play.text,
    ),
    Task(
        "When did I photograph the yellow tram?",
        (("search", {"text": "yellow tram", "kinds": ["image"], "k": 3}),),
        lambda play: play.data["hits"][0]["taken"] == "2023-07-14T18:20:00",
    ),
    Task(
        "In which town was that, and with which camera?",
        (("search", {"text": "yellow tram", "kinds": ["image"], "k": 3}), ("read", {"chunk_id": first("chunk_id")})),
        lambda play: play.data["place"].startswith("Lisbon") and "Pixel 7" in play.data["camera"],
    ),
    Task(
        "How many photos did I take in Portugal in 2023?",
        (("search", {"text": "in:Portugal taken:2023", "kinds": ["image"], "k": 1}),),
        lambda play: play.data["matches"] == 2 and len(play.data["hits"]) == 1,
    ),
    Task("Who is in my pictures?", (("vocabulary", {}),), lambda play: play.data["values"]["person"] == [["Anna", 1]]),
    Task(
        "Which cameras did I use?",
        (("vocabulary", {}),),
        lambda play: all(camera in str(play.data["values"]["camera"]).lower() for camera in ("pixel 7", "eos r6")),
    ),
    Task(
        "Show me the picture of the cat.",
        (("search", {"text": "cat asleep on the sofa", "kinds": ["image"], "k": 1, "pictures": 1}),),
        lambda play: play.data["hits"][0]["title"] == "cat.jpg" and play.color()[0] > 2 * play.color()[2],
    ),
    Task(
        "At which second do they blow out the candles?",
        (("moments", {"text": "blow out the candles", "k": 1}),),
        lambda play: 11 < play.data["moments"][0]["at_s"] <= 12,
    ),
    Task(
        "What does the lecture say about the moon?",
        (("search", {"text": "moon ocean", "kinds": ["video"], "k": 1}), ("transcript", {"file_id": first("file_id")})),
        lambda play: "The moon pulls the ocean" in play.text and play.data["state"] == "subtitles",
    ),
    Task(
        "Which colour has the film of the storm at second 6?",
        (("search", {"text": "name:storm", "k": 1}), ("show", {"chunk_id": first("chunk_id"), "at_s": [6]})),
        lambda play: play.color()[2] > 2 * play.color()[0],
    ),
    Task(
        "Which month has the most photos?",
        (("timeline", {"kinds": ["image"]}),),
        lambda play: [m["month"] for m in play.data["months"]][:3] == ["2024-01", "2023-07", "2021-02"],
    ),
    Task(
        "Where have I been?",
        (("places", {}),),
        lambda play: {c["town"] for c in play.data["clusters"]} == {"Lisbon, Portugal", "Oslo, Norway"},
    ),
    Task(
        "What else looks like the picture of the fjord?",
        (
            ("search", {"text": "fjord", "kinds": ["image"], "k": 1}),
            ("similar", {"chunk_id": first("chunk_id"), "below_the_line": True, "k": 3}),
        ),
        lambda play: play.data["hits"][0]["title"] == "evening.jpg",
    ),
)


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.words)
def test_an_agent_has_the_answer_after_the_fewest_calls(home: Server, task: Task) -> None:
    async def play() -> None:
        async with agent(home.url) as (session, _):
            playing = Play(session)
            for tool, arguments in task.calls:
                before = playing.data
                await playing.call(tool, **{k: v(before) if callable(v) else v for k, v in arguments.items()})
            assert task.is_answered(playing), playing.text

    asyncio.run(play())


def test_the_documentation_shows_the_tasks_with_their_calls() -> None:
    rows = [
        f"| {task.words} | {', '.join(f'`{tool}`' for tool, _ in task.calls)} | {len(task.calls)} |" for task in TASKS
    ]
    assert len(rows) == 20 and "\n".join(rows) in DOCS.read_text("utf-8")
