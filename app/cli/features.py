"""Commands for the features built on search: moments, transcripts, labels, moderation, reels, multiple choice,
duplicates, evaluation, clicks, albums, export.

Built around `Library.searcher()`: each command turns its options into one call of `indexer` and shows the result.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.cli.options import Commands, Json, fail, opened, print_json, query_of, settings_of
from app.cli.terminal import harmless

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
        results = library.moments(replace(query, filters=filters), k=k)
        if json_:
            print_json([moment.to_json() for moment in results])
            return
        for moment in results:
            span = "–".join(map(captions.clock, moment.span.seconds))
            output.out.print(f"{span}  look at {captions.clock(moment.at_s)}")
        if not results:
            output.err.print("Nothing in this video comes close.")


@commands.command()
def transcript(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video of the library.")],
    format_: Annotated[
        Literal["text", "srt", "vtt"], typer.Option("--format", help="Lines with their seconds, or subtitles.")
    ] = "text",
    json_: Json = False,
) -> None:
    """Print what is said in a video."""
    from app import speech_status
    from app.cli import output
    from app.web import captions

    settings = settings_of()
    with opened(settings, read_only=True) as library:
        file = _video(library, video)
        cues, state = library.transcript(file.file_id), library.speech_state(file.file_id)
        if json_:
            print_json({"cues": captions.as_json(cues), "state": state})
        else:
            output.out.print(harmless(captions.FORMATS[format_](cues)), end="")
        to_end = " to its end" if cues else ""
        if state == "unread":
            output.err.print("It is not read yet: sightline index")
        elif state == "unreadable":
            reason = next((f.reason for f in library.failures() if f.path == str(file.path)), "see sightline failures")
            output.err.print(f"It could not be read: {harmless(reason)}")
        elif state == "pending":
            step = speech_status.next_step(settings.speech)
            output.err.print(f"It is not transcribed{to_end} yet: {step}")
        elif state == "failed":
            output.err.print(f"Its sound could not be read{to_end}, so it is not transcribed{to_end}.")
        elif state == "none":
            output.err.print("It has no sound.")
        elif not cues:
            output.err.print("No speech was recognised in it.")


@commands.command()
def label(
    labels: Annotated[
        str, typer.Option(metavar="FILE|imagenet|kinetics", help="Labels, one a line; or a built-in list.")
    ],
) -> None:
    """Label every image, video window and page without training; search with label:NAME."""
    from app.cli import output
    from indexer import label_by, label_counts

    with opened() as library:
        total = label_by(library.searcher(), labels)
        for name, count in list(label_counts(library.searcher()).items())[:20]:
            output.out.print(f"{count:>7}  {name}")
        output.err.print(f"{output.counted(total, 'label')} stored. Search with one: sightline search label:NAME")


@commands.command("moderate")
def moderate_(
    rules: Annotated[Path, typer.Option(metavar="FILE", help="CSV of label, threshold, action (hide or flag).")],
    report: Annotated[Path, typer.Option(metavar="FILE", help="The hits of the rules, as .csv or .json.")],
) -> None:
    """Hide or flag the chunks that match rules, and report them with their seconds and pages."""
    from app.cli import output
    from indexer import moderate, read_rules, write_report

    with opened() as library:
        matches = moderate(library.searcher(), read_rules(rules.expanduser()))
    write_report(matches, report.expanduser())
    output.err.print(f"{output.counted(len(matches), 'chunk')} hidden or flagged, listed in {report}")


@commands.command("reel")
def reel_(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the reel should show.")],
    out: Out,
    max_length: Annotated[float, typer.Option(min=1.0, help="Seconds at most.")] = 90.0,
    under: Annotated[Path | None, typer.Option(metavar="DIR", help="Only from below this folder.")] = None,
) -> None:
    """Cut the best moments of the library into one video, with edit lists (CSV, EDL) beside it."""
    from app.cli import output
    from app.web import captions
    from indexer import reel

    query = query_of(text, [], [], ["video"], under, None, None)
    with opened(read_only=True) as library:
        clips = reel(library.searcher(), query, out.expanduser(), max_length_s=max_length)
    for clip in clips:
        span = "–".join(map(captions.clock, clip.span.seconds))
        output.out.print(f"{captions.clock(clip.at_s)}  {output.printable(clip.path)} {span}")
    length = sum(end - start for start, end in (clip.span.seconds for clip in clips))
    output.err.print(f"{out}: {output.counted(len(clips), 'clip')}, {captions.clock(length)}")


@commands.command("answer")
def answer_(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked about the file.")],
    choices: Annotated[list[str], typer.Option(metavar="ANSWER...", help="Answers to choose from.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="ANSWER", hidden=True)] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The image in question.")] = None,
    video: Annotated[Path | None, typer.Option(metavar="FILE", help="The video in question.")] = None,
    pdf: Annotated[Path | None, typer.Option(metavar="FILE", help="The PDF in question.")] = None,
    json_: Json = False,
) -> None:
    """Rank the answers to a question about an image, a video or a PDF."""
    from app.cli import output
    from indexer import answer

    files = [f.expanduser() for f in (image, video, pdf) if f]
    if len(files) != 1:
        fail("Give one file: --image, --video or --pdf FILE", 2)
    if not files[0].is_file():
        fail(f"{files[0]} is not a file", 2)
    answers = [*choices, *(more or [])]
    if len(answers) < 2:
        fail("Give at least two answers to choose from: --choices yes no", 2)
    with opened(read_only=True) as library:
        ranked = answer(library.searcher(), question, answers, files[0])
    if json_:
        print_json([asdict(choice) for choice in ranked])
        return
    for choice in ranked:
        output.out.print(choice.text)


@commands.command()
def duplicates(
    exact: Annotated[bool, typer.Option("--exact", help="Only files with the same bytes.")] = False, json_: Json = False
) -> None:
    """List files that are the same, and images that look the same, the best one first. Nothing is deleted."""
    with opened(read_only=True) as library:
        groups, total = library.duplicates(exact=exact)
    if json_:
        print_json(
            [
                {
                    "exact": group.exact,
                    "files": [
                        {
                            "path": str(one.file.path),
                            "size": one.file.size,
                            "taken": one.file.taken,
                            "best": one.is_best,
                        }
                        for one in group.files
                    ],
                }
                for group in groups
            ]
        )
        return
    from app.cli import output

    for group in groups:
        for one in group.files:
            size = f"{one.file.width} x {one.file.height}" if one.file.width else ""
            facts = f"  {size}  {one.file.size:,} bytes" + ("" if one.is_best else "  (looks the same)")
            output.out.print(output.printable(str(one.file.path)) + facts)
        output.out.print()
    output.err.print(f"{output.counted(total, 'group')} of files that are the same or look the same.")


@commands.command()
def judge(
    queries: Annotated[
        Path | None,
        typer.Argument(
            metavar="QUERIES.jsonl",
            help="One query a line, with its relevant files. Default: your clicks, and captions that you wrote.",
        ),
    ] = None,
    rerank: Annotated[
        str | None, typer.Option(metavar="colpali|colqwen2|DIR", help="Score the search with this re-ranking of pages.")
    ] = None,
    json_: Json = False,
) -> None:
    """Score the search on your own library and judgements, for instance to choose a model."""
    from eval.metrics import score_ranking
    from indexer import JudgementError, evaluate, judgements_of, read_judgements
    from indexer.types import Part, Query

    try:
        judgements = [] if queries is None else read_judgements(queries.expanduser())
    except JudgementError as error:
        fail(str(error), 2)
    with opened(read_only=True) as library:
        if queries is None:
            judgements = judgements_of(library.own_words(("click", "caption")))
        if not judgements:
            fail(
                "The library has no clicks and no captions to judge by: write QUERIES.jsonl (sightline judge FILE), or "
                "have clicks stored from now on: sightline clicks --keep",
                1,
            )
        report = evaluate(
            judgements,
            lambda words, k: library.search(Query((Part(text=words),), rerank=rerank), k=k).hits,
            score_ranking,
            library.status().model,
        )
        report.learnt = queries is None and library.is_tuned
    print_json(report.as_json()) if json_ else typer.echo(report.as_text())


@commands.command()
def clicks(
    keep: Annotated[
        bool | None, typer.Option("--keep/--no-keep", help="Store new clicks, or stop storing them.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete all stored clicks.")] = False,
    json_: Json = False,
) -> None:
    """Store what you search for and then open, to train a model with; off until you agree."""
    from app.cli import output

    with opened(read_only=not delete and keep is None) as library:
        clicks = library.clicks
        if keep is not None:
            clicks.enable(keep)
        if delete:
            output.err.print(f"{output.counted(clicks.delete(), 'click')} deleted.")
        if json_:
            print_json({"keeps_clicks": clicks.enabled, "clicks": len(clicks)})
            return
        output.out.print(
            f"{len(clicks)} kept. What you open after a search in words is kept from now on, on this machine only."
            if clicks.enabled
            else f"{len(clicks)} kept. New ones are not kept; to keep them: sightline clicks --keep"
        )


@commands.command("albums")
def albums_(
    name: Annotated[str | None, typer.Argument(metavar="ALBUM", help="List the files of this album.")] = None,
    favourites: Annotated[bool, typer.Option("--favourites", help="List the favourites.")] = False,
    json_: Json = False,
) -> None:
    """List the albums that were made on the page, or the files of one."""
    from app.cli import output
    from indexer.types import FAVOURITES

    with opened(read_only=True) as library:
        if name is not None or favourites:
            items = library.album_items(FAVOURITES if favourites else name or "")
            if json_:
                print_json([{"path": path, "missing": not here} for path, here in items])
                return
            for path, here in items:
                output.out.print(f"{output.printable(path)}{'' if here else '  (not in the library)'}")
            if not items:
                fail("There is nothing in it.", 1)
            return
        albums = library.albums()
    if json_:
        print_json([asdict(album) for album in albums])
        return
    for album in albums:
        missing = f"  ({album.missing} not in the library)" if album.missing else ""
        output.out.print(f"{album.count:>7}  {album.name or 'favourites'}{missing}")
    if not albums:
        output.err.print("There are no albums yet: select results on the page and add them to one.")


@commands.command("export")
def export_(
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every chunk to it.")] = None,
    format: Annotated[Literal["parquet", "jsonl", "csv"], typer.Option(help="csv has no vectors.")] = "jsonl",
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Leave the vectors out.")] = False,
    pairs: Annotated[Path | None, typer.Option(metavar="FILE", help="Write training pairs (JSON lines).")] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="text|clicks|media",
            help="The pairs: a chunk and its words (the default), a search and what you opened, or a chunk "
            "alone; may repeat.",
        ),
    ] = None,
) -> None:
    """Write every chunk with its metadata, words and vector for another program, or training pairs."""
    from app.cli import output
    from indexer import PAIR_KINDS, export

    if unknown := set(of or ()).difference(PAIR_KINDS):
        fail(f"--of is one of {', '.join(PAIR_KINDS)}, not {unknown.pop()}", 2)
    if not (out or pairs):
        fail("Name a file: --out FILE for every chunk, --pairs FILE for pairs to train with", 2)
    with opened(read_only=True) as library:
        if pairs:
            count = library.export_pairs(pairs.expanduser(), of or ["text"])
            output.err.print(f"{output.counted(count, 'pair')} in {pairs}")
        if out:
            count = export(library.searcher(), out.expanduser(), format=format, vectors=not no_vectors)
            output.err.print(f"{count} chunks in {out}")


def _video(library: Library, video: Path) -> FileInfo:
    """The video of the library at a path; ends the command if there is none."""
    file = library.file_at(video.expanduser().absolute())
    if file is None and not video.expanduser().is_file():
        fail(f"{video} does not exist. Give a video of the library.", 1)
    if file is None:
        fail(f"{video} is not in the library: sightline index {video.parent}", 1)
    if file.kind != "video":
        fail(f"{video} is not a video", 2)
    return file
