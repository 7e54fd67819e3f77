"""What is known of an opened hit, and why it is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from indexer.library import Library
from indexer.types import Part, Query
from tests.app.conftest import HERE
from tests.app.labelled_album import write_album
from tests.media import draw_image


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    place = tmp_path_factory.mktemp("known")
    folder = write_album(place / "album")
    (folder / "Portugal" / "tram.jpg.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        "<Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Wilhelmina</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImage>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    for n in range(5):
        draw_image(folder / f"picture {n}.png", seed=n)
    with Library.open(place / "library", ocr="off") as library:
        library.index([folder])
        yield library


@pytest.fixture(scope="module")
def known(album: Library) -> Iterator[TestClient]:
    with TestClient(create_app(album, gradio=False), base_url=HERE) as client:
        yield client


def chunk_of(library: Library, name: str) -> int:
    hits = library.search(Query((Part(text=f"name:{name}"),))).hits
    return hits[0].chunk_id


def test_what_is_known_of_a_photo(known: TestClient, album: Library) -> None:
    chunk = chunk_of(album, "tram")
    album.add_to_album("Trip", [album.search(Query((Part(text="name:tram"),))).hits[0].file_id])
    info = known.get(f"/api/info/{chunk}").json()
    assert info["camera"] == "Google Pixel 7" and info["place"] == "Lisbon, Portugal"
    assert info["taken"].startswith("2023-07-14T18:20:00") and info["size"] > 100
    assert (
        info["caption"] == "Wilhelmina"
        and info["people"] == ["Wilhelmina"]
        and info["albums"] == ["Trip"]
        and not info["favourite"]
    )
    assert known.get("/api/info/424242").status_code == known.get("/api/why/424242").status_code == 404
    assert known.get(f"/api/info/{2**63}").status_code == 422


def test_what_is_known_of_a_film_and_of_one_that_is_gone(known: TestClient, album: Library, tmp_path: Path) -> None:
    chunk = chunk_of(album, "storm")
    info = known.get(f"/api/info/{chunk}").json()
    assert info["codecs"]["video"] == "h264" and info["codecs"]["fps"] == 5.0
    path = Path(info["path"])
    try:
        path.rename(tmp_path / "away.mp4")
        assert known.get(f"/api/info/{chunk}").json()["codecs"] is None
    finally:
        (tmp_path / "away.mp4").rename(path)


def test_why_names_the_words_their_places_and_the_nearness(known: TestClient, album: Library) -> None:
    def why(name: str, q: str) -> Any:
        return known.get(f"/api/why/{chunk_of(album, name)}", params={"q": q}).json()

    tram = why("tram", "the trams of Wilhelmina in Portugal camera:pixel")
    assert tram["words"] == [
        {"word": "trams", "places": ["name"]},
        {"word": "wilhelmina", "places": ["caption"]},
        {"word": "portugal", "places": ["folder"]},
    ]
    assert tram["model"].startswith("lite") and tram["looks"]["of"] == 7 and 1 <= tram["looks"]["rank"] <= 7
    page = why("chimney", "chimneys invoiced")
    assert page["words"][0] == {"word": "chimneys", "places": ["name", "page"]}
    assert page["looks"] == {"closer_than": 0.0, "rank": 1, "of": 1}, "it is the only page"
    assert why("tram", "is:favourite")["looks"] is None
    like = known.get(f"/api/why/{chunk_of(album, 'tram')}", params={"like": chunk_of(album, "tram")}).json()
    assert like["looks"]["rank"] == 1 and like["words"] == []
