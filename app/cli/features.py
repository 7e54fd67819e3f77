"""Commands that build on answers: moments, labels and moderation, reels, duplicates, choosing among answers,
scoring one's own library, export.

Built around `Library.searcher()`: each command turns its options into one call of the indexer's and shows
what comes back. Indexing and searching are in `app.cli.main`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.options import Commands, Json, fail, opened, print_json, query_of, settings_of

if TYPE_CHECKING:
    from indexer import Library
    from indexer.types import FileInfo

commands = Commands()

Out = Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")]


@commands.command()
def moments(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of the library.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What happens there.")],
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=100, help="How many moments.")] = 5,
    json_: Json = False,
) -> None:
    """Where in a video something happens, to the second."""
    from dataclasses import replace

    from app.cli import output
    from app.web import captions

    query = query_of(text, [], [], ["video"], None, None, None)
    with opened(read_only=True) as library:
        filters = replace(query.filters, file_id=_video(library, video).file_id)
        found = library.moments(replace(query, filters=filters), k=k)
        if json_:
            print_json([moment.to_json() for moment in found])
            return
        for moment in found:
            span = "–".join(map(captions.clock, moment.span.seconds))
            output.out.print(f"{span}  look at {captions.clock(moment.at_s)}")
        if not found:
            output.err.print("Nothing in this video comes close.")


@commands.command()
def transcript(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of the library.")],
    format_: Annotated[
        Literal["text", "srt", "vtt"], typer.Option("--format", help="Lines with their seconds, or subtitles.")
    ] = "text",
    json_: Json = False,
) -> None:
    """What is said in a video."""
    from app import speech_status
    from app.cli import output
    from app.web import captions

    settings = settings_of()
    with opened(settings, read_only=True) as library:
        file_id = _video(library, video).file_id
        cues = library.transcript(file_id)
        if json_:
            print_json({"cues": captions.as_json(cues)})
        else:
            output.out.print(captions.FORMATS[format_](cues), end="", markup=False)
        if library.awaits_speech(file_id):
            state = "It is not heard to its end yet" if cues else "Nobody has listened to it yet"
            output.err.print(f"{state}: {speech_status.next_step(settings.speech)}", markup=False)
        elif not cues:
            output.err.print("Nothing that could be understood is said in it.")


@commands.command()
def label(
    labels: Annotated[
        str, typer.Option(metavar="FILE|imagenet|kinetics", help="Labels, one a line; or a built-in list.")
    ],
) -> None:
    """Label every picture, moment and page without training; search with label:NAME."""
    from app.cli import output
    from indexer import label_by, label_counts

    with opened() as library:
        given = label_by(library.searcher(), labels)
        for name, count in list(label_counts(library.searcher()).items())[:20]:
            output.out.print(f"{count:>7}  {name}", markup=False)
        output.err.print(f"{output.counted(given, 'label')} given. Search with one: sightline search label:NAME")


@commands.command("moderate")
def moderate_(
    rules: Annotated[Path, typer.Option(metavar="FILE", help="CSV of label, threshold, action (hide or flag).")],
    report: Annotated[Path, typer.Option(metavar="FILE", help="What was caught, as .csv or .json.")],
) -> None:
    """Hide or flag what rules catch, and report it with its seconds and pages."""
    from app.cli import output
    from indexer import moderate, read_rules, write_report

    with opened() as library:
        caught = moderate(library.searcher(), read_rules(rules.expanduser()))
    write_report(caught, report.expanduser())
    output.err.print(f"{len(caught)} caught; the list is in {report}", markup=False)


@commands.command("reel")
def reel_(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the film should show.")],
    out: Out,
    max_length: Annotated[float, typer.Option(min=1.0, help="Seconds at most.")] = 90.0,
    under: Annotated[Path | None, typer.Option(metavar="DIR", help="Only from below this folder.")] = None,
) -> None:
    """Cut the best moments of the library into one film, with edit lists (CSV, EDL) beside it."""
    from app.cli import output
    from app.web import captions
    from indexer import reel

    query = query_of(text, [], [], ["video"], under, None, None)
    with opened(read_only=True) as library:
        clips = reel(library.searcher(), query, out.expanduser(), max_length_s=max_length)
    for clip in clips:
        span = "–".join(map(captions.clock, clip.span.seconds))
        output.out.print(f"{captions.clock(clip.at_s)}  {output.printable(clip.path)} {span}", markup=False)
    length = sum(end - start for start, end in (clip.span.seconds for clip in clips))
    output.err.print(f"{out}: {len(clips)} pieces, {captions.clock(length)}", markup=False)


@commands.command("answer")
def answer_(
    question: Annotated[str, typer.Argument(metavar="QUESTION")],
    choices: Annotated[list[str], typer.Option(metavar="ANSWER...", help="Answers to choose from.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The image that is asked about.")] = None,
    video: Annotated[Path | None, typer.Option(metavar="FILE", help="The video that is asked about.")] = None,
    pdf: Annotated[Path | None, typer.Option(metavar="FILE", help="The PDF that is asked about.")] = None,
    json_: Json = False,
) -> None:
    """Choose among answers to a question about an image, a video or a PDF."""
    from app.cli import output
    from indexer import answer

    files = [f.expanduser() for f in (image, video, pdf) if f]
    if len(files) != 1:
        fail("Ask about one file: --image, --video or --pdf FILE", 2)
    if not files[0].is_file():
        fail(f"{files[0]} is not a file that can be asked about", 2)
    given = [*choices, *(more or [])]
    if len(given) < 2:
        fail("Give at least two answers to choose from: --choices yes no", 2)
    with opened(read_only=True) as library:
        ranked = answer(library.searcher(), question, given, files[0])
    if json_:
        print_json([asdict(choice) for choice in ranked])
        return
    for choice in ranked:
        output.out.print(choice.text, markup=False)


@commands.command()
def duplicates(
    alike: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Cosine from which images look alike; 1: exact copies only.")
    ] = 0.97,
    json_: Json = False,
) -> None:
    """Files that are the same, and images that look the same. Nothing is deleted."""
    with opened(read_only=True) as library:
        groups = library.duplicates(0.0 if alike >= 1 else alike)
    if json_:
        print_json([[str(info.path) for info in group] for group in groups])
        return
    from app.cli import output

    for group in groups:
        for info in group:
            output.out.print(output.printable(str(info.path)), markup=False)
        output.out.print()
    found = output.counted(len(groups), "group")
    output.err.print(f"{found} of files that are the same or look the same.")


@commands.command("eval-my-library")
def eval_my_library(
    queries: Annotated[
        Path, typer.Argument(metavar="QUERIES.jsonl", help="One query a line, with the files that are right.")
    ],
    json_: Json = False,
) -> None:
    """Score the search on your own library and judgements, to choose a model with."""
    from eval.metrics import score_ranking
    from indexer import JudgementError, evaluate, read_judgements
    from indexer.types import Part, Query

    try:
        judgements = read_judgements(queries.expanduser())
    except JudgementError as error:
        fail(str(error), 2)
    with opened(read_only=True) as library:
        report = evaluate(
            judgements,
            lambda words, k: library.search(Query(parts=(Part(text=words),)), k=k).hits,
            score_ranking,
            library.status().model,
        )
    print_json(report.as_json()) if json_ else typer.echo(report.as_text())


@commands.command()
def clicks(
    keep: Annotated[
        bool | None, typer.Option("--keep/--no-keep", help="Keep them from now on, or keep no more.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete all that are kept.")] = False,
    json_: Json = False,
) -> None:
    """What you searched for and then opened, kept here to train a model with; off until you agree."""
    from app.cli import output

    changes = delete or keep is not None
    with opened(read_only=not changes) as library:
        kept = library.clicks
        if keep is not None:
            kept.keep(keep)
        if delete:
            output.err.print(f"{kept.delete()} clicks deleted.")
        if json_:
            print_json({"keeps_clicks": kept.kept, "clicks": len(kept)})
            return
        output.out.print(
            f"{len(kept)} kept. From now on what you open after a search in words is kept, here only."
            if kept.kept
            else f"{len(kept)} kept, and no more will be. Begin with: sightline clicks --keep"
        )


@commands.command("export")
def export_(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every chunk to it.")] = None,
    format: Annotated[Literal["parquet", "jsonl", "csv"], typer.Option(help="csv goes without vectors.")] = "jsonl",
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Without the vectors.")] = False,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write pairs to train a model with (JSON lines).")
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="text|clicks|media",
            help="The pairs: a chunk and its words (the default), a search and what you opened, or a chunk "
            "alone; may repeat.",
        ),
    ] = None,
) -> None:
    """Write every chunk with its facts, words and vector for another program, or pairs to train with."""
    from app.cli import output
    from indexer import PAIR_KINDS, export

    if unknown := set(of or ()).difference(PAIR_KINDS):
        fail(f"--of is one of {', '.join(PAIR_KINDS)}, not {unknown.pop()}", 2)
    if not (out or pairs):
        fail("Name a file: --out FILE for every chunk, --pairs FILE for pairs to train with", 2)
    with opened(read_only=True) as library:
        if pairs:
            count = library.export_pairs(pairs.expanduser(), of or ["text"])
            output.err.print(f"{output.counted(count, 'pair')} in {pairs}", markup=False)
        if out:
            count = export(library.searcher(), out.expanduser(), format=format, vectors=not no_vectors)
            output.err.print(f"{count} chunks in {out}", markup=False)


def _video(library: Library, video: Path) -> FileInfo:
    """A video of the library, by its path; anything else ends the command."""
    file = library.file_at(video.expanduser().absolute())
    if file is not None and file.kind != "video":
        fail(f"{video} is not a video", 2)
    if file is None and not video.expanduser().is_file():
        fail(f"{video} does not exist. Give a video of the library.", 1)
    if file is None:
        fail(f"{video} is not in the library: sightline index {video.parent}", 1)
    return file
