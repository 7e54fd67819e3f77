"""Settings out of options, variables and defaults; what cannot be used is named with what it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import SettingsError, read


def test_an_option_comes_before_a_variable_and_a_variable_before_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PORT", "81")
    monkeypatch.setenv("SIGHTLINE_WINDOW", "12.5")
    monkeypatch.setenv("SIGHTLINE_NICE", "off")
    monkeypatch.setenv("SIGHTLINE_DATA_DIR", "~/here")
    settings = read(port=82, copies=True, ocr=None)
    assert (settings.port, settings.window, settings.nice, settings.copies, settings.ocr) == (
        82,
        12.5,
        False,
        True,
        "auto",
    )
    assert settings.data_dir == Path("~/here")
    assert settings.given == {"port", "window", "nice", "data_dir", "copies"}
    assert settings.library().window_s == 12.5 and not settings.library().explicit_model
    assert read(model="lite").library().explicit_model


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "65536", "a whole number from 0 to 65535, not '65536'"),
        ("PORT", "1.5", "a whole number"),
        ("PORT", "", "a whole number"),
        ("DIM", "7", "a whole number of at least 8"),
        ("WINDOW", "nan", "a number of at least 1"),
        ("OVERLAP", "inf", "a number of at least 0"),
        ("NICE", "perhaps", "yes or no"),
        ("OCR", "some", "one of off, auto, all"),
        ("WEB_NETWORKS", "10.0.0.0/8,home", "networks such as"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SIGHTLINE_{name}", value)
    with pytest.raises(SettingsError, match=f"SIGHTLINE_{name}") as caught:
        read()
    assert message in str(caught.value)
