"""What is said in a video: as JSON, as subtitles, on the command line; seen only by who sees the video."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli.program import app
from app.web import agent_tools, captions
from app.web.server import create_app
from indexer.library import Library
from model.inputs import Cue
from tests.app.conftest import HERE
from tests.media import draw_image, draw_video

CUES = [Cue(1.5, 3.25, "Mind the <gap> & the step"), Cue(3661.0, 3662.5, "one line\n\nand another")]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (83.9, "1:23"), (3723, "1:02:03")])
def test_a_time_reads_like_a_player(seconds: float, text: str) -> None:
    assert captions.clock(seconds) == text


def test_subtitles_are_what_players_take() -> None:
    assert captions.as_vtt(CUES) == (
        "WEBVTT\n\n"
        "00:00:01.500 --> 00:00:03.250\nMind the &lt;gap&gt; &amp; the step\n\n"
        "01:01:01.000 --> 01:01:02.500\none line and another\n"
    )
    assert captions.as_srt(CUES).startswith("1\n00:00:01,500 --> 00:00:03,250\nMind the <gap> & the step\n\n2\n")
    assert captions.as_text(CUES).splitlines()[1] == " 1:01:01  one line and another"
    assert captions.as_vtt([]) == "WEBVTT\n" and captions.as_srt([]) == captions.as_text([]) == ""


@pytest.mark.parametrize("end", ["srt", "vtt"])
def test_what_is_written_is_read_back(tmp_path: Path, end: str) -> None:
    from data.media.subtitles import read_subtitles

    path = tmp_path / f"film.{end}"
    path.write_text(captions.FORMATS[end](CUES))
    back = read_subtitles(path)
    assert [(c.start_s, c.end_s) for c in back] == [(c.start_s, c.end_s) for c in CUES]
    assert "another" in back[1].text


SAID = [Cue(2.0, 4.0, "The ferry leaves at dawn"), Cue(6.0, 9.0, "from <pier> nine")]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A film in which something is said, one without sound, one that waits for a listener; a picture."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("ferry.mp4", "silent.mp4", "unheard.mp4"):
        draw_video(folder / name, 12.0, fps=2, text=name, audio=name == "unheard.mp4")
    draw_image(folder / "pier.jpg")
    with Library.open(tmp_path_factory.mktemp("library"), ocr="off", speech="off") as library:
        library.index([folder])
        for file in (library.catalogue.files.at(str(path)) for path in folder.iterdir()):
            assert file is not None
            digest = library.catalogue.files.content_of(file.file_id)
            assert digest is not None
            if file.path.name == "ferry.mp4":
                library.catalogue.transcripts.add(digest, SAID, by="ears@1")
        yield library


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    with TestClient(create_app(library, gradio=False), base_url=HERE) as client:
        yield client


def test_what_is_said_is_the_same_in_every_interface(library: Library, client: TestClient) -> None:
    (hit,) = client.get("/api/search", params={"q": '"ferry leaves"'}).json()["hits"]
    assert (hit["title"], hit["at_s"]) == ("ferry.mp4", 2.0)
    by_rest = client.get(f"/api/transcript/{hit['file_id']}").json()
    assert by_rest["cues"][1] == {"start_s": 6.0, "end_s": 9.0, "text": "from <pier> nine"}
    told = {tool.__name__: tool for tool in agent_tools.tools(library, "http://here")}["transcript"]
    assert json.loads(told(file_id=hit["file_id"])) == by_rest
    assert len(json.loads(told(file_id=hit["file_id"], start_s=5.0))["cues"]) == 1
    assert json.loads(told(file_id=hit["file_id"], end_s=5.0))["cues"] == by_rest["cues"][:1]
    run = ["transcript", hit["path"], "--data-dir", str(library.data_dir)]
    assert json.loads(CliRunner().invoke(app, [*run, "--json"]).stdout) == by_rest
    assert CliRunner().invoke(app, run).stdout == "    0:02  The ferry leaves at dawn\n    0:06  from <pier> nine\n"
    subtitles = client.get(f"/subtitles/{hit['file_id']}.vtt")
    assert subtitles.headers["content-type"].startswith("text/vtt")
    assert subtitles.text == CliRunner().invoke(app, [*run, "--format", "vtt"]).stdout
    assert "from &lt;pier&gt; nine" in subtitles.text


@pytest.mark.parametrize(
    ("name", "state", "told"),
    [("silent", "none", "It has no sound."), ("unheard", "pending", "It is not transcribed yet:")],
)
def test_a_film_without_lines_says_why(library: Library, client: TestClient, name: str, state: str, told: str) -> None:
    (hit,) = client.get("/api/search", params={"q": f"name:{name}"}).json()["hits"]
    assert client.get(f"/api/transcript/{hit['file_id']}").json() == {"cues": [], "state": state}
    assert client.get(f"/subtitles/{hit['file_id']}.vtt").text == "WEBVTT\n"
    done = CliRunner().invoke(app, ["transcript", hit["path"], "--data-dir", str(library.data_dir)])
    assert done.exit_code == 0 and done.stdout == "" and told in done.stderr


def test_what_nobody_has_listened_to_is_counted_with_what_to_do(library: Library) -> None:
    run = ["status", "--data-dir", str(library.data_dir)]
    done = CliRunner().invoke(app, run, env={"SIGHTLINE_SPEECH": "off"})
    assert "1 video not transcribed yet: sightline index --speech auto\n" in done.stdout


def test_a_picture_has_no_transcript(library: Library) -> None:
    (root,) = library.status().roots
    run = ["transcript", str(Path(root) / "pier.jpg"), "--data-dir", str(library.data_dir)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 2 and "pier.jpg is not a video" in done.stderr


def test_a_video_that_is_not_there_is_told(library: Library, client: TestClient, tmp_path: Path) -> None:
    for path in ("/api/transcript/424242", "/subtitles/424242.vtt"):
        answer = client.get(path)
        assert answer.status_code == 404 and "424242" in answer.json()["error"]
    run = ["transcript", str(tmp_path / "no.mp4"), "--data-dir", str(library.data_dir)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 1 and "does not exist" in done.stderr
    (tmp_path / "no.mp4").touch()
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 1 and "is not in the library: sightline index" in done.stderr
