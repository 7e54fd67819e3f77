"""The routes of the settings: what a library reads and keeps, as choices that describe themselves.

Built around `SearchLibrary.choices` and `choose`; who sees some folders only sees none and changes none. The words that
a person reads are here, so that the page draws any choice alike.
"""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body

from app import speech_status
from app.web.api import Json
from app.web.services import Services, WebServices

router = APIRouter(prefix="/api", tags=["library"])

OPTIONS: dict[str, list[tuple[str, str]]] = {
    "theme": [("", "As the system's"), ("light", "Light"), ("dark", "Dark")],
    "ocr": [("off", "Not read"), ("auto", "Of photos and scanned pages"), ("all", "Of every picture and page")],
    "speech": [("off", "Not transcribed"), ("auto", "In English, by the built-in model")],
    "copies": [("0", "Left out"), ("1", "Taken in")],
    "clicks": [("0", "Not kept"), ("1", "Kept")],
}
LARGER_SPEECH = [
    ("small", "In about a hundred languages (0.5 GB, downloaded once)"),
    ("large-v3", "The same, more exactly and slowly (3 GB, downloaded once)"),
]
TITLES = {
    "theme": ("Theme", "In this browser, which remembers it."),
    "ocr": ("Words in pictures", "Read in your pictures and pages, so that they are found by what is written there."),
    "speech": ("Speech", ""),
    "copies": ("Copies of other programs", "Thumbnails, snapshots and recycle bins."),
    "moderation": (
        "Hidden and flagged",
        "One rule a line: a label, a threshold in standard deviations, hide or flag. For instance: blood, 4.0, hide."
        " What is hidden is in no answer; what is flagged is found by label:blood.",
    ),
    "clicks": (
        "Learn from what I open",
        "Keeps the words that you search for and what you then open, in the library's folder on this machine only, so"
        " that you can train a model of your own with them.",
    ),
}


RULES = {
    "title": "Rules of your folders",
    "about": "One rule a line, as in a .gitignore: screenshots/ leaves a folder out, !@eaDir/ takes one in again.",
}


@router.get("/settings")
def settings(services: Services) -> Json:
    """The choices of the library: `name`, `title`, `about`, `value`, and its `options` (value, words); without options
    it is a text. For the owner also `rules` with `folders`: what else is left out of each, by `rules` that the library
    keeps, and `in_file`, by those of its `.sightlineignore`."""
    return _described(services)


@router.put("/settings")
def choose(services: Services, name: Annotated[str, Body(max_length=20)], value: Annotated[str, Body()]) -> Json:
    """Make a choice, which holds now and at each start that says nothing else."""
    if name == "speech":
        speech_status.check(value)
    services.library.choose(name, value)
    if name == "speech":
        services.speech = speech_status.line(value)
    return _described(services)


@router.put("/rules")
def change_rules(
    services: Services,
    path: Annotated[str, Body(max_length=4096)],
    rules: Annotated[str, Body()],
    check: Annotated[bool, Body()] = False,
) -> Json:
    """Give a folder other rules, which hold from now on; with `check` only count. `left_out` and `taken_in`: the files
    that this concerns (`at_least`: it has more than could be counted). The owner's alone."""
    if not services.is_owner():
        return Json({"error": "Only the owner of the library may change the rules of its folders."}, 403)
    return Json(asdict(services.library.change_rules(Path(path), rules, check=check)))


def _described(services: WebServices) -> Json:
    choices = {"theme": ""} | services.library.choices()
    about = {name: text for name, (_, text) in TITLES.items()}
    about["speech"] = speech_status.line(choices["speech"]) + "."
    kept = choices.pop("kept_clicks")
    if kept != "0":
        about["clicks"] += f" {kept} kept so far."
    rows: list[dict[str, Any]] = []
    for name, value in choices.items():
        options = OPTIONS.get(name)
        if name == "clicks" and options and kept != "0":
            options = [*options, ("delete", "Deleted, and not kept")]
        if name == "speech" and options and importlib.util.find_spec("faster_whisper"):
            options = [*options, *LARGER_SPEECH]
        if options and value not in dict(options):
            options = [*options, (value, value)]
        rows.append(
            {"name": name, "title": TITLES[name][0], "about": about[name], "value": value, "options": options or []}
        )
    rules = None
    if services.is_owner():
        rules = {**RULES, "folders": [asdict(one) for one in services.library.folder_rules()]}
    return Json({"settings": rows, "rules": rules})
