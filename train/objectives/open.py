"""Selects the objective of a config."""

from __future__ import annotations

from train.config import Config, ConfigError
from train.objectives.contrastive import Contrastive, Objective
from train.towers.tower import Tower


def open_objective(config: Config, tower: Tower) -> Objective:
    """Returns the objective. Raises `ConfigError` if teacher and tower differ in dimension, or `matryoshka` is too
    long."""
    if config.objective == "distill":
        from train.objectives.distill import Distillation

        distillation = Distillation(config)
        if tower.dim != distillation.teacher.dim:
            raise ConfigError(
                f"{config.model_name} has {tower.dim} dimensions, its teacher {config.teacher} has "
                f"{distillation.teacher.dim}: only models of equal width can be compared"
            )
        return distillation
    if too_long := [dim for dim in config.matryoshka if dim >= tower.dim]:
        raise ConfigError(
            f"matryoshka: {too_long[0]} is not below the {tower.dim} values of {config.model_name}'s vectors"
        )
    return Contrastive(config)
