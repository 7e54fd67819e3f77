"""Batches across the clients of a model server.

Built around `RequestBatcher`: requests wait in a bounded queue; when the model is free, the waiting ones go to
it together, queries first. It knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from app.web.bodies import MIB
from model.embedder import Embedder, ModelError
from model.inputs import Input

log = logging.getLogger("sightline")

QUEUE_INPUTS = 512
QUEUE_BYTES = 256 * MIB
BATCH_MOST = 64
BATCH_S = 0.25
"""The duration that batches are sized for: how long a new query waits for the batch before it."""
LINGER_S = 0.0
"""How long a free model waits for more requests. Requests that arrive during a batch form the next one, and
waiting lengthens every call of a lone client. `make bench-serving` compares with 5 ms; its figures so far come
from a busy machine and do not decide it."""


class QueueFull(Exception):
    """The queue is full. `retry_s`: seconds after which to try again."""

    def __init__(self, retry_s: float) -> None:
        super().__init__("Too many requests wait for the model; try again later.")
        self.retry_s = retry_s


@dataclass(eq=False)
class _Request:
    inputs: Sequence[Input]
    bytes: int
    result: Future[np.ndarray] = field(default_factory=Future)


class RequestBatcher:
    """Takes requests from any thread and embeds them in a thread of its own.

    `most`: inputs of a batch at most. `linger_s`: how long a free model waits for a batch to fill.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        most: int = BATCH_MOST,
        linger_s: float = LINGER_S,
        queue_inputs: int = QUEUE_INPUTS,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.embedder, self.most, self.linger_s = embedder, most, linger_s
        self._queue_inputs, self._queue_bytes = queue_inputs, queue_bytes
        self._queries: deque[_Request] = deque()
        self._documents: deque[_Request] = deque()
        self._inputs = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._input_s = 0.02
        self._size = 8
        self.batches = self.embedded = 0
        self._thread = threading.Thread(target=self._run, name="model-batches", daemon=True)
        self._thread.start()

    def submit(self, inputs: Sequence[Input]) -> Future[np.ndarray]:
        """Vectors float32 [n, dim] as a future. Raises `QueueFull`; an empty queue takes a request of any size."""
        size = sum(sum(p.nbytes for p in i.images) + (0 if i.video is None else i.video.nbytes) for i in inputs)
        request = _Request(inputs, size)
        if not inputs:
            request.result.set_result(np.zeros((0, self.embedder.dim), np.float32))
            return request.result
        with self._changed:
            full = self._inputs + len(inputs) > self._queue_inputs or self._bytes + size > self._queue_bytes
            if self._closed or (full and self._inputs):
                raise self._full()
            (self._queries if any(i.role == "query" for i in inputs) else self._documents).append(request)
            self._inputs += len(inputs)
            self._bytes += size
            self._changed.notify_all()
        return request.result

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(30)

    def refuse_when_full(self) -> None:
        """Raise `QueueFull` if the queue is full: for use before a body is read."""
        with self._changed:
            if self._closed or self._inputs >= self._queue_inputs or self._bytes >= self._queue_bytes:
                raise self._full()

    def _full(self) -> QueueFull:
        return QueueFull(max(1.0, self._inputs * self._input_s))

    def _run(self) -> None:
        while batch := self._next_batch():
            start = time.monotonic()
            self._embed(batch)
            self._count(batch, time.monotonic() - start)

    def _next_batch(self) -> list[_Request]:
        """Whole requests that go to the model together; empty when closed. Queries first, but in at most three
        quarters of a batch, so that documents do not starve; then in order of arrival."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queries or self._documents or self._closed)
                if self._closed:
                    for request in (*self._queries, *self._documents):
                        request.result.cancel()
                    return []
                if self.linger_s:
                    self._changed.wait_for(lambda: self._closed or self._inputs >= self._size, self.linger_s)
                batch: list[_Request] = []
                count = 0
                for queue, share in ((self._queries, 0.75), (self._documents, 1.0), (self._queries, 1.0)):
                    while queue and (not batch or count + len(queue[0].inputs) <= share * self._size):
                        request = queue.popleft()
                        if request.result.set_running_or_notify_cancel():
                            batch.append(request)
                            count += len(request.inputs)
                        else:  # the client is gone
                            self._release(request)
                if batch:
                    return batch

    def _release(self, request: _Request) -> None:
        self._inputs -= len(request.inputs)
        self._bytes -= request.bytes

    def _embed(self, batch: Sequence[_Request]) -> None:
        inputs = [item for request in batch for item in request.inputs]
        try:
            vectors = np.asarray(self.embedder.embed(inputs), np.float32)
            if vectors.shape != (len(inputs), self.embedder.dim):
                raise ModelError(f"the model gave an array {vectors.shape} for {len(inputs)} inputs")
        except Exception as error:  # noqa: BLE001 – the boundary to any model; the client gets the error
            if len(batch) == 1:
                log.warning("a request could not be embedded: %s: %s", type(error).__name__, error)
                batch[0].result.set_exception(error)
            for request in batch if len(batch) > 1 else ():  # a bad input of one client must not fail the others
                self._embed([request])
            return
        start = 0
        for request in batch:
            request.result.set_result(vectors[start : start + len(request.inputs)])
            start += len(request.inputs)

    def _count(self, batch: Sequence[_Request], seconds: float) -> None:
        inputs = sum(len(request.inputs) for request in batch)
        with self._changed:
            for request in batch:
                self._release(request)
            self.batches += 1
            self.embedded += inputs
            self._input_s += 0.3 * (seconds / inputs - self._input_s)
            self._size = int(min(self.most, 2 * self._size, max(1, BATCH_S / max(self._input_s, 1e-5))))
