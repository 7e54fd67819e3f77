"""Who listens to videos, as it is told to a person; and who is refused before anything is indexed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import speech_status
from app.settings import SettingsError
from model import speech


def test_speech_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speech, "is_installed", lambda: True)
    monkeypatch.setattr(speech_status, "_whisper_is_here", lambda: True)
    assert speech_status.line("auto") == "Speech: transcribed by tiny.en (English), built in"
    assert speech_status.line("small") == "Speech: transcribed by small"
    assert speech_status.line(str(tmp_path)) == f"Speech: transcribed by {tmp_path.name}"
    assert speech_status.line("off") == "Speech: not transcribed (--speech off)"
    assert speech_status.next_step("auto") == speech_status.next_step("small") == "sightline index"


@pytest.mark.parametrize("name", ["auto", "small"])
def test_where_speech_is_missing_the_line_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "is_installed", lambda: False)
    monkeypatch.setattr(speech_status, "_whisper_is_here", lambda: False)
    command = 'pip install "sightline[speech]" (in a checkout: make setup EXTRAS=cpu,speech)'
    assert speech_status.line(name) == f"Speech: not installed; to install it: {command}"
    assert speech_status.next_step(name) == command


def test_a_listener_that_is_named_and_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    for name in ("off", "auto", "small", str(tmp_path), "somebody/whisper-of-theirs"):
        speech_status.check(name)
    for name in ("smal", "/no/such/folder", "../whisper", "a/b/c"):
        with pytest.raises(SettingsError, match=r"neither off, auto, a folder, .* known speech model: tiny\.en"):
            speech_status.check(name)
    monkeypatch.setattr(speech_status, "_whisper_is_here", lambda: False)
    with pytest.raises(SettingsError, match="--speech small: transcribing speech needs packages"):
        speech_status.check("small")
