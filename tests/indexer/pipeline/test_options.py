"""Indexing options: kept with a library for its workers, refused when they make no sense."""

from pathlib import Path

import pytest

from indexer.catalogue.catalogue import Catalogue
from indexer.errors import LibraryError
from indexer.pipeline.options import IndexingOptions


def test_what_a_library_asks_for_is_kept_for_workers(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    assert IndexingOptions.of(catalogue.settings) == IndexingOptions()
    asked = IndexingOptions(12.5, 2.0, "all", "small")
    asked.store(catalogue.settings)
    assert (
        IndexingOptions.of(catalogue.settings) == asked
        and asked.speech_model == "small"
        and IndexingOptions().speech_model is None
    )
    catalogue.close()


@pytest.mark.parametrize("wrong", [{"ocr": "some"}, {"overlap_s": 30.0}, {"overlap_s": -1.0}])
def test_what_cannot_be_asked_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LibraryError):
        IndexingOptions(**wrong)  # type: ignore[arg-type]
