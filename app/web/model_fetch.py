"""Downloads a model for the page, one at a time, and then measures its cost on this machine.

Built around `ModelFetch`, which runs the command line's download function in a thread. It knows nothing of hubs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from model.embedder import ModelError

log = logging.getLogger(__name__)

Fetch = Callable[[str, Callable[[str], None]], None]


@dataclass(frozen=True)
class FetchState:
    """`state`: idle, fetching, measuring, ready or failed. `line`: progress or error, for a person.

    `seconds`: of an image, a page and a window on this machine; None until measured.
    """

    name: str = ""
    state: str = "idle"
    line: str = ""
    seconds: dict[str, float] | None = None


class ModelFetch:
    """`fetch`: downloads a model by name and reports lines; None: this server downloads nothing."""

    def __init__(self, fetch: Fetch | None) -> None:
        self._fetch, self._lock, self._state = fetch, threading.Lock(), FetchState()

    def state(self) -> FetchState:
        return self._state

    def start(self, name: str) -> FetchState:
        """Start a download, unless one is running. Raises `ModelError` for an unknown name."""
        from model.hub_models import HUB_MODELS

        if self._fetch is None or name not in HUB_MODELS:
            raise ModelError(f"{name[:80]} cannot be downloaded from the page.")
        with self._lock:
            if self._state.state not in ("fetching", "measuring"):
                self._state = FetchState(name, "fetching")
                threading.Thread(target=self._run, args=(name,), daemon=True, name="model-fetch").start()
            return self._state

    def _run(self, name: str) -> None:
        from model.loading import load
        from model.measure import measure

        assert self._fetch is not None
        try:
            self._fetch(name, lambda line: self._set(line=line))
            self._set(state="measuring", line="measuring the cost on this machine")
            self._set(seconds=asdict(measure(load(name))), state="ready", line="downloaded")
        except ModelError as error:
            self._set(state="failed", line=str(error))
        except Exception:  # the boundary of the thread
            log.exception("fetching %s", name)
            self._set(state="failed", line="the download failed; the reason is in the log")

    def _set(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
