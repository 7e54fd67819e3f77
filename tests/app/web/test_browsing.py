"""The timeline, the values of filters and saved searches, as the page asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web.server import create_app
from indexer.library import Library
from tests.app.conftest import HERE
from tests.app.labelled_album import label_by_hand, write_album
from tests.app.test_typed_filters import LISBON
from tests.media import draw_image


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The album of four, three more of one month, and a copy of one of them with a later date beside it."""
    place = tmp_path_factory.mktemp("dated")
    folder = write_album(place / "album")
    for n in range(3):
        draw_image(folder / "August" / f"{n}.jpg", seed=n, exif={"taken": f"2022:08:0{n + 1} 12:00:00"})
    copy = folder / "copies" / "2.jpg"
    copy.parent.mkdir()
    copy.write_bytes((folder / "August" / "2.jpg").read_bytes())
    copy.with_name("2.jpg.json").write_text('{"photoTakenTime": {"timestamp": "1696000000"}, "title": "2.jpg"}')
    with Library.open(place / "library", ocr="off") as library:
        library.index([folder])
        label_by_hand(library, {LISBON: ["dog"]})
        with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
            yield client


def test_the_timeline_counts_what_browsing_lists_in_the_same_order(dated: TestClient) -> None:
    def listed(**asked: str) -> list[tuple[str, bool]]:
        hits = dated.get("/api/search", params={"k": 50, **asked}).json()["hits"]
        return [(hit["taken"][:7], hit["taken_from"] == "file") for hit in hits]

    def counted(**asked: str) -> list[tuple[str, bool]]:
        months = dated.get("/api/timeline", params=asked).json()["months"]
        return [pair for one in months for pair in [(one["month"], one["of_file"])] * one["count"]]

    everything: list[dict[str, str]] = [
        {},
        {"kind": "image"},
        {"q": "camera:canon"},
        {"q": "in:August", "after": "2020"},
    ]
    for asked in everything:
        assert counted(**asked) == listed(**asked), asked
    assert [month for month, of_file in counted(kind="image") if not of_file].count("2022-08") in (2, 3)
    assert dated.get("/api/timeline", params={"q": "near:Nowheresville"}).status_code == 422


def test_each_cluster_on_the_map_leads_to_as_many_hits_as_it_says(dated: TestClient) -> None:
    def places(**asked: str) -> dict[str, Any]:
        answer: dict[str, Any] = dated.get("/api/places", params=asked).json()
        return answer

    everything = places()
    assert everything["total"] == dated.get("/api/search").json()["total"]
    assert everything["placed"] == sum(cluster["count"] for cluster in everything["clusters"]) == 2
    assert {cluster["town"] for cluster in everything["clusters"]} == {"Lisbon, Portugal", "Oslo, Norway"}
    for cluster in everything["clusters"]:
        found = dated.get("/api/search", params={"q": f'near:"{cluster["near"]}"'}).json()
        assert found["total"] == cluster["count"]
    (oslo,) = places(q="in:Norway")["clusters"]
    assert oslo["town"] == "Oslo, Norway" and (round(oslo["lat"]), round(oslo["lon"])) == (60, 11)
    (tram,) = places(q="a tram in Lisbon near:Lisbon")["clusters"]
    assert tram["town"] == "Lisbon, Portugal"
    assert places(q="in:August") == {"clusters": [], "placed": 0, "total": 3}
    assert dated.get("/api/places", params={"q": "near:Nowheresville"}).status_code == 422


def test_browsing_reaches_every_offset_and_a_ranking_does_not(dated: TestClient) -> None:
    far = dated.get("/api/search", params={"kind": "image", "offset": "20000"})
    assert far.status_code == 200 and far.json()["hits"] == [] and far.json()["total"] == 5
    assert dated.get("/api/search", params={"q": "in:August", "offset": "20000"}).status_code == 200
    assert dated.get("/api/search", params={"q": "a dog", "offset": "20000"}).status_code == 422
    one = dated.get("/api/search", params={"offset": "3", "k": "1"}).json()["hits"]
    assert [hit["rank"] for hit in one] == [4]


def test_the_vocabulary_holds_what_the_library_has(dated: TestClient) -> None:
    values = dated.get("/api/vocabulary").json()
    assert ["Lisbon, Portugal", 1] in values["near"] and ["Oslo, Norway", 1] in values["near"]
    assert ["Google Pixel 7", 1] in values["camera"] and ["August", 3] in values["in"]
    assert ["2022", 3] in values["taken"] or ["2022", 4] in values["taken"]
    assert ["dog", 1] in values["label"] and ["pdf", 1] in values["type"] and values["album"] == []
    for name, kind in (
        ("near", '"Lisbon, Portugal"'),
        ("camera", '"Google Pixel 7"'),
        ("in", "August"),
        ("label", "dog"),
    ):
        assert dated.get("/api/search", params={"q": f"{name}:{kind}"}).json()["total"] > 0, name


def test_a_saved_search_stays_until_it_is_deleted_and_says_when_it_cannot_be_run(
    dated: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def saved() -> list[Any]:
        return [(one["name"], one["error"]) for one in dated.get("/api/searches").json()["searches"]]

    for name, query in (("Trams", "q=tram+near%3ALisbon"), ("august", "q=in%3AAugust"), ("Trams", "q=near%3ALisbon")):
        assert dated.put("/api/searches", json={"name": name, "query": query}).status_code == 200
    assert saved() == [("august", None), ("Trams", None)]
    refused = dated.put("/api/searches", json={"name": "x", "query": "q=taken%3Ayesterday"})
    assert refused.status_code == 400 and "yesterday" in refused.json()["error"]
    monkeypatch.setattr("data.gazetteer.locate", lambda name: None)
    assert saved()[0] == ("august", None) and "no town called “Lisbon”" in saved()[1][1]
    delete = {"method": "DELETE", "url": "/api/searches", "json": {"name": "Trams"}}
    assert dated.request(**delete).json() == {"deleted": True}
    assert dated.request(**delete).json() == {"deleted": False}
    assert saved() == [("august", None)]
