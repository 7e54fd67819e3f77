"""A model on another machine as an `Embedder`: `--model https://gpu-box:8000`.

Built around `connect`, which asks `GET /v1/models`. A `sightline serve-model` answers with the id, dimension and
frames of its model and takes whole batches of exact pixels (`model/remote/wire.py`); any other server receives one
conversation per input (`chat_server.py`) or its own form (`parts_servers.py`).

Every response names its model, and the vectors of another model are an error: there is no fallback to another
model. It knows nothing of HTTP (`connection.py`) or libraries; `indexer/active_models.py` stores the canary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model import self_check
from model.embedder import SIDE, InputRejected, ModelError
from model.inputs import Input
from model.ranking_profile import RankingProfile
from model.remote import wire
from model.remote.chat_server import ChatServer
from model.remote.connection import Connection
from model.remote.embedder import RemoteEmbedder
from model.remote.parts_servers import SERVERS

PARALLEL_REQUESTS = 4
"""Concurrent requests of one `embed`: the next images are sent while the server embeds."""
REQUEST_BYTES = 8 << 20
REQUEST_INPUTS = 32
MAX_SIDE = 4096
"""Pixels of the longest side of what a server may ask for."""


def connect(
    address: str, *, token: str | None = None, dim: int | None = None, max_frames: int | None = None
) -> RemoteEmbedder:
    """Returns the embedder of the server at `address`; `#name` at the end selects one of several models.

    Raises `ModelAway` if the server does not answer, `ModelError` if it is no model server, rejects the token, or
    has several models and `address` names none.
    """
    connection = Connection(address, token)
    base, name = connection.base, connection.model_name
    data = connection.get("/v1/models").get("data")
    models = [m for m in data if isinstance(m, dict) and "id" in m] if isinstance(data, list) else []
    names = [str(m["id"]) for m in models]
    if name and name not in names:
        raise ModelError(f"{base} has no model {name}; it has {', '.join(names) or 'none'}.")
    if not names:
        raise ModelError(f"{base} is no model server: it lists no models under /v1/models.")
    if len(names) > 1 and not name:
        raise ModelError(f"{base} has several models; choose one: " + ", ".join(f"{base}#{n}" for n in names))
    model = models[names.index(name) if name else 0]
    if isinstance(model.get("sightline"), dict):
        if dim is not None:
            raise ModelError(f"{base} decides how long its vectors are: start `serve-model` there with --dim.")
        return SightlineServer(connection, model["sightline"], max_frames)
    server = SERVERS.get(str(model.get("owned_by")), ChatServer)
    return server(connection, str(model["id"]), dim, max_frames)


class SightlineServer(RemoteEmbedder):
    """A `sightline serve-model`: whole batches, exact pixels, and the model's own id."""

    named = True

    def __init__(self, connection: Connection, fields: dict[str, Any], max_frames: int | None) -> None:
        super().__init__(connection, PARALLEL_REQUESTS)
        try:
            self.id, self.dim = str(fields["id"]), int(fields["dim"])
            self.max_frames = min(int(fields["max_frames"]), max_frames or 10**6)
            if "sides" in fields:  # an older server does not give them
                self.max_side, self.page_side, self.frame_side = (_side(fields["sides"][kind]) for kind in SIDE)
                if (side := _side(fields["sides"].get("query", self.max_side))) > self.max_side:
                    self.query_side = side
            self._max_bytes = int(fields.get("most_bytes", REQUEST_BYTES))
            profile = fields.get("profile")  # None: the model is untuned, or the server is older
            self.profile = None if profile is None else RankingProfile(**profile)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{self.address} speaks another version of `serve-model`; update one of the two."
            raise ModelError(message) from error
        self._compact = not connection.is_loopback
        self.canary = self.embed(self_check.inputs())

    def _split(self, inputs: Sequence[Input]) -> list[Sequence[Input]]:
        """Returns parts in order, of bounded size; an input above the bound is a part of its own."""
        parts: list[list[Input]] = [[]]
        part_bytes = 0
        for item in inputs:
            n_bytes = sum(p.nbytes for p in item.images) + (0 if item.video is None else item.video.nbytes)
            if parts[-1] and (part_bytes + n_bytes > REQUEST_BYTES or len(parts[-1]) == REQUEST_INPUTS):
                parts.append([])
                part_bytes = 0
            parts[-1].append(item)
            part_bytes += n_bytes
        return list(parts)

    def _request(self, inputs: Sequence[Input]) -> np.ndarray:
        body = wire.pack(inputs, compact=self._compact)
        if len(body) > self._max_bytes:
            raise InputRejected(f"it is {len(body) >> 20} MB, and {self.address} takes {self._max_bytes >> 20}")
        response = self.connection.post("/v1/embed", content=body, kind=wire.CONTENT_TYPE)
        try:
            vectors, model_id = wire.unpack_vectors(response.content)
        except wire.WireError as error:
            raise ModelError(f"{self.address} gave no vectors ({error}).") from error
        self._require_model(model_id, self.id)
        return vectors


def _side(value: Any) -> int:
    """Returns a longest side in pixels that a server gives. Raises `ValueError` for one that would cost too much."""
    if not 16 <= int(value) <= MAX_SIDE:
        raise ValueError(value)
    return int(value)
