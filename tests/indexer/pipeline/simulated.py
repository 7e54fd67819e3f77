"""A library that is indexed on a made clock: threads, cores and the order of the work queue, without the work.

Built around pieces of work (a group of pages, a page of OCR, a minute of sound) that share the cores equally while
they run. `TimeLeft` is told of each as the stages tell it. It knows nothing of files and of the catalogue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from indexer.catalogue.rows import ModelRow, Pictures, Work
from indexer.pipeline.jobs import GROUP, Job
from indexer.pipeline.time_left import TimeLeft
from indexer.pipeline.work_queue import AHEAD, EARLY_EACH, FROM_THE_END, ORDER, SAMPLE_EACH, SAMPLE_PAGES, in_turn
from indexer.types import KINDS, Kind

MODEL = ModelRow(1, "one", 4, "answering", "{}")


@dataclass(eq=False)
class Content:
    """A file and what it costs, in seconds of one core."""

    kind: Kind
    chunks: int
    size: int
    decode_s: float
    embed_s: float
    scans: int = 0
    ocr_s: float = 0.0
    sound_s: float = 0.0
    hear_s: float = 0.0
    """Of a second of sound."""
    job: Any = None
    heard_s: float = 0.0


@dataclass(eq=False)
class Piece:
    left_s: float
    work: AbstractContextManager[None]
    thread: Any = None


@dataclass(eq=False)
class Simulated:
    """`clock`: the second, which `run` moves on."""

    clock: list[float]
    contents: list[Content]
    threads: int = 3
    cores: int = 2
    other_load: int = 0
    """Busy threads of other programs."""
    left: TimeLeft = field(init=False)

    def __post_init__(self) -> None:
        self.left = TimeLeft(threads=self.threads, cores=self.cores)
        waiting = {kind: deque(c for c in self.contents if c.kind == kind) for kind in ORDER}
        self.new = deque(waiting[kind].popleft() for kind in ORDER if waiting[kind])
        for kind in ORDER:
            while left := waiting[kind]:
                oldest = [left.popleft() for _ in range(min(AHEAD, len(left)))]
                many = len(left) >= AHEAD // FROM_THE_END
                ends = left if many else oldest
                newest = [ends.pop() for _ in range(min(AHEAD, len(ends)) // FROM_THE_END)]
                self.new.extend(in_turn(oldest, newest))
        self.unread = list(self.contents)
        self.decoded: deque[tuple[Content, int]] = deque()
        self.for_ocr: list[Content] = []
        self.for_speech: list[Content] = []
        self.busy: set[int] = set()  # ids of contents in a later stage
        self.taken = self.early = self.papers = self.pages = 0
        self.has_heard = self.transcribing = False
        self.running: list[Piece] = []
        self.idle: list[Iterator[Piece | None]] = [*(self._thread() for _ in range(self.threads)), self._embedder()]

    def run(self, until: float) -> bool:
        """Work until this second; returns whether there is more to do."""
        while True:
            idle, self.idle = self.idle, []
            for each in idle:
                self._go_on(each)
            if not self.running:
                return False
            share = min(1.0, self.cores / (len(self.running) + self.other_load))
            first = min(self.running, key=lambda piece: piece.left_s)
            seconds = min(first.left_s / share, until - self.clock[0])
            self.clock[0] += seconds
            for piece in self.running:
                piece.left_s -= seconds * share
            if self.clock[0] >= until:
                return True
            self.running.remove(first)
            first.work.__exit__(None, None, None)
            self._go_on(first.thread)

    def _go_on(self, thread: Iterator[Piece | None]) -> None:
        piece = next(thread)
        if piece is None:
            self.idle.append(thread)
        else:
            piece.thread = thread
            piece.work.__enter__()
            self.running.append(piece)

    def _piece(self, work_s: float, *work: Any, **options: Any) -> Piece:
        return Piece(work_s, self.left.work(*work, **options))

    def _thread(self) -> Iterator[Piece | None]:
        while True:
            stage, content, is_sample = self._take()
            if stage == "decode":
                yield from self._decode(content)
            elif stage == "ocr":
                pages = 1 if is_sample else content.scans
                self.left.begins(key(content), "ocr", content.kind, pages)
                for _ in range(pages):
                    yield self._piece(content.ocr_s, "ocr", {content.kind: 1}, of=key(content))
                if not is_sample:
                    self.for_ocr.remove(content)
            elif stage == "speech":
                self.left.begins(key(content), "speech", "video", 0, content.heard_s)
                while content.heard_s < content.sound_s:
                    seconds = min(60.0, content.sound_s - content.heard_s)
                    yield self._piece(seconds * content.hear_s, "speech", {"video": seconds}, of=key(content))
                    content.heard_s += seconds
                    if is_sample:
                        break
                if content.heard_s >= content.sound_s:
                    self.for_speech.remove(content)
                self.transcribing = False
            else:
                yield None
                continue
            self.left.ended(key(content))
            self.busy.discard(id(content))

    def _take(self) -> tuple[str, Any, bool]:
        free = [c for c in self.for_ocr if id(c) not in self.busy]
        images, scans = ([c for c in free if c.kind == kind] for kind in ("image", "pdf"))
        if self.new and images and self.taken >= EARLY_EACH * (self.early + 1):
            self.early += 1
            return self._later("ocr", images[-1])
        if self.new and scans and self.pages < SAMPLE_PAGES and self.papers > SAMPLE_EACH * self.pages:
            self.pages += 1
            return self._later("ocr", scans[-1], True)
        if (self.new or free) and self.for_speech and not self.has_heard:
            self.has_heard = self.transcribing = True
            return self._later("speech", self.for_speech[-1], True)
        if self.new:
            content = self.new.popleft()
            self.taken += 1
            self.papers += content.kind == "pdf"
            return "decode", content, False
        if free:
            return self._later("ocr", free[0])
        if self.for_speech and not self.transcribing:
            self.transcribing = True
            return self._later("speech", self.for_speech[0])
        return "", None, False

    def _later(self, stage: str, content: Content, is_sample: bool = False) -> tuple[str, Content, bool]:
        self.busy.add(id(content))
        return stage, content, is_sample

    def _decode(self, content: Content) -> Iterator[Piece]:
        kind, work = content.kind, Work(key(content), content.kind, (), content.size)
        content.job = job = Job(work, MODEL, None)  # type: ignore[arg-type]
        job.has_sound, job.facts = bool(content.sound_s), {"duration_s": content.sound_s}
        if kind == "video":
            self.left.opened(job, content.chunks)
        for at in range(0, content.chunks, GROUP[kind]):
            count = min(GROUP[kind], content.chunks - at)
            size = content.size if kind == "image" else 0
            yield self._piece(content.decode_s * count, "decode", {kind: count}, size=size)
            if at == 0 and kind != "video":
                self.left.opened(job, content.chunks)
            if kind == "pdf":
                self.left.saw_pages(job, count, round(content.scans * count / content.chunks))
            job.sent += count
            self.decoded.append((content, count))

    def _embedder(self) -> Iterator[Piece | None]:
        while True:
            if not self.decoded:
                yield None
                continue
            content, count = self.decoded.popleft()
            yield self._piece(content.embed_s * count, "embed", {content.kind: count}, model=MODEL.id)
            job = content.job
            job.done |= dict.fromkeys(range(len(job.done), len(job.done) + count))
            if len(job.done) == content.chunks:
                content.job = job = None
                self.unread.remove(content)
                if content.scans:
                    self.for_ocr.append(content)
                if content.sound_s:
                    self.for_speech.append(content)

    def told(self) -> float | None:
        """Returns the seconds to the end of all, as the status tells them."""
        loads, pictures = [], {}
        for kind in KINDS:
            files = [c for c in self.unread if c.kind == kind]
            size, waiting = sum(c.size for c in files), [c for c in self.for_ocr if c.kind == kind]
            if files:
                loads.append(self.left.to_read(kind, len(files), size))
            if kind != "video":
                number = sum(c.scans for c in waiting) + self.left.pictures_of(kind, len(files), size)
                most = max((c.scans for c in waiting), default=0)
                pictures[kind] = Pictures(len(waiting) + len(files), number, most)
        if any(each.number for each in pictures.values()):
            loads.append(self.left.to_ocr(pictures))
        films = [c for c in self.unread if c.kind == "video"]
        sound_s = sum(c.sound_s for c in self.for_speech) + self.left.sound_of(len(films), sum(c.size for c in films))
        if sound_s:
            loads.append(self.left.to_hear(sound_s, is_built_in=True))
        seconds = self.left.seconds(loads)
        return None if None in seconds else sum(filter(None, seconds))


def key(content: Content) -> bytes:
    return str(id(content)).encode()
