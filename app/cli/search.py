"""The command `search`. Built around a `Query` and an `Answer`: a running server answers it, or the opened library.

It stands alone, so that beside a server nothing else is loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import OF_A_LIBRARY, Commands, Json, data_dir, opened, print_json, query_of, typed

commands = Commands()


@commands.command()
def search(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help='Words; "quoted" words are required, -word excludes.')
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="An image to search with.")] = None,
    video: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A clip to search with.")] = None,
    pdf: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A PDF to search with.")] = None,
    avoid: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Words that hits should not show.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="image|video|pdf",
            autocompletion=lambda: ["image", "video", "pdf"],
            help="Only this kind; may repeat.",
        ),
    ] = None,
    under: Annotated[Path | None, typer.Option(metavar="DIR", help="Only below this folder.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="DATE", help="Taken on or after: 2023, 2023-07 or 2023-07-14.")
    ] = None,
    before: Annotated[str | None, typer.Option(metavar="DATE", help="Taken before.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only chunks with this label; may repeat.")
    ] = None,
    fold: Annotated[
        Literal["max", "centroid"] | None,
        typer.Option(help="One hit per file, scored by its best chunk or by the centroid of all its chunks."),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="colpali|colqwen2|DIR",
            help="Put the first 50 pages in the order of this model (extra `vlm`; slow without an accelerator).",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=10_000, help="How many hits.")] = 10,
    json_: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the hits as CSV on stdout.")] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing; exit with 1 if no hit stands out, as grep does.")
    ] = False,
) -> None:
    """Search the library with words, an image, a clip, a PDF, or any mixture."""
    from app.cli import ask_server, output

    files = [*(image or []), *(video or []), *(pdf or [])]
    query = query_of(text, files, avoid or [], kind or [], under, after, before, label or [], fold, rerank)
    answer = None if any(map(typed, OF_A_LIBRARY)) else ask_server.search(data_dir(), query, k)
    if answer is not None:
        is_empty = not answer.hits and ask_server.chunk_count(data_dir()) == 0
    else:
        with opened(read_only=True) as library:
            answer = library.search(query, k=k)
            is_empty = not answer.hits and not library.status().chunks
    if quiet:
        raise typer.Exit(0 if any(hit.relevant for hit in answer.hits) else 1)
    if json_:
        print_json(answer.to_json())
    elif csv:
        from indexer import answer_csv

        sys.stdout.write(answer_csv(answer))
    else:
        output.show_answer(answer, empty=is_empty)
