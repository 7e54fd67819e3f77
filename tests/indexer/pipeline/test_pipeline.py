"""The pipeline's manners: still windows are free, queries go first, memory is bounded, words are read."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.media.kinds import GENERATION
from indexer.catalogue.rows import FoundFile, NewChunk
from indexer.pipeline import still_scenes
from indexer.pipeline import work_queue as queue_module
from indexer.pipeline.context import PipelineContext
from indexer.pipeline.jobs import ByteQueue, Job, JobItem
from indexer.pipeline.stage_decode import DecodeStage
from indexer.pipeline.work_queue import EARLY_EACH, EMPTY_S, SAMPLE_PAGES, WorkQueue
from indexer.priority import LONGEST_WAIT_S, QueryPriority, SharedEmbedder
from indexer.types import Kind
from model.embedder import Embedder
from model.inputs import Input
from tests import media
from tests.data.media.test_legible import drawn
from tests.indexer.conftest import CountingEmbedder, OpenLibrary, wait_for
from tests.indexer.written_library import found_vectors


def test_windows_of_a_still_scene_share_one_vector(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    (tmp_path / "media").mkdir()
    wall = media.picture(seed=4, size=(128, 96))
    media.draw_video(tmp_path / "media" / "camera.mp4", 90.0, fps=2, frame=lambda t: wall)
    library = open_library()
    report = library.index([tmp_path / "media"])
    assert (report.chunks, report.reused, counted.embedded) == (3, 2, 1)
    vectors = found_vectors(library.catalogue)[1]
    assert len(vectors) == 3 and len(np.unique(vectors, axis=0)) == 1
    assert library.status().reused == 2


def test_a_scene_in_which_something_happens_is_embedded_again(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    (tmp_path / "media").mkdir()
    wall = media.picture(seed=4, size=(128, 96))
    visit = wall.copy()
    visit.paste((20, 20, 20), (90, 40, 115, 96))
    media.draw_video(tmp_path / "media" / "camera.mp4", 90.0, fps=2, frame=lambda t: visit if 40 < t < 50 else wall)
    report = open_library().index([tmp_path / "media"])
    assert (report.chunks, report.reused, counted.embedded) == (3, 0, 3)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 6), height=st.integers(16, 90))
def test_sensor_noise_is_still_and_another_picture_is_not(seed: int, noise: float, height: int) -> None:
    rng = np.random.default_rng(seed)
    scene = rng.integers(20, 230, (height, 2 * height, 3)).astype(np.float32)

    def window(picture: np.ndarray) -> np.ndarray:
        frames = picture + rng.normal(0, noise, (4, *picture.shape))
        return still_scenes.signature(np.clip(frames, 0, 255).astype(np.uint8))

    assert window(scene).shape == (4, still_scenes.CELLS, still_scenes.CELLS)
    if height >= 4 * still_scenes.CELLS:
        assert still_scenes.still(window(scene), window(scene))
    assert not still_scenes.still(window(scene), window(255 - scene * 0.5))


def test_words_in_photos_and_scans_are_read_afterwards(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_image(folder / "sign.png", "HARBOUR STREET 42", size=(640, 240), color=(30, 60, 120))
    scan = media.picture("INVOICE 20417", size=(600, 200), color=(250, 250, 250))
    media.draw_pdf(folder / "scan.pdf", [""], image=scan)
    media.draw_pdf(folder / "letter.pdf", ["A letter that has its own text"])
    library = open_library(ocr="auto")
    library.index([folder])
    texts = {}
    for name in ("sign.png", "scan.pdf", "letter.pdf"):
        info = library.catalogue.files.at(str(folder / name))
        assert info is not None
        texts[name] = library.chunks(info.file_id)[0].text
    assert "HARBOUR" in texts["sign.png"].upper() and "20417" in texts["scan.pdf"]
    assert texts["letter.pdf"].strip() == "A letter that has its own text"
    assert counted.embedded == 5, "three at first, and the two whose words were read"
    embedded = counted.embedded
    library.index()
    assert counted.embedded == embedded, "once is enough"


def test_the_page_that_is_read_early_is_read_again_with_its_scan(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "SAMPLE_PAGES", 4)
    monkeypatch.setattr(queue_module, "SAMPLE_EACH", 0)
    folder = tmp_path / "media"
    for n in range(5):
        scan = media.picture(f"INVOICE {n}0417", size=(600, 200), color=(250, 250, 250))
        media.draw_pdf(folder / f"scan {n}.pdf", [""] * 3, image=scan)
    library = open_library(ocr="auto")
    library.index([folder])
    for n in range(5):
        info = library.catalogue.files.at(str(folder / f"scan {n}.pdf"))
        assert info is not None
        assert all(f"{n}0417" in chunk.text for chunk in library.chunks(info.file_id))
        assert len(library.chunks(info.file_id)) == 3


def test_what_stands_beside_a_page_or_is_no_text_keeps_nobody_from_reading_its_picture(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    import pymupdf

    folder = tmp_path / "media"
    folder.mkdir()
    scan = media.picture("INVOICE 20417", size=(600, 200), color=(250, 250, 250))
    media.draw_pdf(tmp_path / "scan.pdf", ["", "A page that has its own text"], image=scan)
    document = pymupdf.open(tmp_path / "scan.pdf")
    document.set_toc([[1, "The bookmarks of the accountant", 1]])
    document[0].add_text_annot((500, 20), "a remark that is longer than a few letters")
    document.save(folder / "scan.pdf")
    drawn(folder / "garbage.pdf", lambda c: max(1, ord(c) - 29))
    library = open_library(ocr="auto")
    library.index([folder])
    texts = {}
    for name in ("scan.pdf", "garbage.pdf"):
        info = library.catalogue.files.at(str(folder / name))
        assert info is not None
        texts[name] = [chunk.text for chunk in library.chunks(info.file_id)]
    first, second = texts["scan.pdf"]
    for words in ("20417", "bookmarks of the accountant", "a remark that"):
        assert words in first
    assert second == "A page that has its own text"
    assert "cheesemonger" in texts["garbage.pdf"][0]


def test_a_model_is_given_no_larger_pictures_than_it_can_use(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_image(folder / "photo.jpg", seed=1, size=(1600, 1200))
    media.draw_pdf(folder / "letter.pdf", ["A letter"])
    media.draw_video(folder / "clip.mp4", 5.0, size=(640, 480), fps=2)
    library = open_library()
    library.index([folder])
    assert (counted.embedded, counted.largest) == (3, counted.max_side)
    counted.max_side = 320
    library.catalogue.queue.set_pending([work.hash for work in library.catalogue.queue.works([1, 2, 3])])
    counted.largest = 0
    library.index()
    assert (counted.embedded, counted.largest) == (6, 320)


def test_a_video_cut_by_another_recipe_is_cut_again_and_answers_meanwhile(
    tmp_path: Path, open_library: OpenLibrary
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_video(folder / "clip.mp4", 40.0, size=(128, 96), fps=4)
    first = open_library()
    first.index([folder])
    assert first.status().chunks == 2
    second = open_library(window_s=10.0)
    second.catalogue.queue.recut("w10 o0")
    assert (second.status().pending, second.status().chunks) == (1, 2)
    second.index()
    assert (second.status().pending, second.status().chunks) == (0, 4)
    assert second.index().chunks == 0


def test_files_of_a_kind_that_is_read_otherwise_now_are_read_again_by_themselves(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_image(folder / "photo.jpg", seed=1)
    media.draw_pdf(folder / "letter.pdf", ["A letter that was read in part"])
    library = open_library()
    library.index([folder])
    (page,) = [c for n in (1, 2) for c in library.chunks(n) if c.span.page]
    with library.catalogue.database.writer() as c:
        c.exec_driver_sql("UPDATE chunk SET text = 'A letter' WHERE id = ?", (page.chunk_id,))
    assert library.index().chunks == 0
    library.close()
    monkeypatch.setitem(GENERATION, "pdf", GENERATION["pdf"] + 1)
    counted.embedded, newer = 0, open_library()
    status = newer.status()
    assert (status.pending, status.chunks) == (0, 2), "what is read again answers as it did"
    assert newer.index().chunks == 1 and counted.embedded == 1, "the photo is not touched"
    assert newer.chunks(page.file.file_id)[0].text.strip() == "A letter that was read in part"
    assert newer.chunks(page.file.file_id)[0].chunk_id == page.chunk_id
    assert newer.index().chunks == 0, "once is enough"


def test_what_is_new_is_read_before_what_is_read_again(
    tmp_path: Path, open_library: OpenLibrary, counted: CountingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    media.draw_image(folder / "old.jpg", seed=1)
    media.draw_video(folder / "new.mp4", 5.0, size=(128, 96), fps=4)
    library = open_library()
    library.index([folder])
    monkeypatch.setitem(GENERATION, "image", GENERATION["image"] + 1)
    library.catalogue.queue.read_again([str(folder / "new.mp4")])
    nothing: Any = None  # a queue asks the catalogue alone
    work_queue = WorkQueue(
        PipelineContext(library.catalogue, nothing, nothing, nothing, nothing, nothing), ocr=True, speech=True
    )
    taken = [work_queue.take(), work_queue.take()]
    assert [(stage, work.kind) for stage, work in filter(None, taken)] == [("decode", "video"), ("reread", "image")]
    assert not work_queue.is_empty()


def test_the_text_in_a_few_images_is_looked_for_before_all_is_read(tmp_path: Path, open_library: OpenLibrary) -> None:
    catalogue = open_library().catalogue
    model, root_id = catalogue.models.add("m", 4), catalogue.files.set_root(tmp_path)
    names = [f"{n:03}" for n in range(150)]
    catalogue.files.note(root_id, [FoundFile(str(tmp_path / f"{n}.jpg"), "image", (1, 1, 1)) for n in names])
    digests = [name.encode().rjust(32, b"0") for name in names]
    catalogue.queue.hashed([(f, f.stamp, d) for f, d in zip(catalogue.queue.unhashed(150), digests, strict=True)])
    for digest in digests[:20]:
        catalogue.contents.write(digest, {}, [NewChunk(0, np.ones(4, np.float32))], model.id, ocr="pending")
    nothing: Any = None
    work_queue = WorkQueue(
        PipelineContext(catalogue, nothing, nothing, nothing, nothing, nothing), ocr=True, speech=False
    )
    tasks = [task for _ in range(3 * (EARLY_EACH + 1)) if (task := work_queue.take())]
    assert [stage for stage, _ in tasks] == (["decode"] * EARLY_EACH + ["ocr"]) * 3
    assert [work.hash for stage, work in tasks if stage == "ocr"] == digests[19:16:-1], "the newest"


def test_a_page_of_a_few_scans_and_a_minute_of_a_film_are_taken_early(
    tmp_path: Path, open_library: OpenLibrary
) -> None:
    catalogue = open_library().catalogue
    model, root_id = catalogue.models.add("m", 4), catalogue.files.set_root(tmp_path)
    kinds: list[Kind] = ["pdf"] * 40 + ["video"] * 3
    names = [f"{n:03}.{kind}" for n, kind in enumerate(kinds)]
    files = [FoundFile(str(tmp_path / name), kind, (1, 1, 1)) for name, kind in zip(names, kinds, strict=True)]
    catalogue.files.note(root_id, files)
    digests = [name.encode().rjust(32, b"0") for name in names]
    catalogue.queue.hashed([(f, f.stamp, d) for f, d in zip(catalogue.queue.unhashed(150), digests, strict=True)])
    vector = NewChunk(0, np.ones(4, np.float32))
    for digest in digests[:2]:
        catalogue.contents.write(digest, {}, [vector], model.id, ocr="pending")
    catalogue.contents.write(digests[42], {"duration_s": 90.0}, [vector], model.id, has_sound=True)
    nothing: Any = None
    work_queue = WorkQueue(
        PipelineContext(catalogue, nothing, nothing, nothing, nothing, nothing), ocr=True, speech=True
    )
    tasks = []
    while task := work_queue.take():
        stage, work = task
        tasks.append((stage, names[digests.index(work.hash)], work_queue.is_sample(work)))
        if stage != "decode":
            work_queue.release(work)
            assert not work_queue.is_sample(work)
        if len(tasks) > 60:
            break
    early = [task for task in tasks[:44] if task[0] != "decode"]
    assert early[0] == ("speech", "042.video", True), "of a film that waits"
    assert early[1:] == [("ocr", "001.pdf", True)] * SAMPLE_PAGES
    read = [name for stage, name, _ in tasks if stage == "decode"]
    assert read[:6] == ["002.pdf", "040.video", "039.pdf", "003.pdf", "004.pdf", "005.pdf"], "of both ends"
    assert sorted(read) == names[2:42]
    assert ("ocr", "000.pdf", False) in tasks, "whole scans follow"


def test_a_kind_that_was_not_there_is_read_soon_after_it_comes(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, library, nothing = tmp_path / "media", open_library(), cast("Any", None)  # a queue asks the catalogue alone
    images = [str(media.draw_image(folder / f"{seed}.jpg", seed=seed)) for seed in range(5)]
    page = str(media.draw_pdf(folder / "late.pdf", ["a page"]))
    film = str(media.draw_video(folder / "late.mp4", 2.0, size=(128, 96), fps=4))
    library.index([folder])
    catalogue = library.catalogue
    catalogue.queue.read_again(images)
    work_queue = WorkQueue(
        PipelineContext(catalogue, nothing, nothing, nothing, nothing, nothing), ocr=False, speech=False
    )
    asked: list[Kind | None] = []
    waiting, now = catalogue.queue.waiting, [time.monotonic()]

    def waiting_(*rest: Any, kind: Kind | None = None, **others: Any) -> Any:
        asked.append(kind)
        return waiting(*rest, kind=kind, **others)

    def take() -> Kind | None:
        asked.clear()
        task = work_queue.take()
        return task and task[1].kind

    monkeypatch.setattr(catalogue.queue, "waiting", waiting_)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert take() == "image" and asked == ["image"]
    assert take() == "image" and asked == ["pdf", "video"]
    assert take() == "image" and asked == [], "nobody asks for kinds that were not there a moment ago"
    catalogue.queue.read_again([page])
    now[0] += EMPTY_S
    assert [take(), take()] == ["pdf", "image"]
    catalogue.queue.read_again([film])
    assert take() == "image"
    assert take() == "video", "no time has passed, but nothing else is left"


def test_indexing_gives_way_to_a_query_and_a_query_waits_for_nobody() -> None:
    priority = QueryPriority()
    order: list[str] = []
    asking, asked = threading.Event(), threading.Event()

    def ask() -> None:
        with priority.query():
            asking.set()
            asked.wait(60)
            order.append("query")

    query = threading.Thread(target=ask)
    query.start()
    asking.wait(60)
    indexing = threading.Thread(target=lambda: (priority.give_way(), order.append("batch")))
    indexing.start()
    time.sleep(0.1)
    assert order == []
    asked.set()
    query.join()
    indexing.join(LONGEST_WAIT_S)
    assert order == ["query", "batch"]


def test_queries_go_before_each_image_that_is_read_during_a_long_video(
    tmp_path: Path, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    media.draw_video(tmp_path / "media" / "film.mp4", 130.0, size=(128, 96), fps=5)
    library, did = open_library(), list[str]()
    take, give_way, do_quick = WorkQueue.take, QueryPriority.give_way, DecodeStage._do_quick
    reads_film = threading.local()

    def take_(queue: WorkQueue, *, quick: bool = False) -> Any:
        if not quick and "late" in did:
            return None  # the thread that reads the film is the only one that works
        task = take(queue, quick=quick)
        if quick and task is not None:
            did.append("an image")
        return task

    def give_way_(priority: QueryPriority, *seconds: float) -> None:
        if getattr(reads_film, "now", False):
            did.append("gave way")
        give_way(priority, *seconds)

    def are_hashed() -> bool:
        with library.catalogue.database.reader() as c:
            count = c.exec_driver_sql("SELECT count(*) FROM content WHERE kind = 'image' AND state = 'pending'")
            return count.scalar() == 3

    def do_quick_(stage: DecodeStage) -> None:
        if "late" not in did:
            did.append("late")
            for n in range(3):
                media.draw_image(tmp_path / "media" / f"{n}.jpg", seed=n, size=(160, 120))
            library._indexing.follower.look()
            wait_for(are_hashed)
            reads_film.now = True
            do_quick(stage)
            reads_film.now = False

    monkeypatch.setattr(WorkQueue, "take", take_)
    monkeypatch.setattr(QueryPriority, "give_way", give_way_)
    monkeypatch.setattr(DecodeStage, "_do_quick", do_quick_)
    library.add_root(tmp_path / "media")
    library.start(watch=False)
    wait_for(lambda: library.status().pending == 0 and library.status().chunks == 8)
    images = [n for n, what in enumerate(did) if what == "an image"]
    assert len(images) == 3 and {did[n - 1] for n in images} == {"gave way"}


@pytest.mark.parametrize("is_thread_safe", [True, False])
def test_a_query_waits_for_a_batch_only_if_the_model_is_not_safe_to_call_from_two_threads(
    is_thread_safe: bool, lite: Embedder
) -> None:
    class Slow(CountingEmbedder):
        def embed(self, inputs: Sequence[Input]) -> np.ndarray:
            if len(inputs) > 1:
                begun.set()
                assert done.wait(60)
            return super().embed(inputs)

    begun, done = threading.Event(), threading.Event()
    slow = Slow(lite)
    slow.is_thread_safe = is_thread_safe  # type: ignore[attr-defined]
    embedder = SharedEmbedder(slow, QueryPriority())
    with ThreadPoolExecutor(2) as threads:
        batch = threads.submit(embedder.embed, [Input(text="one"), Input(text="two")])
        begun.wait(60)
        query = threads.submit(embedder.embed, [Input(text="three")])
        wait([query], 30 if is_thread_safe else 0.2)
        assert query.done() == is_thread_safe
        done.set()
        assert len(batch.result(60)) == 2 and len(query.result(60)) == 1


def test_pictures_are_checked_before_the_first_one(lite: Embedder) -> None:
    checked: list[Embedder] = []
    embedder = SharedEmbedder(lite, QueryPriority(), checked.append)
    embedder.embed([Input(text="one", role="query")])
    assert checked == []
    picture = Input(images=(np.zeros((8, 8, 3), np.uint8),), kind="image")
    for _ in range(2):
        embedder.embed([Input(text="two"), picture])
    assert checked == [lite]


def test_what_a_model_knows_of_words_is_known_where_it_is_shared(lite: Embedder) -> None:
    embedder = SharedEmbedder(lite, QueryPriority())
    frog, moon = embedder.familiarity(embedder.embed([Input(text=word, role="query") for word in ("frog", "moon")]))
    assert frog > moon
    assert embedder.is_word("corn") and not embedder.is_word("helicoptr")


def test_searches_are_answered_while_indexing(folder: Path, open_library: OpenLibrary) -> None:
    from indexer.types import Part, Query

    library = open_library()
    library.index([folder])
    for n in range(10, 30):
        media.draw_image(folder / f"later {n}.jpg", seed=n, size=(320, 240))
    library.start()
    answers = [library.search(Query((Part(text="bananas"),))) for _ in range(20)]
    assert all(a.hits and a.hits[0].title == "letter.pdf" for a in answers)
    wait_for(lambda: library.catalogue.files.counts().chunks == 27)


@pytest.mark.parametrize("most", [1, 100, 1000])
def test_decoded_pictures_wait_in_bounded_memory(most: int) -> None:
    queue, stop = ByteQueue(most), threading.Event()
    sizes = [int(s) for s in np.random.default_rng(0).integers(1, 300, 200)]
    job = Job.__new__(Job)
    waiting, worst, got = 0, 0, []
    guard = threading.Lock()

    def put(own: list[int]) -> None:
        nonlocal waiting, worst
        for size in own:
            queue.put(JobItem(job, chunk=object(), bytes=size), stop.is_set)  # type: ignore[arg-type]
            with guard:
                waiting += size
                worst = max(worst, waiting - most)

    threads = [threading.Thread(target=put, args=(sizes[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    while len(got) < len(sizes):
        for item in queue.take(3, 1.0):
            got.append(item.bytes)
            with guard:
                waiting -= item.bytes
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(sizes)
    assert worst <= 4 * 300, "no more than one item a thread beyond the bound"
