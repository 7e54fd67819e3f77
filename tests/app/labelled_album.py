"""A small album with dates, places, cameras, folders and labels: what filters ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from indexer.library import Library
from tests.media import draw_image, draw_pdf, draw_video


def write_album(folder: Path) -> Path:
    """A phone's photo of Lisbon, July 2023; a camera's of Oslo, 2021; an invoice; a film of two scenes."""
    phone = {"taken": "2023:07:14 18:20:00", "gps": (38.7223, -9.1393), "make": "Google", "model": "Pixel 7"}
    camera = {"taken": "2021:02:03 10:00:00", "gps": (59.9139, 10.7522), "make": "Canon", "model": "EOS R6"}
    draw_image(folder / "Portugal" / "tram.jpg", color=(220, 190, 40), exif=phone)
    draw_image(folder / "Norway" / "fjord.jpg", color=(40, 90, 160), exif=camera)
    draw_pdf(folder / "Invoices" / "chimney.pdf", ["Invoice for sweeping the chimney"])
    draw_video(folder / "Films" / "storm.mp4", 8, 5, scenes=((0, (200, 40, 40)), (4, (40, 40, 200))))
    return folder


def label_by_hand(library: Library, labels: Mapping[str, Sequence[str]]) -> None:
    """Labels as `sightline label` writes them, by file name."""
    with library.catalogue.database.writer() as c:
        for name, given in labels.items():
            for label in given:
                c.exec_driver_sql(
                    "INSERT INTO label (chunk_id, name, score, hidden) SELECT k.id, ?, 4.0, 0 FROM chunk k"
                    " JOIN file f ON f.content_hash = k.content_hash WHERE f.name = ?",
                    (label, name),
                )


@contextmanager
def labelled_album(place: Path, labels: Mapping[str, Sequence[str]], people: Sequence[str] = ()) -> Iterator[Library]:
    """The library of that album, in a folder of its own below `place`. `people`: who is on the photo of Lisbon, as an
    export of Google's says it."""
    album = write_album(place / "album")
    if people:
        note = {"title": "tram.jpg", "people": [{"name": name} for name in people]}
        (album / "Portugal" / "tram.jpg.json").write_text(json.dumps(note), encoding="utf-8")
    with Library.open(place / "library", ocr="off") as library:
        library.index([album])
        label_by_hand(library, labels)
        yield library
