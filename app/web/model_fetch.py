"""Downloads a model for the page, one at a time, and then measures its cost on this machine.

Built around `ModelFetch`, which runs the command line's `install_model` in a thread. It knows nothing of hubs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from model.embedder import ModelError

log = logging.getLogger(__name__)


class Fetch(Protocol):
    """`app.cli.model_install.install_model`."""

    def __call__(
        self, name: str, report: Callable[[str], None], precision: str | None, *, progress: Callable[[str], None]
    ) -> None: ...


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
    """`fetch`: puts a model on this machine and reports lines; None: this server downloads nothing."""

    def __init__(self, fetch: Fetch | None) -> None:
        self._fetch, self._lock, self._state = fetch, threading.Lock(), FetchState()

    def state(self) -> FetchState:
        return self._state

    def start(self, name: str, precision: str | None = None) -> FetchState:
        """Start a download, unless one is running. Raises `ModelError` for an unknown name or precision."""
        from model.hub_models import HUB_MODELS

        if self._fetch is None or name not in HUB_MODELS:
            raise ModelError(f"{name[:80]} cannot be downloaded from the page.")
        if precision not in (None, *HUB_MODELS[name].precisions):
            raise ModelError(f"{name} has the precisions {', '.join(HUB_MODELS[name].precisions)}.")
        with self._lock:
            state = self._state  # what is answered: the thread may be further by then
            if state.state not in ("fetching", "measuring"):
                self._state = state = FetchState(name, "fetching")
                threading.Thread(target=self._run, args=(name, precision), daemon=True, name="model-fetch").start()
            return state

    def _run(self, name: str, precision: str | None) -> None:
        from model.loading import load
        from model.machine import lower_priority
        from model.measure import measure

        lower_priority()  # building and measuring use every core; searches go before
        assert self._fetch is not None
        try:
            self._fetch(name, self._show, precision, progress=self._show)
            self._set(state="measuring", line="measuring the cost on this machine")
            self._set(seconds=asdict(measure(load(name, dtype=precision or "auto"))), state="ready", line="downloaded")
        except ModelError as error:
            self._set(state="failed", line=str(error))
        except Exception:  # the boundary of the thread
            log.exception("fetching %s", name)
            self._set(state="failed", line="the download failed; the reason is in the log")

    def _show(self, line: str) -> None:
        self._set(line=line)

    def _set(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
