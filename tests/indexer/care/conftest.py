"""A library that people have used: with labels, albums, a transcript, settings, a folder left out, clicks, tokens."""

from pathlib import Path
from typing import Any

import pytest

from app.web.tokens import Tokens, owner_token
from indexer.library import Library
from model.inputs import Cue
from tests import media


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the closed library. Its media are in `media` beside it."""
    base = tmp_path_factory.mktemp("used")
    folder, data_dir = base / "media", base / "library"
    for n in range(3):
        media.draw_image(folder / f"photo {n}.jpg", seed=n, size=(160, 120))
    media.draw_pdf(folder / "letter.pdf", ["An invoice for bananas", "Greetings from the harbour"])
    media.draw_video(folder / "clip.mp4", 40.0, size=(128, 96), fps=5, audio=True)
    media.draw_image(folder / "private" / "diary.jpg", seed=9, size=(160, 120))
    with reopened(data_dir) as library:
        library.index([folder])
        library.forget(folder / "private")
        video = library.file_at(folder / "clip.mp4")
        assert video is not None
        digest = library.catalogue.files.content_of(video.file_id)
        assert digest is not None
        library.catalogue.transcripts.add(digest, [Cue(1.0, 4.0, "the lighthouse keeper")], by="base@1")
        library.catalogue.settings.set("colour", "blue")
        with library.catalogue.database.writer() as c:
            c.exec_driver_sql("INSERT INTO label (chunk_id, name, score) SELECT id, 'dog', 4.5 FROM chunk")
            c.exec_driver_sql("INSERT INTO label VALUES (1, 'nude', 5.0, 1)")
        library.add_to_album("Trip to Oslo", [1, 2])
        library.add_to_album("", [video.file_id])
        library.clicks.enable(True)
        assert library.clicks.add("bananas", library.chunks(4)[0].chunk_id)
    Tokens(data_dir).add("guest", may_index=False, roots=(str(folder),))
    owner_token(data_dir)
    return data_dir


def reopened(data_dir: Path, model: str = "lite", **options: Any) -> Library:
    return Library.open(data_dir, model, nice=False, ocr="off", speech="off", **options)
