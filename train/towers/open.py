"""Selects the tower of a config."""

from __future__ import annotations

from train.config import Config
from train.towers.tower import Tower


def open_tower(config: Config, device: str | None = None) -> Tower:
    """Returns the tower. Raises `ConfigError` or `model.embedder.ModelError`."""
    if config.model_name == "lite":
        from train.towers.student import StudentTower

        return StudentTower(config)
    from train.towers.qwen import QwenTower

    return QwenTower.load(config, device)
