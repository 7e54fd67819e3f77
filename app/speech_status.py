"""Who listens to videos here, in words for a person: one line, and what to do where nobody does.

Built around what was asked for (`--speech`) and what is installed. It loads no listener and knows no library.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from app.settings import SettingsError
from model import speech


def line(asked: str) -> str:
    """What the page and `sightline models` say of speech, as `asked` with `--speech`."""
    if asked == "off":
        return "Speech: not listened to (--speech off)"
    if missing := lacking(asked):
        return f"Speech: not installed; to have it: {missing}"
    if asked in ("auto", speech.BUILT_IN):
        return f"Speech: heard by {speech.BUILT_IN} (English), built in"
    return f"Speech: heard by {speech.name_of(asked)}"


def next_step(asked: str) -> str:
    """The command that would transcribe the waiting videos (used after a colon)."""
    if asked == "off":
        return "sightline index --speech auto"
    return lacking(asked) or "sightline index"


def lacking(asked: str) -> str | None:
    """The command that installs what the listener needs; None: all is here."""
    here = speech.is_installed() if asked in ("auto", speech.BUILT_IN) else _whisper_is_here()
    return None if here else speech.EXTRA_MISSING.partition("run: ")[2]


def check(asked: str) -> None:
    """Refuse a listener that cannot be before anything is indexed for it. Raises `SettingsError`."""
    if asked in ("off", "auto"):
        return
    if lacking(asked):
        raise SettingsError(f"--speech {asked}: {speech.EXTRA_MISSING}")
    if asked == speech.BUILT_IN or Path(asked).expanduser().is_dir():
        return
    from faster_whisper.utils import available_models

    if asked not in available_models() and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", asked):
        raise SettingsError(
            f"--speech (or SIGHTLINE_SPEECH): {asked} is neither off, auto, a folder, an id of the hub nor a "
            f"speech model that is known: {', '.join(available_models())}"
        )


def _whisper_is_here() -> bool:
    return importlib.util.find_spec("faster_whisper") is not None
