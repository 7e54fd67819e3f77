"""Inputs to unit vectors: the `Embedder` interface and the models behind it. Imports nothing else of ours."""

from model.embedder import Embedder, ModelError
from model.inputs import Input
from model.loading import load

__all__ = ["Embedder", "Input", "ModelError", "load"]
