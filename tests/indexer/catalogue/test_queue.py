"""The queue: what waits, what a copy spares, what failed and is tried again."""

from pathlib import Path
from typing import Any, cast

import pytest

from data.media.kinds import GENERATION
from indexer.catalogue.catalogue import Catalogue
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.types import Kind
from tests.indexer.catalogue.conftest import VECTOR, holding, index, put, take


def test_a_copy_is_one_content_and_costs_no_embedding(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    index(catalogue, b"a" * 32)
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/b.jpg", "image", (10, 20, 30))])
    assert take(catalogue, b"a" * 32) == 1
    assert catalogue.queue.waiting("decode", 10, kind="image") == []
    assert (catalogue.files.counts().files, catalogue.files.counts().chunks, catalogue.files.counts().reused) == (
        2,
        1,
        1,
    )
    assert [f.path.name for f in catalogue.files.of_content(b"a" * 32)] == ["a.jpg", "b.jpg"]


def test_a_photo_that_failed_as_a_pdf_is_tried_again_under_its_right_name(catalogue: Catalogue) -> None:
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/photo.pdf", "pdf", (1, 1, 1))])
    take(catalogue, b"p" * 32)
    catalogue.contents.fail(b"p" * 32, "not a PDF")
    assert [f.reason for f in catalogue.files.failures()] == ["not a PDF"]
    catalogue.files.note(root_id, [FoundFile("/r/photo.jpg", "image", (1, 1, 1))])
    take(catalogue, b"p" * 32)
    assert [w.kind for w in catalogue.queue.waiting("decode", 9, kind="image")] == ["image"]


def test_retry_makes_every_failure_pending_again(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    catalogue.contents.fail(b"a" * 32, "broken")
    root_id = catalogue.files.set_root(Path("/r"))
    catalogue.files.note(root_id, [FoundFile("/r/b.jpg", "image", (1, 1, 1))])
    catalogue.files.fail(catalogue.queue.unhashed(1)[0].path, "no permission")
    assert catalogue.files.counts().failed == 2
    assert catalogue.queue.retry() == 2
    assert (catalogue.files.counts().failed, catalogue.files.counts().pending) == (0, 2)


def test_files_of_a_root_that_is_away_are_kept_and_not_worked_on(catalogue: Catalogue) -> None:
    put(catalogue, "/r/a.jpg")
    catalogue.files.set_root(Path("/r"), "away")
    assert catalogue.queue.waiting("decode", 9, kind="image") == [] and catalogue.files.counts().files == 1


@pytest.mark.slow
def test_contents_of_an_older_generation_wait_to_be_read_again_by_their_kind(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalogue, "/r/a.jpg", b"a" * 32)
    put(catalogue, "/r/b.jpg", b"b" * 32)
    index(catalogue, b"a" * 32, ("as it was read", "its second page"))
    catalogue.contents.fail(b"b" * 32, "not shown yet")
    assert catalogue.queue.waiting("reread", 9) == []
    monkeypatch.setitem(GENERATION, "pdf", GENERATION["pdf"] + 1)
    assert catalogue.queue.waiting("reread", 9) == []
    monkeypatch.setitem(GENERATION, "image", GENERATION["image"] + 1)
    assert [w.hash[:1] for w in catalogue.queue.waiting("reread", 9)] == [b"a", b"b"]
    assert catalogue.queue.chunks_to_reread() == {"image": 3}, "two of one, and one that failed"
    assert catalogue.files.counts().pending == 0 and holding(catalogue, "read") == [1], "it answers meanwhile"
    index(catalogue, b"a" * 32, ("as it is read now",))
    catalogue.contents.fail(b"b" * 32, "not shown even now")
    assert catalogue.queue.waiting("reread", 9) == []


def test_what_waits_for_ocr_is_counted_in_pictures_and_pages_without_text(catalogue: Catalogue) -> None:
    model = catalogue.models.add("m", 4)
    root_id = catalogue.files.set_root(Path("/r"))
    pages = ["", "a page with words of its own", " " * 20, ""]
    for name, kind, texts, ocr in (
        ("a.jpg", "image", [""], "pending"),
        ("b.jpg", "image", ["a caption that is long"], "pending"),
        ("c.jpg", "image", [""], "done"),
        ("d.pdf", "pdf", pages, "pending"),
        ("e.pdf", "pdf", pages[1:2], "pending"),
    ):
        digest = name.encode().rjust(32, b"0")
        catalogue.files.note(root_id, [FoundFile(f"/r/{name}", cast("Kind", kind), (1, 1, 1))])
        take(catalogue, digest)
        chunks = [NewChunk(n, VECTOR, text=text) for n, text in enumerate(texts)]
        catalogue.contents.write(digest, {}, chunks, model.id, ocr=cast("Any", ocr))
    waiting = catalogue.queue.pictures_for_ocr(every=False)
    assert waiting == {"image": (2, 2, 1), "pdf": (2, 2 + 1, 2)}, "at least one of each"
    assert catalogue.queue.pictures_for_ocr(every=True) == {"image": (2, 2, 1), "pdf": (2, 5, 4)}
    other = catalogue.models.add("n", 4)
    assert catalogue.models.lacking_by_kind(model.id) == {}
    assert catalogue.models.lacking_by_kind(other.id) == {"image": 3, "pdf": 5}


def test_what_waits_to_be_heard_is_counted_in_seconds(catalogue: Catalogue) -> None:
    model = catalogue.models.add("m", 4)
    root_id = catalogue.files.set_root(Path("/r"))
    assert catalogue.queue.seconds_to_hear() == 0
    for name, has_sound in (("a.mp4", True), ("b.mp4", True), ("c.mp4", False)):
        digest = name.encode().rjust(32, b"0")
        catalogue.files.note(root_id, [FoundFile(f"/r/{name}", "video", (1, 1, 1))])
        take(catalogue, digest)
        catalogue.contents.write(digest, {"duration_s": 90.5}, [NewChunk(0, VECTOR)], model.id, has_sound=has_sound)
    assert catalogue.queue.seconds_to_hear() == 181
