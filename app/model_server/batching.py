"""Many callers, one model: batches formed across the clients of a model server.

Built around `RequestBatcher`: requests wait in a bounded queue; when the model is free, those that wait go to
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

from app.web.guard import MIB
from model.embedder import Embedder, ModelError
from model.inputs import Input

log = logging.getLogger("sightline")

QUEUE_INPUTS = 512
QUEUE_BYTES = 256 * MIB
BATCH_MOST = 64
BATCH_S = 0.25
"""A batch is sized to take about so long: what a query that comes now has to wait for."""
LINGER_S = 0.0
"""How long a free model waits for more before it begins. What comes while a batch is embedded forms the next
one, and waiting lengthens every call of a lone client. `make bench-serving` compares with 5 ms; its figures
so far come from a busy machine and do not decide it."""


class QueueFull(Exception):
    """More waits than may. `retry_s`: when to come back."""

    def __init__(self, retry_s: float) -> None:
        super().__init__("Too much waits for the model; come back later.")
        self.retry_s = retry_s


@dataclass(eq=False)
class _Waiting:
    inputs: Sequence[Input]
    bytes: int
    done: Future[np.ndarray] = field(default_factory=Future)

    @property
    def asks(self) -> bool:
        return any(item.role == "query" for item in self.inputs)


class RequestBatcher:
    """`submit` from any thread, batches in one of its own.

    `most` bounds the inputs of a batch, `linger_s` is how long it waits to be filled when the model is free.
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
        self._asking: deque[_Waiting] = deque()
        self._filling: deque[_Waiting] = deque()
        self._inputs = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._an_input_s = 0.02
        self._size = 8
        self.batches = self.embedded = 0
        self._thread = threading.Thread(target=self._run, name="model-batches", daemon=True)
        self._thread.start()

    def submit(self, inputs: Sequence[Input]) -> Future[np.ndarray]:
        """float32 [n, dim] when it is done. Raises `QueueFull`; an empty queue takes anything."""
        size = sum(sum(p.nbytes for p in i.images) + (0 if i.video is None else i.video.nbytes) for i in inputs)
        waiting = _Waiting(inputs, size)
        with self._changed:
            full = self._inputs + len(inputs) > self._queue_inputs or self._bytes + size > self._queue_bytes
            if self._closed or (full and self._inputs):
                raise self._full()
            (self._asking if waiting.asks else self._filling).append(waiting)
            self._inputs += len(inputs)
            self._bytes += size
            self._changed.notify_all()
        return waiting.done

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(30)

    def refuse_when_full(self) -> None:
        """Raises `QueueFull` where nothing more is taken: before a body is even read."""
        with self._changed:
            if self._closed or self._inputs >= self._queue_inputs or self._bytes >= self._queue_bytes:
                raise self._full()

    def _full(self) -> QueueFull:
        return QueueFull(max(1.0, self._inputs * self._an_input_s))

    def _run(self) -> None:
        while batch := self._take():
            begun = time.monotonic()
            self._embed(batch)
            self._count(batch, time.monotonic() - begun)

    def _take(self) -> list[_Waiting]:
        """What goes to the model together: queries first, in three quarters of a batch so that nobody
        starves, then in order of arrival; whole requests. Empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._asking or self._filling or self._closed)
                if self._closed:
                    for one in (*self._asking, *self._filling):
                        one.done.cancel()
                    return []
                if self.linger_s:
                    self._changed.wait_for(lambda: self._closed or self._inputs >= self._size, self.linger_s)
                taken: list[_Waiting] = []
                count = 0
                for queue, share in ((self._asking, 0.75), (self._filling, 1.0), (self._asking, 1.0)):
                    while queue and (not taken or count + len(queue[0].inputs) <= share * self._size):
                        one = queue.popleft()
                        if one.done.set_running_or_notify_cancel():
                            taken.append(one)
                            count += len(one.inputs)
                        else:  # its asker has gone
                            self._let_go(one)
                if taken:
                    return taken

    def _let_go(self, one: _Waiting) -> None:
        self._inputs -= len(one.inputs)
        self._bytes -= one.bytes

    def _embed(self, batch: Sequence[_Waiting]) -> None:
        inputs = [item for one in batch for item in one.inputs]
        try:
            vectors = np.asarray(self.embedder.embed(inputs), np.float32)
            if vectors.shape != (len(inputs), self.embedder.dim):
                raise ModelError(f"the model gave an array {vectors.shape} for {len(inputs)} inputs")
        except Exception as error:  # noqa: BLE001 – the boundary to any model; the asker is told
            if len(batch) == 1:
                log.warning("a request could not be embedded: %s: %s", type(error).__name__, error)
                batch[0].done.set_exception(error)
            for one in batch if len(batch) > 1 else ():  # one client's input must not cost the others theirs
                self._embed([one])
            return
        at = 0
        for one in batch:
            one.done.set_result(vectors[at : at + len(one.inputs)])
            at += len(one.inputs)

    def _count(self, batch: Sequence[_Waiting], took_s: float) -> None:
        inputs = sum(len(one.inputs) for one in batch)
        with self._changed:
            for one in batch:
                self._let_go(one)
            self.batches += 1
            self.embedded += inputs
            self._an_input_s += 0.3 * (took_s / inputs - self._an_input_s)
            self._size = int(min(self.most, 2 * self._size, max(1, BATCH_S / max(self._an_input_s, 1e-5))))
