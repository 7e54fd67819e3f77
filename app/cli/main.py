"""The entry point of `sightline`: what it prints and returns when it ends.

Built around `app.cli.program`. It holds no command, and its imports are light: `--version` loads nothing else. Exit
codes: 0 done, 1 the job failed, 2 wrong usage.
"""

from __future__ import annotations

import gc
import logging
import sys
from typing import NoReturn

from app import __version__
from app.cli.terminal import harmless


def main() -> None:
    """The entry point: an error becomes one line and exit code 1; an unexpected one is logged as well."""
    logging.getLogger().addHandler(logging.NullHandler())  # until the log is open
    words = sys.argv[1:]
    if words == ["--version"]:
        print_version()
        return
    if words[:1] == ["search"]:
        gc.disable()  # it ends before there is anything to collect: a tenth of its CPU time
    try:
        from app.cli.program import program

        program(*words[:1])()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        logging.getLogger(__name__).exception("system error")
        _exit_with(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:  # the process boundary: one line here, the traceback in the log
        from data.media.kinds import MediaError
        from indexer.errors import LibraryError
        from model.embedder import ModelError

        if isinstance(error, LibraryError | ModelError | MediaError):
            _exit_with(str(error))
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.expanduser
            _exit_with("A path begins with ~ and a name that no account of this machine has.")
        logging.getLogger(__name__).exception("unexpected error")
        _exit_with(f"unexpected error, {type(error).__name__}: {error} (details are in sightline.log in the library)")
    finally:
        gc.freeze()  # what is left is not searched for cycles once more: a fifth of a search's CPU time


def print_version() -> None:
    sys.stdout.write(f"sightline {__version__}\n")


def _exit_with(message: str) -> NoReturn:
    sys.stderr.write(f"sightline: {harmless(message)}\n")
    sys.exit(1)
