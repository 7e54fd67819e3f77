"""A real Milvus for tests and benchmarks, from the `milvus` wheel: started, killed and started again.

Knows nothing of Sightline. The server's programs (246 MB) are unpacked once into the user's cache.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock


def why_not() -> str | None:
    """Why no server can be started here; None when one can."""
    if find_spec("milvus") is None:
        return "the milvus wheel (extra `dev`, x86-64 Linux) is not installed"
    if find_spec("pymilvus") is None:
        return "pymilvus (extra `scale`) is not installed"
    return None


class RunningMilvus:
    """One server over `folder`, on ports of its own. `options`: keys of milvus.yaml, `__` for the dots."""

    def __init__(self, folder: Path, **options: Any) -> None:
        from milvus import MilvusServer, MilvusServerConfig

        folder.mkdir(parents=True, exist_ok=True)
        programs = platformdirs.user_cache_path("sightline-tests") / "milvus-2.3.5"
        programs.mkdir(parents=True, exist_ok=True)
        if not (folder / "bin").exists():
            (folder / "bin").symlink_to(programs, target_is_directory=True)
        self._folder = folder
        self._config = MilvusServerConfig(data_dir=str(folder))
        self._config.template_text = self._config.template_text.replace(
            "etcd:\n  endpoints", f"etcd:\n  config:\n    path: {folder / 'etcd.yaml'}\n  endpoints", 1
        )
        # Its own test takes a port that was in use a minute ago for taken; `_choose_ports` knows better.
        self._config.try_bind_port = lambda port: socket.socket()
        self._server = MilvusServer(self._config, wait_for_started=False)
        self._ports: dict[str, int] = {}
        self.set(**options)

    def set(self, **options: Any) -> None:
        """Other options, from the next start on."""
        for name, value in options.items():
            self._config.set(name.replace("__", "."), value)

    def start(self) -> None:
        """Start it, on the same ports as before; returns when it says that it is well."""
        here = Path.cwd()
        self._choose_ports()
        with FileLock(platformdirs.user_cache_path("sightline-tests") / "unpacking.lock"):
            try:
                self._server.start()
            finally:
                os.chdir(here)
        deadline = time.monotonic() + 120
        while not self._is_well():
            if self._server.server_proc.poll() is not None or time.monotonic() > deadline:
                log = self._folder / "logs" / "milvus-stderr.log"
                self.kill()
                raise RuntimeError(f"Milvus did not start; {log} ends: {log.read_text('utf-8')[-600:]}")
            time.sleep(0.1)

    def _choose_ports(self) -> None:
        """Free ports, by the system's choice; after a kill the old ones, once they are free again."""
        if not self._ports:
            names = [n for n in self._config.configurable_items if n.endswith("_port")]
            socks = {name: socket.socket() for name in [*names, "peer", "web"]}
            for sock in socks.values():
                sock.bind(("127.0.0.1", 0))
            self._ports = {name: sock.getsockname()[1] for name, sock in socks.items()}
            for sock in socks.values():
                sock.close()
            self._config.configs.update({n: self._ports[n] for n in names})
            client, peer = (f"http://localhost:{self._ports[n]}" for n in ("etcd_port", "peer"))
            (self._folder / "etcd.yaml").write_text(
                f"name: default\ndata-dir: {self._folder / 'etcd'}\n"
                f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
                f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\n"
                f"initial-cluster: default={peer}\n"
            )
        self._server.webservice_port = self._ports["web"]
        deadline = time.monotonic() + 60
        while not all(map(_is_free, self._ports.values())):
            if time.monotonic() > deadline:
                raise RuntimeError("the ports of the killed server are still taken")
            time.sleep(0.1)

    def _is_well(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['web']}/healthz", timeout=5) as told:
                return b"OK" in told.read()
        except (urllib.error.URLError, OSError):
            return False

    @property
    def port(self) -> int:
        return self._ports["proxy_port"]

    @property
    def pid(self) -> int:
        return int(self._server.server_proc.pid)

    def url(self, name: str) -> str:
        return f"milvus://127.0.0.1:{self.port}/{name}"

    def has_ended(self) -> bool:
        process: subprocess.Popen[bytes] | None = self._server.server_proc
        try:
            return process is None or process.wait(20) is not None
        except subprocess.TimeoutExpired:
            return False

    def kill(self) -> None:
        """As a power cut does: at once, with no chance to tidy up."""
        process: subprocess.Popen[bytes] | None = self._server.server_proc
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._server.server_proc = None
            for opened in self._server.proc_fds.values():
                opened.close()
            self._server.proc_fds.clear()

    def stop(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.stop()


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
