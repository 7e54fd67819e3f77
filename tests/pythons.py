"""The whole road on each Python that Sightline promises: setup, index, search, serve (`make test-pythons`).

Built around a copy of what git knows here, `make setup` in it, and the command that it installs. It imports
only the standard library, as it runs before anything is installed. Arguments name versions; without any, all
are tried that are on the PATH or among pyenv's, and those that are missing are named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMISED = ("3.11", "3.12", "3.13", "3.14")
QUERY = "life jackets"  # stands on a page of the demo's handbook
PORT = 7893


def main(versions: list[str]) -> int:
    """0 if the road is whole on every Python found; 1 if it is not, or a version asked for is missing."""
    results = {}
    for version in versions or PROMISED:
        python = find(version)
        print(f"Python {version}: {python or 'not found'}", flush=True)
        if python:
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="sightline-road-") as folder:
                results[version] = _problem(python, Path(folder))
            print(f"  {results[version] or 'passed'} after {time.monotonic() - begun:.0f} s", flush=True)
    missing = [version for version in versions or PROMISED if version not in results]
    failed = [version for version, problem in results.items() if problem]
    print(f"passed: {len(results) - len(failed)}, failed: {failed or 'none'}, not found: {missing or 'none'}")
    return 1 if failed or not results or (versions and missing) else 0


def find(version: str) -> str | None:
    """An interpreter of this version that runs: on the PATH, pyenv's newest, or the one that runs this."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"), key=lambda p: [int(n) for n in p.parts[-3].split(".")])
    for python in (shutil.which(f"python{version}"), *map(str, found[::-1]), sys.executable):
        if python and _prints([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) == version:
            return python
    return None


def _prints(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _problem(python: str, folder: Path) -> str | None:
    """What goes wrong on the road, in a line; None if nothing does."""
    checkout, media = folder / "checkout", folder / "media"
    _copy(checkout)
    sightline = [str(checkout / ".venv" / "bin" / "sightline")]
    place = ["--data-dir", str(folder / "library")]
    draw = f"from app.demo import build; from pathlib import Path; build(Path({str(media)!r}))"
    try:
        _run(["make", "setup", f"PYTHON={python}"], checkout)
        _run([str(checkout / ".venv" / "bin" / "python"), "-c", draw], checkout)
        counts = json.loads(_run([*sightline, "index", str(media), "--json", *place], folder))
        if counts["failed"] or not (counts["images"] and counts["videos"] and counts["pdfs"]):
            return f"index: {counts}, {_run([*sightline, 'failures', '--json', *place], folder)}"
        hits = json.loads(_run([*sightline, "search", QUERY, "--json", *place], folder))["hits"]
        if not hits or hits[0]["kind"] != "pdf":
            return f"search: {hits[:1]}"
        return _serve([*sightline, "serve", "--no-browser", "--no-token", "--port", str(PORT), *place], folder)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(map(str, error.cmd[:2]))}: {(error.stderr or error.stdout)[-1500:]}"


def _copy(checkout: Path) -> None:
    """What git tracks here or would add, as it lies on the disk."""
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)


def _run(command: list[str], cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def _serve(command: list[str], cwd: Path) -> str | None:
    """Start the server and ask it twice: whether it is well, and for the page on life jackets."""
    with (cwd / "serve.log").open("w+") as log, subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log) as server:
        try:
            for _ in range(600):
                if server.poll() is not None:
                    break
                try:
                    _get("/healthz")
                    answer = json.loads(_get(f"/api/search?q={QUERY.replace(' ', '+')}"))
                    return None if answer["hits"] else f"serve: no hits in {answer}"
                except OSError:
                    time.sleep(0.2)
            return f"serve: {Path(log.name).read_text()[-1500:]}"
        finally:
            server.terminate()


def _get(path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=60) as answer:
        return answer.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
