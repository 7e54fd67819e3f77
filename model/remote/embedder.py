"""What the embedders over a connection share: requests in parallel, their order, the name in each response."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from model.embedder import ModelError
from model.inputs import Input
from model.ranking_profile import RankingProfile
from model.remote.connection import Connection


class RemoteEmbedder:
    """An `Embedder` over a connection. Safe to call from several threads.

    `canary`: float32 [6, dim], the server's vectors of `self_check.inputs()` at connection.
    `named`: whether the server gives the id of its weights; else `id` is a hash of the canary.
    """

    id: str
    dim: int
    max_frames: int
    named: bool
    canary: np.ndarray
    profile: RankingProfile | None = None

    def __init__(self, connection: Connection, parallel_requests: int) -> None:
        self.connection, self.address = connection, connection.base
        self._pool = ThreadPoolExecutor(parallel_requests, thread_name_prefix="model-server")

    def embed(self, inputs: Sequence[Input]) -> np.ndarray:
        """Returns float32 [len(inputs), dim]; rows of unit length, in order. Raises `ModelAway` if the server does
        not answer, `InputRejected` for an input that it cannot embed, else `ModelError`."""
        if not inputs:
            return np.zeros((0, self.dim), np.float32)
        requests = self._split(inputs)
        parts = list(self._pool.map(self._request, requests)) if len(requests) > 1 else [self._request(requests[0])]
        vectors = np.concatenate(parts)
        if vectors.shape != (len(inputs), self.dim):
            raise ModelError(
                f"{self.address} answered {len(inputs)} inputs with {vectors.shape[0]} vectors of"
                f" {vectors.shape[1]} values; {self.dim} were promised."
            )
        return vectors

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()

    def _split(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        """Returns the inputs of each request."""
        raise NotImplementedError

    def _request(self, inputs: Sequence[Input]) -> np.ndarray:
        raise NotImplementedError

    def _require_model(self, name: object, expected_name: str) -> None:
        if name != expected_name:
            raise ModelError(
                f"{self.address} has another model now ({name!s:.80}) than at the start ({expected_name}): nothing "
                "more is embedded with it. Start Sightline again to change the library to it."
            )
