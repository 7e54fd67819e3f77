"""Two builds of FAISS in one environment are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import LibraryError
from indexer.vectors import open


def test_the_installed_engine_is_accepted() -> None:
    open.check_engine()
    assert len(open.installed()) == 1


def test_both_packages_at_once_are_refused_and_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in open.PACKAGES:
        facts = tmp_path / f"{name.replace('-', '_')}-9.0.dist-info" / "METADATA"
        facts.parent.mkdir()
        facts.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(LibraryError, match="pip uninstall -y faiss-cpu faiss-gpu"):
        open.check_engine()


def test_a_missing_engine_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open, "find_spec", lambda name: None)
    with pytest.raises(LibraryError, match=r"sightline\[cpu\]"):
        open.check_engine()
