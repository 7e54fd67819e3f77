"""How long the rest takes, by kind and step: what a chunk costs, how many are left, and what runs at once.

Built around seconds of one core. While more stages are at work than there are cores, each is counted the share that it
gets: so a chunk costs the same whatever runs beside it, and a single film window among a thousand photos tells what
films cost. `schedule.py` says when steps end that share threads and cores. Reading (decode and embed), OCR and
listening are timed apart. How many chunks a file has that nobody has opened follows from its bytes and from the files
that were opened. It knows nothing of the catalogue.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet

from indexer.catalogue.rows import Pictures
from indexer.pipeline.costs import ImageCost, UnitCost
from indexer.pipeline.jobs import Job
from indexer.pipeline.schedule import Load, ends
from indexer.types import KINDS, Kind
from model import machine

IDLE_S = 5.0
"""A longer time without work is a pause, and does not count as time in which work was done."""
RECENT_S = 120.0
"""Seconds at work of which the cores that a step keeps busy are an average; older ones count half, and half again."""
COST: dict[Kind, float] = {"image": 1.0, "pdf": 1.2, "video": 6.0}
"""What a chunk of a kind costs to read, relative to the others, until one was read (`make bench-baseline`)."""
OCR_COST: dict[Kind, float] = {"image": 1.0, "pdf": 4.0, "video": 1.0}
"""The same for the text in a picture and on a page."""
SOUND_COST = 1.0
"""What the built-in listener needs for a second of sound, relative to the image above, until it heard some."""
BYTES: dict[Kind, float] = {"pdf": 100e3, "video": 15e6}
"""Bytes of a chunk of a file until one was opened, and as if one more was opened; an image is one chunk."""

LATEST = 32
"""Chunks, pictures and pages over which the cost of the latest ones is an average."""
LATEST_SOUND_S = 600
"""The same in seconds of sound."""

READ, OCR, SPEECH = "read", "ocr", "speech"
STEPS = {"decode": READ, "embed": READ, OCR: OCR, SPEECH: SPEECH}
"""The step that a stage belongs to."""


@dataclass
class _Clock:
    """Of a step: the seconds at work, and the seconds of a core that its stages were given in them."""

    wall_s: float = 0.0
    core_s: float = 0.0
    working: int = 0
    since: float = 0.0
    begins: float = 0.0  # the sum of what `shared` was when the work in progress began
    last: float = -math.inf

    def begin(self, now: float, shared: float) -> None:
        if not self.working:
            self.since = self.last if now - self.last < IDLE_S else now
        self.working += 1
        self.begins += shared

    def end(self, now: float, began: float, shared: float) -> None:
        self.working -= 1
        self.begins -= began
        self.last = now
        self.core_s += shared - began
        if not self.working:
            self.wall_s += now - self.since
            if self.wall_s > RECENT_S:
                self.wall_s, self.core_s = self.wall_s / 2, self.core_s / 2

    def cores(self, now: float, shared: float) -> float:
        """Returns the cores that the step keeps busy while it runs; infinite before it did."""
        wall_s = self.wall_s + (now - self.since if self.working else 0.0)
        return (self.core_s + self.working * shared - self.begins) / wall_s if wall_s > 0 else math.inf


@dataclass
class _Begun:
    """A content in a later stage: what is done of it, and what there is to do."""

    stage: str
    kind: Kind
    done: float = 0.0
    total: float = 0.0

    @property
    def left(self) -> float:
        return max(self.total - self.done, 0.0)


class TimeLeft:
    """Safe to use from many threads."""

    def __init__(self, threads: int = 3, cores: int | None = None) -> None:
        """`threads`: that take contents. `cores`: None for those that this process may use."""
        self.threads, self._cores = threads, cores or machine.cores()
        self._lock = threading.Lock()
        self._working = 0
        self._shared_s = self._shared_at = 0.0  # seconds of a core that a stage got which is always at work
        self._clocks: defaultdict[str, _Clock] = defaultdict(_Clock)
        self._costs: dict[tuple[str, Kind, int], UnitCost] = {}  # by stage, kind and model
        self._images = ImageCost()
        self._begun: dict[bytes, _Begun] = {}
        self._opened: Counter[Kind] = Counter()  # chunks
        self._opened_bytes: Counter[Kind] = Counter()
        self._pages = self._scans = 0  # decoded pages, those without text of them
        self._scanned_bytes = 0.0
        self._sound_s = 0.0
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

    def saw_pages(self, job: Job, pages: int, scans: int) -> None:
        """So many pages of a PDF were decoded, some of them scans: OCR is to read these."""
        with self._lock:
            job.scans += scans
            self._pages += pages
            self._scans += scans
            self._scanned_bytes += job.work.size * pages / max(job.chunks, pages)

    def embeds(self, job: Job, chunks: int) -> None:
        """A job gives vectors of another model to this many chunks."""
        with self._lock:
            self._jobs.add(job)
            job.chunks = chunks

    def begins(self, content: bytes, stage: str, kind: Kind, total: float, done: float = 0.0) -> None:
        """A later stage begins with a content, in which there is so much to do and so much done; until `ended`."""
        with self._lock:
            self._begun[content] = _Begun(stage, kind, done, total)

    def ended(self, content: bytes) -> None:
        """A later stage has ended with a content, well or not."""
        with self._lock:
            self._begun.pop(content, None)

    def is_new(self, kind: Kind) -> bool:
        """Whether no chunk of a kind was decoded yet."""
        return ("decode", kind, 0) not in self._costs

    @contextmanager
    def work(
        self, stage: str, done: Mapping[Kind, float], *, model: int = 0, of: bytes | None = None, size: int = 0
    ) -> Iterator[None]:
        """The block is the work of a stage on this many chunks (for "speech": seconds of sound) of each kind; read at
        its end. `model`: the id of the model that embeds. `of`: the content of a later stage. `size`: the bytes of the
        image that is decoded."""
        clock = self._clocks[STEPS[stage]]
        with self._lock:
            now = time.monotonic()
            is_early = stage == OCR and self._is_reading(now)
            began = self._share(now, +1)
            if not is_early:
                clock.begin(now, began)
        try:
            yield
        finally:
            with self._lock:
                now = time.monotonic()
                shared = self._share(now, -1)
                if not is_early:
                    clock.end(now, began, shared)
                self._note(stage, done, model, shared - began, is_early)
                if size and stage == "decode" and done.get("image"):
                    self._images.add(shared - began, size)
                if of in self._begun:
                    self._begun[of].done += sum(done.values())

    def _share(self, now: float, more: int) -> float:
        """Counts a stage that begins or ends; returns the seconds of a core of one that is always at work."""
        if self._working:
            self._shared_s += (now - self._shared_at) * min(1.0, self._cores / self._working)
        self._shared_at = now
        self._working += more
        return self._shared_s

    def _note(self, stage: str, done: Mapping[Kind, float], model: int, spent_s: float, is_early: bool) -> None:
        total = sum(done.values())
        for kind, count in done.items():
            cost = self._costs.setdefault((stage, kind, model), UnitCost(LATEST_SOUND_S if stage == SPEECH else LATEST))
            cost.add(spent_s * count / max(total, 1e-9), count, stands_for_all=is_early)

    # -- what is left ----------------------------------------------------------------------

    def seconds(self, loads: Sequence[Load | None]) -> list[float | None]:
        """Returns how many seconds after those before it each step ends; None where nothing tells it yet."""
        known = [load for load in loads if load is not None]
        ended, end = iter(ends(known, self.threads, self._cores)), 0.0
        seconds: list[float | None] = []
        for load in loads:
            if load is None:
                seconds.append(None)
            else:
                end, before = max(end, next(ended)), end
                seconds.append(end - before)
        return seconds

    def to_read(self, kind: Kind, files: int, size: int) -> Load | None:
        """Returns what the files of a kind take that are not read, of `size` bytes together; None before anything was
        read."""
        if not files:
            return Load(0.0)
        with self._lock:
            jobs = self._in_progress(kind)
            others, other_bytes = self._unopened_files(jobs, files, size)
            unopened = self._chunks(kind, others, other_bytes)
            rests = [(max(job.chunks - job.sent, 0), max(job.chunks - len(job.done), 0)) for job in jobs]
            decode_left = unopened + sum(decode for decode, _ in rests)
            embed_left = unopened + sum(embed for _, embed in rests)
            decode, embed = self._cost("decode", kind, decode_left), self._cost("embed", kind, embed_left)
            if decode is None and embed is None:
                cost = _scaled(self._costs_of_reading(), COST, kind)
                return None if cost is None else self._reading(embed_left * cost, files)
            decode, embed = decode or 0.0, embed or 0.0
            if kind == "image":
                decode *= max(self._images.relative(others, other_bytes), 0.1)
            longest = max((d * decode + e * embed for d, e in rests), default=0.0)
            return self._reading(decode_left * decode, files, embed_s=embed_left * embed, longest_s=longest)

    def to_reread(self, chunks: Mapping[Kind, int]) -> Load | None:
        """Returns what chunks take that are read again; None before anything was read."""
        with self._lock:
            decode_s = embed_s = 0.0
            for kind, count in chunks.items():
                done = sum(len(job.done) for job in self._jobs if job.again and job.work.kind == kind)
                left = max(count - done, 0)
                decode, embed = self._cost("decode", kind, left), self._cost("embed", kind, left)
                if decode is None and embed is None:
                    embed = _scaled(self._costs_of_reading(), COST, kind)
                    if embed is None:
                        return None
                decode_s += left * (decode or 0.0)
                embed_s += left * (embed or 0.0)
            return self._reading(decode_s, sum(chunks.values()), embed_s=embed_s)

    def to_embed(self, chunks: Mapping[Kind, int], model: int) -> Load | None:
        """Returns what chunks take that lack a vector of a model; None before it embedded one."""
        with self._lock:
            jobs = [job for job in self._jobs if job.stored is not None and job.model.id == model]
            costs = {kind: cost for kind in chunks if (cost := self._cost("embed", kind, 0.0, model)) is not None}
            decode_s = embed_s = 0.0
            for kind, count in chunks.items():
                cost = _scaled(costs, COST, kind)
                if cost is None:
                    return None
                left = max(count - sum(len(job.done) for job in jobs if job.work.kind == kind), 0)
                embed_s += left * cost
                decode_s += left * (self._cost("decode", kind, left) or 0.0)
            return self._reading(decode_s, sum(chunks.values()), embed_s=embed_s)

    def to_ocr(self, waiting: Mapping[Kind, Pictures]) -> Load | None:
        """Returns what the text in pictures and pages takes; None before any was looked for."""
        with self._lock:
            left = {
                kind: max(pictures.number - sum(each.done for each in self._of(OCR, kind)), 0.0)
                for kind, pictures in waiting.items()
            }
            costs = {kind: cost for kind in KINDS if (cost := self._cost(OCR, kind, left.get(kind, 0.0))) is not None}
            work_s = longest_s = 0.0
            for kind, count in left.items():
                cost = _scaled(costs, OCR_COST, kind)
                if cost is None and count:
                    return None
                begun = self._of(OCR, kind)
                most = max((each.left for each in begun), default=0.0)
                if all(each.total < waiting[kind].most for each in begun):
                    most = max(most, waiting[kind].most)
                work_s += count * (cost or 0.0)
                longest_s = max(longest_s, most * (cost or 0.0))
            return Load(work_s, sum(pictures.contents for pictures in waiting.values()), longest_s)

    def to_hear(self, seconds: float, *, is_built_in: bool = False) -> Load | None:
        """Returns what so many seconds of sound take; None before a part of any was listened to, unless it is the
        built-in listener that does it."""
        with self._lock:
            left = max(seconds - sum(each.done for each in self._of(SPEECH, "video")), 0.0)
            cost = self._cost(SPEECH, "video", left)
            if cost is None and is_built_in:
                image = _scaled(self._costs_of_reading(), COST, "image")
                cost = None if image is None else SOUND_COST * image
            return None if cost is None else Load(left * cost, at_once=1)  # one film at a time

    def sound_of(self, files: int, size: int) -> float:
        """Returns the seconds of sound in videos that are not read, of `size` bytes together."""
        with self._lock:
            jobs = self._in_progress("video")
            chunks = self._chunks("video", *self._unopened_files(jobs, files, size))
            sound = sum(job.facts.get("duration_s") or 0.0 for job in jobs if job.has_sound and not job.cues)
            return sound + chunks * self._sound_s / max(self._opened["video"], 1)

    def pictures_of(self, kind: Kind, files: int, size: int) -> float:
        """Returns the images, or the pages that are scans, in files that are not read, of `size` bytes together."""
        if not files or kind == "video":
            return 0.0
        if kind == "image":
            return float(files)
        with self._lock:
            jobs = self._in_progress(kind)
            share = self._scans / max(self._pages, 1)
            begun = sum(job.scans + max(job.chunks - job.sent, 0) * share for job in jobs)
            others, other_bytes = self._unopened_files(jobs, files, size)
            a_byte = self._scans / max(self._scanned_bytes, 1.0)
            return begun + min(other_bytes * a_byte, self._chunks(kind, others, other_bytes))

    def _in_progress(self, kind: Kind) -> list[Job]:
        """Returns the jobs of files that are not read, which are open."""
        return [job for job in self._jobs if job.work.kind == kind and job.stored is None and not job.again]

    def _unopened_files(self, jobs: Iterable[Job], files: int, size: int) -> tuple[int, int]:
        """Returns the number and bytes of the files that nobody has opened."""
        for job in jobs:
            copies = max(len(job.work.files), 1)
            files, size = files - copies, size - copies * job.work.size
        return max(files, 0), max(size, 0) if files > 0 else 0

    def _chunks(self, kind: Kind, files: int, size: int) -> float:
        """Returns the chunks of files that nobody has opened: at least one of each."""
        if kind == "image":
            return float(files)
        bytes_of = (self._opened_bytes[kind] + BYTES[kind]) / (self._opened[kind] + 1)
        return max(size / bytes_of, float(files)) if files else 0.0

    def _reading(self, decode_s: float, contents: float, *, embed_s: float = 0.0, longest_s: float = 0.0) -> Load:
        """One thread embeds what all threads decode."""
        now, work_s = time.monotonic(), decode_s + embed_s
        cores = self._clocks[READ].cores(now, self._share(now, 0))
        if embed_s:
            cores = min(cores, work_s / embed_s)
        width = work_s / max(decode_s, embed_s, 1e-9)
        return Load(work_s, contents, longest_s, width=width, cores=max(cores, 0.05))

    def _costs_of_reading(self) -> dict[Kind, float]:
        return {kind: sum(self._cost(stage, kind) or 0.0 for stage in ("decode", "embed")) for kind in KINDS}

    def _is_reading(self, now: float) -> bool:
        reading = self._clocks[READ]
        return reading.working > 0 or now - reading.last < 1.0

    def _of(self, stage: str, kind: Kind) -> list[_Begun]:
        return [begun for begun in self._begun.values() if (begun.stage, begun.kind) == (stage, kind)]

    def _cost(self, stage: str, kind: Kind, left: float = 0.0, model: int | None = None) -> float | None:
        """Returns the seconds of a core for a chunk of those left of a kind; None before one was done. `model`: that
        embeds; None: that of what is read."""
        if model is None:
            model = self._model if stage == "embed" else 0
        cost = self._costs.get((stage, kind, model))
        return cost.of(left) if cost is not None and cost.units else None


def _scaled(known: Mapping[Kind, float], relative: Mapping[Kind, float], kind: Kind) -> float | None:
    """Returns the cost of a kind, or what those of other kinds let expect; None if none is known."""
    if known.get(kind):
        return known[kind]
    scale = [cost / relative[other] for other, cost in known.items() if cost]
    return relative[kind] * sum(scale) / len(scale) if scale else None
