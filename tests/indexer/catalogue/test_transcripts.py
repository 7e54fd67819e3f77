"""Cues in the catalogue: what is said belongs to the content, and the text of windows follows it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.span import Span
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.dialects import place
from indexer.catalogue.migrate import move
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.catalogue.schema import Where
from indexer.catalogue.transcripts import Heard, renewed, said_in
from indexer.search import text_search
from indexer.search.spoken_at import said_best
from model.inputs import Cue
from tests.postgresql import Server

FILM = bytes(31) + b"f"
HARBOUR, BOATS, GULLS = (
    Cue(2.0, 5.0, "we sailed from the harbour"),
    Cue(28.5, 31.0, "with two boats"),
    Cue(40.0, 42.0, "and gulls\0 overhead"),
)


@pytest.fixture
def catalogue(where: Where) -> Catalogue:
    return filled(Catalogue(where))


def filled(catalogue: Catalogue) -> Catalogue:
    """With one film whose bytes are known and that nobody has read yet."""
    root = catalogue.files.set_root(Path("/films"))
    catalogue.models.add("m", 4)
    catalogue.files.note(root, [FoundFile("/films/sea.mp4", "video", (9, 9, 9))])
    (file,) = catalogue.queue.unhashed(1)
    catalogue.queue.hashed([(file, file.stamp, FILM)])
    return catalogue


def write(
    catalogue: Catalogue, *, length: float = 30.0, sounds: bool = True, subtitles: Sequence[Cue] = ()
) -> list[int]:
    """The film, a minute long, in windows of so many seconds."""
    starts = np.arange(0, 60, length)
    vector = np.ones(4, np.float32) / 2
    chunks = [NewChunk(n, vector, Span(float(s), float(s + length))) for n, s in enumerate(starts)]
    model = catalogue.models.answering()
    assert model is not None
    return catalogue.contents.write(FILM, {}, chunks, model.id, has_sound=sounds, cues=subtitles)


def texts(catalogue: Catalogue) -> list[str]:
    return [piece.text for piece in catalogue.contents.chunks_of(FILM)]


def finding(catalogue: Catalogue, word: str) -> list[int]:
    with catalogue.database.reader() as c:
        sql = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid"
        return list(c.exec_driver_sql(sql, (text_search.matching(word),)).scalars())


def waits(catalogue: Catalogue) -> int:
    return len(catalogue.queue.waiting("speech", 10))


def test_what_is_heard_is_found_in_the_windows_that_it_is_said_in(catalogue: Catalogue) -> None:
    first, second = write(catalogue)
    assert waits(catalogue) == catalogue.queue.count("speech") == 1
    catalogue.transcripts.add(FILM, [HARBOUR], by=None)
    assert texts(catalogue) == [HARBOUR.text, ""] and waits(catalogue) == 1
    catalogue.transcripts.add(FILM, [BOATS, GULLS], by="ears@1")
    assert texts(catalogue) == [f"{HARBOUR.text}\n{BOATS.text}", f"{BOATS.text}\nand gulls  overhead"]
    assert (finding(catalogue, "harbours"), finding(catalogue, "boat")) == ([first], [first, second])
    assert [q.start_s for q in catalogue.transcripts.cues(FILM)] == [2.0, 28.5, 40.0] and waits(catalogue) == 0


def test_a_video_that_is_cut_anew_is_not_heard_anew(catalogue: Catalogue) -> None:
    write(catalogue)
    catalogue.transcripts.add(FILM, [HARBOUR, GULLS], by="ears@1")
    write(catalogue, length=20.0)
    assert texts(catalogue) == [HARBOUR.text, "", "and gulls  overhead"] and waits(catalogue) == 0


def test_what_was_heard_of_half_a_film_is_kept_when_it_is_cut_anew(catalogue: Catalogue) -> None:
    write(catalogue)
    catalogue.transcripts.add(FILM, [HARBOUR], by=None)
    write(catalogue, length=20.0)
    assert texts(catalogue) == [HARBOUR.text, "", ""] and waits(catalogue) == 1


def test_subtitles_spare_hearing_and_go_when_they_go(catalogue: Catalogue) -> None:
    write(catalogue, subtitles=[HARBOUR])
    assert texts(catalogue) == [HARBOUR.text, ""] and waits(catalogue) == 0
    write(catalogue, subtitles=[GULLS])
    assert texts(catalogue) == ["", "and gulls  overhead"]
    write(catalogue)
    assert texts(catalogue) == ["", ""] and waits(catalogue) == 1


def test_a_silent_film_is_nothing_to_hear(catalogue: Catalogue) -> None:
    write(catalogue, sounds=False)
    assert waits(catalogue) == 0


def test_words_read_in_the_picture_and_words_said_stand_side_by_side(catalogue: Catalogue) -> None:
    first, _ = write(catalogue)
    model = catalogue.models.answering()
    assert model is not None
    catalogue.contents.write_ocr(FILM, {first: "EXIT 7"}, model.id, {})
    catalogue.transcripts.add(FILM, [HARBOUR], by="ears@1")
    assert texts(catalogue)[0] == f"EXIT 7\n{HARBOUR.text}"
    catalogue.transcripts.set_speech_model("better")
    assert texts(catalogue)[0] == "EXIT 7"


def test_another_listener_hears_again_what_others_have_heard(catalogue: Catalogue) -> None:
    write(catalogue)
    catalogue.transcripts.add(FILM, [HARBOUR], by="small@1")
    assert catalogue.transcripts.set_speech_model("small") == 0 and texts(catalogue)[0] == HARBOUR.text
    assert catalogue.transcripts.set_speech_model("large-v3") == 1 and texts(catalogue) == ["", ""]
    assert catalogue.transcripts.cues(FILM) == [] and waits(catalogue) == 1
    write(catalogue, subtitles=[HARBOUR])
    assert catalogue.transcripts.set_speech_model("large-v3") == 0, "subtitles were written by somebody who knew"


def test_a_film_is_not_heard_half_by_one_and_half_by_another(catalogue: Catalogue) -> None:
    write(catalogue)
    assert catalogue.transcripts.set_speech_model("small", whole=False) == 0
    catalogue.transcripts.add(FILM, [HARBOUR], by=None)
    assert catalogue.transcripts.set_speech_model("small") == 0 and catalogue.transcripts.cues(FILM) == [HARBOUR], (
        "it goes on where it was"
    )
    assert catalogue.transcripts.set_speech_model("large-v3") == 1 and texts(catalogue) == ["", ""]
    catalogue.transcripts.add(FILM, [HARBOUR], by=None)
    assert catalogue.transcripts.set_speech_model("small", whole=False) == 1 and catalogue.transcripts.cues(FILM) == []


def test_what_two_hear_at_once_is_said_once(catalogue: Catalogue) -> None:
    write(catalogue)
    catalogue.transcripts.add(FILM, [HARBOUR, BOATS], by=None)
    catalogue.transcripts.add(FILM, [HARBOUR], by=None)
    catalogue.transcripts.add(FILM, [BOATS, GULLS], by="ears@1")
    assert [cue.start_s for cue in catalogue.transcripts.cues(FILM)] == [2.0, 28.5, 40.0]


def test_a_word_that_is_said_is_not_taken_out_of_another(catalogue: Catalogue) -> None:
    first, _ = write(catalogue)
    model = catalogue.models.answering()
    assert model is not None
    catalogue.contents.write_ocr(FILM, {first: "the cathedral"}, model.id, {})
    catalogue.transcripts.add(FILM, [Cue(1.0, 1.5, "he")], by=None)
    catalogue.transcripts.add(FILM, [Cue(2.0, 2.5, "sings")], by="ears@1")
    assert texts(catalogue)[0] == "the cathedral\nhe\nsings"
    catalogue.transcripts.set_speech_model("better")
    assert texts(catalogue)[0] == "the cathedral"


def test_what_a_forgotten_film_says_is_forgotten(catalogue: Catalogue) -> None:
    write(catalogue, subtitles=[HARBOUR])
    catalogue.files.remove(["/films/sea.mp4"])
    catalogue.contents.sweep(kept_s=-1.0)
    assert catalogue.transcripts.cues(FILM) == []
    catalogue.transcripts.add(FILM, [HARBOUR], by="ears@1")
    assert catalogue.transcripts.cues(FILM) == []


def test_cues_move_with_their_library(tmp_path: Path, postgresql_server: Server) -> None:
    old = filled(Catalogue(tmp_path / "catalogue.sqlite"))
    new = Catalogue(place(postgresql_server.database()))
    write(old)
    old.transcripts.add(FILM, [HARBOUR, BOATS], by="ears@1")
    move(old, new)
    assert new.transcripts.cues(FILM) == old.transcripts.cues(FILM) == [HARBOUR, BOATS] and texts(new) == texts(old)
    new.transcripts.set_speech_model("better")
    new.transcripts.add(FILM, [GULLS], by="better@1")  # the server goes on numbering where the old one was
    assert len(new.transcripts.cues(FILM)) == 1
    for catalogue in (old, new):
        catalogue.close()


def test_a_cue_on_an_edge_is_said_on_both_sides() -> None:
    assert said_in([BOATS], Span(0.0, 30.0)) == said_in([BOATS], Span(30.0, 60.0)) == BOATS.text
    assert said_in([BOATS], Span(31.0, 60.0)) == said_in([BOATS], Span(0.0, 28.5)) == said_in([BOATS], Span()) == ""


def test_a_text_without_words_said_stays_as_it_is() -> None:
    assert renewed("  as it stands\n", "", "") == "  as it stands\n"
    assert renewed("sign\nold words", "old words", "") == "sign"
    assert renewed("sign", "lost", "new") == "sign\nnew"


@pytest.mark.parametrize(
    ("wanted", "at"),
    [
        ({"harbour"}, 2.0),
        ({"boat"}, 28.5),
        ({"harbour", "boat"}, 2.0),  # two lines in a row
        ({"gull", "overhead"}, 40.0),
        ({"boat", "gull", "train", "snow"}, 28.5),
        ({"gull", "train", "snow"}, None),  # less than half of it
        ({"train"}, None),
    ],
)
def test_a_click_leads_to_the_line_that_says_most_of_it(wanted: set[str], at: float | None) -> None:
    best = said_best([HARBOUR, BOATS, GULLS], frozenset(wanted))
    assert (None if best is None else best.start_s) == at


@pytest.mark.parametrize("stored", ["none", "pending", "failed", "subtitles", "whisper:tiny.en@1"])
def test_what_is_stored_of_who_heard_a_film_reads_back_as_it_was(stored: str) -> None:
    assert Heard.read(stored).stored == stored
    assert Heard.read(stored).name == ("whisper:tiny.en" if "@" in stored else "")


def test_a_video_that_is_not_read_or_cannot_be_is_not_one_without_sound(catalogue: Catalogue) -> None:
    assert catalogue.transcripts.state(b"a file whose bytes are not known") == "unread"
    assert catalogue.transcripts.state(FILM) == "unread"
    catalogue.contents.fail(FILM, "cut off")
    assert catalogue.transcripts.state(FILM) == "unreadable"
    model = catalogue.models.add("m", 4)
    catalogue.contents.write(FILM, {}, [NewChunk(0, np.ones(4, np.float32))], model.id)
    assert catalogue.transcripts.state(FILM) == "none"
