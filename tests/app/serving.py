"""The application on a port of its own, which can be stopped and started again; a busy library."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import uvicorn

from app.web.server import create_app


class Server:
    """`served` is a library, or something that answers like one."""

    def __init__(self, served: Any, gradio: bool = True, **options: Any) -> None:
        self.served, self.gradio, self.options = served, gradio, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        app = create_app(self.served, port=self.port, gradio=self.gradio, **self.options)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="warning", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.door = app.state.door

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def wait_for_gradio(self) -> None:
        self.door.begin()
        while not self.door.ready:
            assert not self.door.failed, "Gradio could not be loaded"
            time.sleep(0.05)


class Busy:
    """A library with a status that a test sets; everything else is the real one's."""

    def __init__(self, library: Any, **changes: Any) -> None:
        self._library, self.changes = library, changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def status(self) -> Any:
        return replace(self._library.status(), **self.changes)
