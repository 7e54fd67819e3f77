"""Selects the objective of a config."""

from __future__ import annotations

from train.config import Config, ConfigError
from train.objectives.contrastive import Contrastive, Objective
from train.towers.tower import Tower


def open_objective(config: Config, tower: Tower) -> Objective:
    """Returns the objective. Raises `ConfigError` if teacher and tower differ in dimension."""
    if config.objective == "distill":
        from train.objectives.distill import Distillation

        distillation = Distillation(config)
        if tower.dim != distillation.teacher.dim:
            raise ConfigError(
                f"{config.model_name} has {tower.dim} dimensions, its teacher {config.teacher} has "
                f"{distillation.teacher.dim}: only models of equal width can be compared"
            )
        return distillation
    return Contrastive(config)
