"""The folder of a person's library where none is named. It knows no other setting, so that it loads at once."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def user_data_dir() -> Path:
    """Returns the platform's folder of user data."""
    return platformdirs.user_data_path("sightline", appauthor=False)
