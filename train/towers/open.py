"""Selects the tower of a config."""

from __future__ import annotations

from train.config import Config, ConfigError
from train.towers.tower import Tower


def open_tower(config: Config, device: str | None = None) -> Tower:
    """Returns the tower. Raises `ConfigError` or `model.embedder.ModelError`."""
    if config.model_name == "lite":
        from train.towers.student import StudentTower

        return StudentTower(config)
    from model.hub_files import find, read_json
    from model.qwen import adapters
    from model.qwen.checkpoint import BACKBONES

    base = find(config.model_name)
    if adapters.is_adapter(base):
        raise ConfigError(
            f"model_name {config.model_name} is an adapter; merge it first: "
            f"python -m train --merge {config.model_name} --output_dir DIR"
        )
    if read_json(base / "config.json").get("model_type") in BACKBONES:
        from train.towers.qwen import QwenTower

        return QwenTower.load(config, base, device)
    from train.towers.sentence_transformers import SentenceTransformersTower

    return SentenceTransformersTower.load(config, base, device)
