"""What the command line prints: answers, status, progress bars (those with Rich). It knows no library.

Results go to stdout and everything else to stderr, so that output can be piped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.terminal import BOLD, CYAN, DIM, GREEN, YELLOW, Screen, harmless, styled
from app.web.captions import clock
from indexer.types import (
    COPIES,
    MARK,
    UNMARK,
    Answer,
    Failure,
    Hit,
    IndexReport,
    LeftOutSort,
    MigrationReport,
    ModelComparison,
    Status,
    WorkerStatus,
)

if TYPE_CHECKING:
    from model.cards import ModelCard

out, err = Screen("stdout"), Screen("stderr")

SILENT_S = 30.0
"""Seconds without a heartbeat after which a worker is shown as silent."""


def counted(n: int, one: str) -> str:
    """`1 file`, `2 files`."""
    return f"{n} {one}" if n == 1 else f"{n} {one}s"


def place(hit: Hit) -> str:
    """Where in its file a hit is: `1:00–1:30, said at 1:12`, `p. 12 of 40`, `› invoice.pdf, page 2`, or nothing."""
    if hit.inside_page is not None:
        return printable(hit.title.removeprefix(Path(hit.path).name).strip())
    if hit.span.page is not None:
        return f"p. {hit.span.page} of {hit.pages}" if hit.pages else f"p. {hit.span.page}"
    if hit.span.end_s is not None:
        said = f", said at {clock(hit.at_s)}" if hit.at_s is not None else ""
        return f"{'–'.join(map(clock, hit.span.seconds))}{said}"
    return ""


def size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError


def printable(path: str) -> str:
    """A path for any terminal: undecodable bytes and control characters are escaped."""
    safe = path.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in safe)


def show_answer(answer: Answer, empty: bool = False) -> None:
    """Print the hits. `empty`: the library holds no chunks."""
    relevant = [h for h in answer.hits if h.relevant]
    if not answer.hits:
        err.print(
            "Nothing is indexed yet. Index a folder: sightline index FOLDER"
            if empty
            else answer.notice or "Nothing in the library matches: leave out a filter, or a word in quotes."
        )
        return
    if not relevant:
        if answer.notice:
            err.print(answer.notice)
        out.print("Nothing close. The nearest:")
    has_divider = False
    for hit in answer.hits:
        if relevant and not hit.relevant and not has_divider:
            has_divider = True
            out.print(styled("── less likely ──", DIM))
        _show_hit(hit, dim=not hit.relevant)
    total = f"{answer.total}{'+' if answer.at_least else ''}"
    err.print(styled(f"{len(answer.hits)} of {total} in {answer.took_ms:.0f} ms with {printable(answer.model)}", DIM))


def _show_hit(hit: Hit, dim: bool) -> None:
    path = Path(hit.path)
    line = styled(f"{hit.rank:>3}  ", DIM) + styled(printable(path.name), DIM if dim else BOLD)
    if where := place(hit):
        line += styled(f"  {where}", DIM if dim else CYAN)
    out.print(line + styled(f"  {printable(str(path.parent))}", DIM))
    if hit.folded:
        out.print(styled(f"     and {hit.folded} more in this file", DIM))
    if hit.note:
        out.print(styled(f"     {printable(hit.note)}", YELLOW))
    if hit.snippet:
        begin, *others = harmless(hit.snippet.replace("\n", " ")).split(MARK)
        text = styled(begin, DIM)
        for part in others:
            marked, _, plain = part.partition(UNMARK)
            text += styled(marked, BOLD) + styled(plain, DIM)
        out.print(f"     {text}")


def show_status(status: Status, untranscribed: int = 0, transcribe_command: str = "") -> None:
    """Print the status. `untranscribed`: the number of videos that wait; `transcribe_command` transcribes them."""
    out.print(
        f"{counted(status.files, 'file')}: {kinds(status)}; "
        f"{counted(status.chunks, 'chunk')}, {size(status.bytes)} on disk"
    )
    out.print(f"Model {printable(status.model)}")
    for root in status.roots:
        out.print(f"Watching {printable(root)}")
    if not status.roots:
        out.print("No folder yet. Add one: sightline index FOLDER")
    if status.pending:
        left = f", about {clock(status.seconds_left)} left" if status.seconds_left else ""
        by_kind = [(work.left, "PDF" if work.kind == "pdf" else work.kind) for work in status.work if work.kind]
        kinds_left = ", ".join(counted(*one) for one in by_kind)
        out.print(f"{status.pending} waiting to be read{f': {kinds_left}' if kinds_left else ''}{left}")
    if untranscribed:
        out.print(f"{counted(untranscribed, 'video')} not transcribed yet: {transcribe_command}")
    if status.failed:
        out.print(f"{status.failed} could not be read: sightline failures")
    show_left_out(status.left_out, out)
    if status.clicks or status.keeps_clicks:
        off = "" if status.keeps_clicks else "; new ones are not kept"
        out.print(f"{counted(status.clicks, 'click')} kept to train with{off}: sightline clicks")
    if status.confinement:
        out.print(f"Files are decoded apart: {'; '.join(status.confinement)}")
    for worker in status.workers:
        _show_worker(worker)
    for notice in status.notices:
        out.print(f"Note: {harmless(notice)}")


def show_left_out(sorts: Sequence[LeftOutSort], screen: Screen) -> None:
    """A line a reason: how many files and folders are not indexed, what they are, and one of them."""
    for why in dict.fromkeys(sort.why for sort in sorts):
        some = [sort for sort in sorts if sort.why == why]
        names = ", ".join(f"{sort.count} {sort.what}".strip() for sort in some[:6])
        more = f" and {len(some) - 6} more sorts" if len(some) > 6 else ""
        line = f"Not indexed, {why}: {names}{more}, as {some[0].example}"
        screen.print(printable(line))
        if why == COPIES:
            screen.print("  To take them in: sightline index --copies")


def kinds(of: Status | IndexReport) -> str:
    """`1 image, 2 videos, 0 PDFs`."""
    return f"{counted(of.images, 'image')}, {counted(of.videos, 'video')}, {counted(of.pdfs, 'PDF')}"


def _show_worker(worker: WorkerStatus) -> None:
    line = f"Worker {worker.name} on {worker.host}: "
    if worker.silent_s > SILENT_S:
        line += f"silent for {clock(worker.silent_s)}; other workers take over its files"
    else:
        line += f"{worker.told or 'starting'}, {counted(worker.holds, 'file')} in work"
    out.print(printable(line))
    for root in worker.lacks:
        note = f"  {worker.name} cannot see {root} and leaves its files to others (mount it, or --map)."
        out.print(printable(note))


def show_failures(failures: list[Failure]) -> None:
    if not failures:
        out.print("Every file could be read.")
    for failure in failures:
        out.print(f"{printable(failure.path)}: {harmless(failure.reason)}")


def show_report(report: IndexReport) -> None:
    parts = [f"{counted(report.files, 'file')} ({kinds(report)})"]
    parts.append(counted(report.chunks, "new chunk"))
    if report.reused:
        parts.append(f"{report.reused} reused")
    if report.failed:
        parts.append(f"{report.failed} could not be read (sightline failures)")
    if report.ignored:
        parts.append(f"{report.ignored} not indexed (sightline status)")
    err.print(f"{', '.join(parts)} in {report.seconds:.1f} s")


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[Status], None] | None]:
    """A progress bar (files, chunks a second, time left). None if stderr is no terminal, or if `quiet`."""
    if quiet or not err.is_terminal:
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files  {task.fields[rate]}"),
        TextColumn("[dim]{task.fields[reading]}"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("Indexing", total=None, rate="", reading="")
        most = 0

        def update(status: Status) -> None:
            nonlocal most
            most = max(most, status.pending)
            left = f", {clock(status.seconds_left)} left" if status.seconds_left else ""
            reading = Path(status.reading[0]).name if status.reading else ""
            reading = next((n for n in status.notices if n.startswith("The model server")), reading)
            bar.update(
                task,
                total=most or None,
                completed=most - status.pending,
                rate=f"{status.chunks_per_s:.1f} chunks/s{left}",
                reading=escape(printable(reading)),
            )

        yield update


@contextmanager
def steps(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for named steps of known size; does nothing if stderr is no terminal, or if `quiet`."""
    if quiet or not err.is_terminal:
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total)


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal while something lasts; yields what changes it."""
    from rich.console import Console

    with Console(stderr=True).status(text) as line:
        yield line.update


def show_migration(report: MigrationReport, in_folder: bool, to: str, vectors: str | None, stale: bool) -> None:
    """Print the next steps. `stale`: SIGHTLINE_VECTORS still names the old library's vectors."""
    files, chunks = report.rows["file"], report.rows["chunk"]
    err.print(f"{files:,} files with {chunks:,} chunks are copied, and each row is checked.")
    option = "--data-dir" if in_folder else "--catalogue"
    vectors_option = f" --vectors {vectors}" if vectors else ""
    err.print(f"From now on: {option} {to}{vectors_option}, or its SIGHTLINE_ variable.")
    if stale:
        err.print("Take SIGHTLINE_VECTORS away: it names the old library's vectors.")
    err.print("The old library is unchanged; delete it when you no longer need it.")


def show_models(cards: list[ModelCard], speech: str) -> None:
    for card in cards:
        star = " " + styled("(recommended here)", GREEN) if card.recommended else ""
        disk = "on this disk" if card.on_disk else "not on this disk"
        name = styled(printable(card.name), BOLD)
        out.print(f"{name}{star}  {card.dim} dimensions, {card.licence}, {disk}")
        scores = ", ".join(f"{name} {value:g}" for name, value in card.scores.items() if value is not None)
        needs = f"{card.memory_gb:g} GB of memory"
        if card.chunks_per_hour:
            needs += f"; here about {_round(card.chunks_per_hour)} video windows of 30 s an hour"
        out.print(f"    {needs}{'; MMEB-V2 ' + scores if scores else ''}")
        out.print(f"    {card.about}")
    out.print(speech)


def show_comparison(comparison: ModelComparison) -> None:
    """Print the files of each query under both models, then how much they agree."""
    n_queries = len(comparison.queries)
    for letter, name, count in zip("AB", comparison.models, comparison.chunks, strict=True):
        out.print(f"{letter}: {name}, {counted(count, 'chunk')}{', answers now' if letter == 'A' else ''}")
    for one in comparison.queries:
        out.print(f"\n{printable(one.query)}  ({one.agreement:.0%} the same)")
        for letter, hits in zip("AB", one.hits, strict=True):
            names = [f"{printable(Path(hit.path).name)} {place(hit)}".strip() for hit in hits]
            out.print(f"  {letter}  {' · '.join(names) or 'nothing'}")
    same = sum([h.path for h in one.hits[0][:1]] == [h.path for h in one.hits[1][:1]] for one in comparison.queries)
    out.print(
        f"\nOf the first files of each query {comparison.agreement:.0%} are the same; the very first one is in"
        f" {same} of {n_queries}."
    )
    if opened := [one.opened for one in comparison.queries if one.opened]:
        found = [sum(places[side] is not None for places in opened) for side in (0, 1)]
        out.print(f"What you opened then is among them in {found[0]} of {len(opened)} under A, in {found[1]} under B.")


def _round(number: float) -> str:
    """Two significant figures: `3187.5` -> `3,200`, `1.73` -> `1.7`."""
    digits = 1 - math.floor(math.log10(number))
    return f"{round(number, digits):,.{max(0, digits)}f}"
