"""Inputs to unit vectors: the `Embedder` interface and the models behind it. Imports nothing else of ours.

A name loads its module at its first use: NumPy takes a twelfth of a second, and most commands embed nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.embedder import Embedder, ModelError
    from model.inputs import Input
    from model.loading import load

__all__ = ["Embedder", "Input", "ModelError", "load"]

_MODULES = {"Embedder": "embedder", "Input": "inputs", "ModelError": "embedder", "load": "loading"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"model.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'model' has no attribute {name!r}")
