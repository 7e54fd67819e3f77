"""What a command loads: `sightline` in a process of its own, and the modules that it has imported at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPT = """
import atexit, json, os, sys
def others():
    files = {name: str(getattr(module, "__file__", None)) for name, module in list(sys.modules.items())}
    return {name for name, file in files.items() if "site-packages" in file or file.startswith(os.getcwd())}
before = others()
atexit.register(lambda: os.write(3, json.dumps(sorted(others() - before)).encode()))
from app.cli.main import main
main()
"""


class Ended(NamedTuple):
    code: int
    stdout: str
    stderr: str
    modules: set[str]
    """The modules of ours and of others that the command loaded."""

    @property
    def packages(self) -> set[str]:
        """The packages of others."""
        return {name.partition(".")[0] for name in self.modules} - {"app", "indexer", "model", "data"}


def run(*words: str | Path, **env: str) -> Ended:
    """Run `sightline` with `words`."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", f"import os; os.dup2({writing}, 3)\n{SCRIPT}", *map(str, words)]
    with os.fdopen(reading, "rb") as pipe:
        done = subprocess.run(
            command, env=os.environ | env, capture_output=True, text=True, timeout=120, pass_fds=[writing],
            cwd=Path(__file__).parents[3],
        )  # fmt: skip
        os.close(writing)
        return Ended(done.returncode, done.stdout, done.stderr, set(json.loads(pipe.read())))
