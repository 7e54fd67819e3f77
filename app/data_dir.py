"""The default folder of a library. It knows no other setting, so that importing it costs nothing."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def user_data_dir() -> Path:
    """Returns the platform's folder of user data."""
    return platformdirs.user_data_path("sightline", appauthor=False)
