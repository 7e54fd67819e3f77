"""The batching model server with one client calling alone and with sixteen: `python -m tests.bench.serving`.

A server and its clients in processes of their own, lite, on loopback; the same inputs each time. What counts
is the ratio of the two throughputs in one run, and how long a query waits meanwhile. The second table shows
why a free model does not wait for more (`app.model_server.batching.LINGER_S`).
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np

import model
from model import Embedder, Input
from tests.bench.report import table, write

CLIENTS = 16
ROUNDS, SLICE_S = 5, 0.7
WAITS_MS = (0, 5)

SERVER = """
import sys, uvicorn, model
from app.model_server.server import create_model_app
port, linger = int(sys.argv[1]), float(sys.argv[2])
app = create_model_app(model.load("lite"), port=port, linger_s=linger)
uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
"""


class Serving:
    def __init__(self, linger_ms: float = 0) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-c", SERVER, str(port), str(linger_ms / 1000)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"{self.url}/healthz")
                break
            assert self.process.poll() is None, "the model server ended"
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def texts(n: int) -> Input:
    return Input(text=f"a photograph of number {n} on a wooden table in the evening", role="query")


def pictures(n: int) -> Input:
    noise = np.random.default_rng(n).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    return Input(images=(noise,), kind="image")


def throughput(embedders: Sequence[Embedder], inputs: Sequence[Input]) -> tuple[float, float]:
    """(inputs a second, median milliseconds of a call): clients that each send one input after another."""
    begun = time.perf_counter()
    until = begun + SLICE_S
    waited: list[float] = []

    def work(place: int) -> None:
        done = 0
        while time.perf_counter() < until:
            asked = time.perf_counter()
            embedders[place].embed([inputs[(place + done) % len(inputs)]])
            waited.append((time.perf_counter() - asked) * 1000)
            done += 1

    with ThreadPoolExecutor(len(embedders)) as pool:
        list(pool.map(work, range(len(embedders))))
    return len(waited) / (time.perf_counter() - begun), statistics.median(waited)


def row(url: str, what: str, make: Callable[[int], Input]) -> list[object]:
    """One client and sixteen by turns, so that a busy machine is as busy for both; medians of the rounds."""
    inputs = [make(n) for n in range(32)]
    clients = [model.load(url) for _ in range(CLIENTS)]
    rounds = [(throughput(clients[:1], inputs), throughput(clients, inputs)) for _ in range(ROUNDS)]
    alone, alone_ms, many, many_ms = (
        statistics.median(one[n][m] for one in rounds) for n, m in ((0, 0), (0, 1), (1, 0), (1, 1))
    )
    ratios = sorted(many[0] / alone[0] for alone, many in rounds)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    middle = statistics.median(ratios)
    return [what, f"{alone:.0f}", f"{alone_ms:.1f}", f"{many:.0f}", f"{many_ms:.1f}", f"{middle:.2f}", spread]


def measure() -> str:
    kinds = (("text queries", texts), ("pictures 320 x 240", pictures))
    found: dict[int, list[list[object]]] = {}
    for linger in WAITS_MS:
        serving = Serving(linger)
        try:
            found[linger] = [row(serving.url, what, make) for what, make in kinds]
        finally:
            serving.stop()
    head = ["inputs", "alone, a second", "ms", f"{CLIENTS} clients, a second", "ms", "ratio", "of the rounds"]
    return (
        f"`sightline serve-model` with lite, {os.cpu_count()} cores shared by the server and its clients,"
        " by turns"
        f" in {ROUNDS} rounds. Target of the ratio: at least 1.2.\n\n"
        + table(head, found[WAITS_MS[0]])
        + f"\n\nThe same when a free model waits {WAITS_MS[-1]} ms for more:\n\n"
        + table(head, found[WAITS_MS[-1]])
    )


def main() -> None:
    write("serving", measure())


if __name__ == "__main__":
    main()
