"""A model is fetched and taken from the page: the old one answers meanwhile, and the choice holds at the next start."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.cli.model_install import install_model
from app.settings import read
from app.web.server import create_app
from indexer.library import Library
from indexer.types import LibraryOptions, OtherModel, Part, Query
from model.embedder import ModelError
from model.hub_models import HUB_MODELS
from tests.app.cli.test_main import sightline
from tests.media import draw_image
from tests.model.gemma import tiny

NAME = "embeddinggemma-2"
DETAIL = "image=70,page=70,frame=70,frames=2"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("graphs")
    tiny.tokenizer(made)
    tiny.export(tiny.model(), made, "_q4")
    return made


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_MODELS", str(tmp_path / "models"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        draw_image(photos / f"{number}.png", f"number {number}", (200 + number, 100))
    options = LibraryOptions(explicit_model=False, detail=None, ocr="off")
    with Library(tmp_path / "library", options, read_only=False) as opened:
        opened.index([photos])
        opened.start(watch=False)
        yield opened


def by_hand(graphs: Path, monkeypatch) -> None:
    """The folder, filled with the tiny model, whose hashes are not the declared ones."""
    import shutil
    from dataclasses import replace

    monkeypatch.setitem(HUB_MODELS, NAME, replace(HUB_MODELS[NAME], checksums={}))
    shutil.copytree(graphs, HUB_MODELS[NAME].folder())


def served(library, fetch_it=install_model) -> TestClient:
    app = create_app(library, gradio=False, fetch=fetch_it)
    return TestClient(app, base_url="http://127.0.0.1:7860")


def until(client: TestClient, *states: str) -> dict:
    for _ in range(600):
        now = client.get("/api/models/fetch").json()
        if now["state"] in states:
            return now
        time.sleep(0.1)
    raise AssertionError(now)


def test_from_lite_to_a_fetched_model_without_losing_a_search(library, graphs, monkeypatch, tmp_path):
    by_hand(graphs, monkeypatch)
    library._detail = DETAIL
    answers: list[str] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.wait(0.2):
            answer = library.search(Query((Part(text="number 3"),)), k=3)
            answers.append(answer.model)
            assert answer.hits

    searching = threading.Thread(target=search)
    searching.start()
    try:
        with served(library) as client:
            assert client.get("/api/models/fetch").json()["state"] == "idle"
            assert (
                client.post("/api/models/fetch", json={"name": NAME, "precision": "q4"}).json()["state"] == "fetching"
            )
            done = until(client, "ready", "failed")
            assert done["state"] == "ready", done
            assert all(seconds > 0 for seconds in done["seconds"].values())
            said = client.post("/api/models/use", json={"name": NAME}).json()
            assert said["model"].startswith(f"{NAME}:q4:image=70")
            for _ in range(600):
                if answers[-1:] == [said["model"]]:
                    break
                time.sleep(0.1)
    finally:
        stop.set()
        searching.join()
    assert answers[0].startswith("lite@") and answers[-1] == said["model"]
    assert np.all([a.startswith(("lite@", NAME)) for a in answers])
    library.close()
    with Library(tmp_path / "library", LibraryOptions(explicit_model=False), read_only=True) as again:
        assert again.search(Query((Part(text="number 3"),)), k=3).model == said["model"]


@pytest.mark.slow
def test_the_old_precision_answers_when_a_better_one_comes_beside_it(library, graphs, monkeypatch, tmp_path):
    from model.gemma.build.__main__ import build_graphs

    by_hand(graphs, monkeypatch)
    library._detail = DETAIL
    small = library.use_model(NAME)
    library.index()
    assert library.status().model == small and ":q4:" in small
    library.close()
    tiny.model().save_pretrained(tmp_path / "checkpoint")
    build_graphs(tmp_path / "checkpoint", HUB_MODELS[NAME].folder(), "int8")
    query = Query((Part(text="number 3"),))
    with Library(tmp_path / "library", LibraryOptions(explicit_model=False, ocr="off"), read_only=False) as again:
        assert again.search(query, k=3).model == small
        again.index()
        answer = again.search(query, k=3)
        assert ":int8:" in answer.model and answer.hits
        assert again.status().other_model == OtherModel(small, building=False)
        assert again.roll_back_model() == small
        again.index()
        assert again.search(query, k=3).model == small


@pytest.mark.slow
def test_a_change_is_compared_and_undone_on_the_page_and_in_the_terminal(graphs, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        draw_image(folder / f"{number}.png", f"number {number}", (200 + number, 100))
    home = tmp_path / "library"
    with Library(home, LibraryOptions(ocr="off", explicit_model=False), read_only=False) as library:
        library.index([folder])
        lite = library.status().model
        library.use_model(str(graphs))
        library.index()
        with served(library) as client:
            compared = client.post("/api/models/compare", json={"queries": ["number 3"]}).json()
            assert compared["models"] == [library.status().model, lite] and compared["chunks"] == [6, 6]
            (one,) = compared["queries"]
            assert len(one["hits"][0]) == len(one["hits"][1]) == 5 and 0 <= one["agreement"] <= 1
            status = client.get("/api/status").json()
            assert status["other_model"] == {"name": lite, "building": False}
            assert any("models compare" in notice for notice in status["notices"])
            nothing = client.post("/api/models/compare")
            assert nothing.status_code == 400 and "name some" in nothing.json()["error"]
            assert client.post("/api/models/rollback").json() == {"model": lite}
            assert library.search(Query((Part(text="number 3"),)), k=3).model == lite
    shown = sightline("models", "compare", "number 3", home=home)
    assert shown.returncode == 0 and f"A: {lite}, 6 chunks, answers now" in shown.stdout
    assert "number 3  (" in shown.stdout and "Of the first files of each query" in shown.stdout
    back = sightline("models", "rollback", "--json", home=home)
    assert (
        json.loads(back.stdout)["model"] == json.loads(sightline("status", "--json", home=home).stdout)["model"] != lite
    )
    assert "deleted" in sightline("models", "accept", home=home).stderr
    again = sightline("models", "rollback", home=home)
    assert again.returncode == 1 and "vectors of one model only" in again.stderr
    assert sightline("models", "dance", home=home).returncode == 2


def test_a_fetch_that_fails_says_why_and_changes_nothing(library):
    def no_network(name, report, precision, *, progress):
        raise ModelError("the hub cannot be used (no route to host)")

    with served(library, no_network) as client:
        client.post("/api/models/fetch", json={"name": NAME})
        assert "no route to host" in until(client, "failed")["line"]
        refused = client.post("/api/models/use", json={"name": NAME})
        assert refused.status_code == 400 and "is not on this machine" in refused.text
        assert client.post("/api/models/fetch", json={"name": "../../etc"}).status_code >= 400
        assert client.post("/api/models/fetch", json={"name": NAME, "precision": "float16"}).status_code >= 400
    assert library.status().model.startswith("lite@")


def test_the_model_that_is_typed_wins_over_the_chosen_one(library, tmp_path):
    library.catalogue.settings.set("chosen_model", '{"name": "embeddinggemma-2"}')
    assert read(data_dir=tmp_path / "library").library().explicit_model is False
    assert read(model="lite").library().explicit_model is True
    library.close()
    with Library(tmp_path / "library", LibraryOptions("lite"), read_only=True) as again:
        assert again.search(Query((Part(text="number 3"),)), k=3).model.startswith("lite@")
