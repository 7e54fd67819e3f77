"""What a person should know about the library."""

from __future__ import annotations

from pathlib import Path

from tests.indexer.conftest import CountingEmbedder, OpenLibrary


def test_a_model_without_a_profile_is_said_to_be_untuned(
    folder: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    counted.profile = None
    library = open_library()
    library.index([folder])
    (notice,) = library.status().notices
    assert f"is not measured for {counted.id};" in notice


def test_of_the_built_in_model_nothing_is_said_whether_it_is_loaded_or_not(
    folder: Path, open_library: OpenLibrary
) -> None:
    library = open_library()
    library.index([folder])
    assert library.status().notices == ()
    library.close()
    assert open_library(read_only=True).status().notices == ()
