"""How long the rest takes, by kind and step: what a chunk costs, and how many are left.

Built around the seconds that the stages were at work on chunks of a kind, and how many of these seconds pass in one
second, as several stages work at once: so a single film window among a thousand photos tells what films cost. Reading
(decode and embed), OCR and listening are timed apart: they run after one another, and not equally many at once. How
many chunks a file has that nobody has opened follows from its bytes and from the files that were opened. It knows
nothing of the catalogue.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet

from indexer.pipeline.jobs import Job
from indexer.types import KINDS, Kind

IDLE_S = 5.0
"""A longer time without work is a pause, and does not count as time in which work was done."""
COST: dict[Kind, float] = {"image": 1.0, "pdf": 1.2, "video": 6.0}
"""What a chunk of a kind costs to read, relative to the others, until one was read (`make bench-baseline`)."""
OCR_COST: dict[Kind, float] = {"image": 1.0, "pdf": 4.0, "video": 1.0}
"""The same for the text in a picture and on a page."""
SOUND_COST = 2.0
"""What the built-in listener needs for a second of sound, relative to the image above, until it heard some."""
BYTES: dict[Kind, float] = {"pdf": 100e3, "video": 15e6}
"""Bytes of a chunk of a file until one was opened, and as if one more was opened; an image is one chunk."""

LATEST = 32
"""Pictures over which the cost of the latest ones is an average."""

READ, OCR, SPEECH, EARLY = "read", "ocr", "speech", "early OCR"
STEPS = {"decode": READ, "embed": READ, OCR: OCR, SPEECH: SPEECH}
"""The step that a stage belongs to; OCR between what is read is timed apart."""


@dataclass
class _Clock:
    """Of a step: the seconds at work, and those of all its threads together."""

    wall_s: float = 0.0
    busy_s: float = 0.0
    working: int = 0
    since: float = 0.0
    begins: float = 0.0  # the sum of the seconds at which the work in progress began
    last: float = -IDLE_S

    def begin(self, now: float) -> None:
        if not self.working:
            self.since = self.last if now - self.last < IDLE_S else now
        self.working += 1
        self.begins += now

    def end(self, began: float, now: float) -> None:
        self.working -= 1
        self.begins -= began
        self.last = now
        self.busy_s += now - began
        if not self.working:
            self.wall_s += now - self.since

    def at_once(self, now: float) -> float:
        """Returns the seconds of work in a second; 0 before any."""
        running = now - self.since if self.working else 0.0
        return (self.busy_s + self.working * now - self.begins) / max(self.wall_s + running, 1e-3)


class TimeLeft:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clocks: defaultdict[str, _Clock] = defaultdict(_Clock)
        self._busy: defaultdict[tuple[str, Kind, int], float] = defaultdict(float)  # seconds, by stage, kind and model
        self._done: defaultdict[tuple[str, Kind, int], float] = defaultdict(float)  # chunks, seconds of sound
        self._begun: dict[bytes, tuple[str, Kind, float]] = {}  # what is done of contents in a later stage
        self._opened: Counter[Kind] = Counter()  # chunks
        self._opened_bytes: Counter[Kind] = Counter()
        self._decoding = self._most_decoding = 0  # threads
        self._sound_s = 0.0
        self._sample: defaultdict[Kind, list[float]] = defaultdict(list)  # seconds of pictures that OCR took in between
        self._latest: dict[Kind, float] = {}  # seconds of a picture
        self._jobs: WeakSet[Job] = WeakSet()  # in progress
        self._model = 0  # of what is read

    def opened(self, job: Job, chunks: int) -> None:
        """A job's file has this many chunks."""
        with self._lock:
            self._jobs.add(job)
            job.chunks = chunks
            self._model = job.model.id
            self._opened[job.work.kind] += chunks
            self._opened_bytes[job.work.kind] += job.work.size
            if job.has_sound and not job.cues:
                self._sound_s += job.facts.get("duration_s") or 0.0

    def embeds(self, job: Job, chunks: int) -> None:
        """A job gives vectors of another model to this many chunks."""
        with self._lock:
            self._jobs.add(job)
            job.chunks = chunks

    def is_new(self, kind: Kind) -> bool:
        """Whether no chunk of a kind was decoded yet."""
        return not self._done["decode", kind, 0]

    @contextmanager
    def work(
        self, stage: str, done: Mapping[Kind, float], *, model: int = 0, of: bytes | None = None
    ) -> Iterator[None]:
        """The block is the work of a stage on this many chunks (for "speech": seconds of sound) of each kind; read at
        its end. `model`: the id of the model that embeds. `of`: the content of a later stage, until `ended`."""
        began = time.monotonic()
        with self._lock:
            is_early = stage == OCR and self._is_reading(began)
            clock = self._clocks[EARLY if is_early else STEPS[stage]]
            clock.begin(began)
            if stage == "decode":
                self._decoding += 1
                self._most_decoding = max(self._most_decoding, self._decoding)
        try:
            yield
        finally:
            now = time.monotonic()
            with self._lock:
                clock.end(began, now)
                self._decoding -= stage == "decode"
                total = sum(done.values())
                for kind, count in done.items():
                    self._busy[stage, kind, model] += (now - began) * count / max(total, 1e-9)
                    self._done[stage, kind, model] += count
                    if stage == OCR:
                        self._note_picture(kind, now - began, is_early)
                    if of is not None:
                        self._begun[of] = stage, kind, count + self._begun.get(of, (stage, kind, 0.0))[2]

    def ended(self, content: bytes) -> None:
        """A later stage has ended with a content, well or not."""
        with self._lock:
            self._begun.pop(content, None)

    def to_read(self, kind: Kind, files: int, size: int) -> float | None:
        """Returns the seconds for the files of a kind that are not read, of `size` bytes together; None before
        anything was read."""
        if not files:
            return 0.0
        with self._lock:
            jobs = self._in_progress(kind)
            unopened = self._unopened(kind, jobs, files, size)
            left = {
                "decode": unopened + sum(max(job.chunks - job.sent, 0) for job in jobs),
                "embed": unopened + sum(max(job.chunks - len(job.done), 0) for job in jobs),
            }
            if not any(self._cost(stage, [kind]) for stage in left):
                cost = _scaled(self._costs_of_reading(), COST, kind)
                return self._seconds(READ, None if cost is None else left["embed"] * cost)
            return self._seconds(READ, sum(left[stage] * (self._cost(stage, [kind]) or 0.0) for stage in left))

    def to_embed(self, chunks: Mapping[Kind, int], model: int) -> float | None:
        """Returns the seconds for chunks that lack a vector of a model; None before it embedded one."""
        with self._lock:
            jobs = [job for job in self._jobs if job.stored is not None and job.model.id == model]
            costs = {
                kind: embed + (self._cost("decode", [kind]) or 0.0)
                for kind in KINDS
                if (embed := self._cost("embed", [kind], model)) is not None
            }
            busy = 0.0
            for kind, count in chunks.items():
                cost = _scaled(costs, COST, kind)
                if cost is None:
                    return None
                done = sum(len(job.done) for job in jobs if job.work.kind == kind)
                busy += max(count - done, 0) * cost
            return self._seconds(READ, busy)

    def to_ocr(self, pictures: Mapping[Kind, float]) -> float | None:
        """Returns the seconds for the text in pictures and pages; None before any was looked for."""
        with self._lock:
            left = {kind: max(count - self._begun_of(OCR, kind), 0.0) for kind, count in pictures.items()}
            costs = {kind: self._cost_of_ocr(kind, left.get(kind, 0.0)) for kind in self._latest}
            busy = 0.0
            for kind, count in left.items():
                cost = _scaled(costs, OCR_COST, kind)
                if cost is None and count:
                    return None
                busy += count * (cost or 0.0)
            if self._clocks[OCR].busy_s > IDLE_S:
                return self._seconds(OCR, busy)
            return self._seconds(READ, busy, self._most_decoding)  # the same threads will do it

    def to_hear(self, seconds: float, *, is_built_in: bool = False) -> float | None:
        """Returns the seconds for as many seconds of sound; None before a part of any was listened to, unless it is the
        built-in listener that does it."""
        with self._lock:
            cost = self._cost(SPEECH, ["video"])
            if cost is None and is_built_in:
                image = _scaled(self._costs_of_reading(), COST, "image")
                cost = None if image is None else SOUND_COST * image
            left = max(seconds - self._begun_of(SPEECH, "video"), 0.0)
            return None if cost is None else left * cost  # one film at a time

    def sound_of(self, files: int, size: int) -> float:
        """Returns the seconds of sound in videos that are not read, of `size` bytes together."""
        with self._lock:
            jobs = self._in_progress("video")
            chunks = self._unopened("video", jobs, files, size)
            sound = sum(job.facts.get("duration_s") or 0.0 for job in jobs if job.has_sound and not job.cues)
            return sound + chunks * self._sound_s / max(self._opened["video"], 1)

    def _in_progress(self, kind: Kind) -> list[Job]:
        """Returns the jobs of files that are not read, which are open."""
        return [job for job in self._jobs if job.work.kind == kind and job.stored is None and not job.again]

    def _unopened(self, kind: Kind, jobs: Iterable[Job], files: int, size: int) -> float:
        """Returns the chunks of the files that nobody has opened: at least one of each."""
        for job in jobs:
            copies = max(len(job.work.files), 1)
            files, size = files - copies, size - copies * job.work.size
        files, size = max(files, 0), max(size, 0)
        if kind == "image":
            return float(files)
        bytes_of = (self._opened_bytes[kind] + BYTES[kind]) / (self._opened[kind] + 1)
        return max(size / bytes_of, float(files)) if files else 0.0

    def _costs_of_reading(self) -> dict[Kind, float]:
        return {kind: sum(self._cost(stage, [kind]) or 0.0 for stage in ("decode", "embed")) for kind in KINDS}

    def _is_reading(self, now: float) -> bool:
        reading = self._clocks[READ]
        return reading.working > 0 or now - reading.last < 1.0

    def _note_picture(self, kind: Kind, seconds: float, is_early: bool) -> None:
        latest = self._latest.get(kind, seconds)
        self._latest[kind] = latest + (seconds - latest) / min(LATEST, self._done[OCR, kind, 0])
        if is_early:
            self._sample[kind].append(seconds)

    def _cost_of_ocr(self, kind: Kind, left: float) -> float:
        """Returns the seconds of one of the pictures that are left: the more are left, the more as the sample, which is
        from all folders; the fewer, the more as the latest, which are from the folder that is being read."""
        sample, latest = self._sample[kind], self._latest[kind]
        share = left / max(left + self._done[OCR, kind, 0], 1.0)
        mean = sum(sample) / len(sample) if len(sample) >= LATEST / 4 else latest
        return share * mean + (1 - share) * latest

    def _begun_of(self, stage: str, kind: Kind) -> float:
        return sum(count for of, k, count in self._begun.values() if (of, k) == (stage, kind))

    def _seconds(self, step: str, busy: float | None, most: int = 99) -> float | None:
        if not busy:
            return busy
        at_once = min(self._clocks[step].at_once(time.monotonic()), most)
        return busy / at_once if at_once > 0 else None

    def _cost(self, stage: str, kinds: Iterable[Kind], model: int | None = None) -> float | None:
        """Returns the seconds of work of a stage on a chunk of these kinds; None before there was one. `model`: that
        embeds; None: that of what is read."""
        if model is None:
            model = self._model if stage == "embed" else 0
        done = sum(self._done[stage, kind, model] for kind in kinds)
        return sum(self._busy[stage, kind, model] for kind in kinds) / done if done else None


def _scaled(known: Mapping[Kind, float], relative: Mapping[Kind, float], kind: Kind) -> float | None:
    """Returns the cost of a kind, or what those of other kinds let expect; None if none is known."""
    if known.get(kind):
        return known[kind]
    scale = [cost / relative[other] for other, cost in known.items() if cost]
    return relative[kind] * sum(scale) / len(scale) if scale else None
