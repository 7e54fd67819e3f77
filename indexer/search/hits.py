"""A page of the ranking as hits: the file to show, its snippet, and the second of a spoken match.

Built around one query of each for the whole page. It knows nothing of how the ranking is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.span import part_at
from indexer.catalogue.dialects import Reading
from indexer.catalogue.text.expression import Expression
from indexer.search import spoken_at
from indexer.search.filters import Restriction
from indexer.search.hit_facts import Fact, Facts, FileRef
from indexer.search.near_equal import first_of_each
from indexer.search.ranking import Ranked
from indexer.search.snippets import beside_snippets, snippets
from indexer.types import FAVOURITES, Hit, title_of


def hits_of(
    connection: Reading,
    facts: Facts,
    page: Sequence[Ranked],
    restriction: Restriction,
    marks: Expression,
    offset: int,
    *,
    newest: bool = False,
    named: Sequence[int] = (),
    above: Sequence[Ranked] = (),
) -> tuple[Hit, ...]:
    """Returns the hits of a page. `offset`: the rank before its first hit. `marks`: the words to mark in snippets.
    `named`: files with words of the query in their names or beside them, the best first. `newest`: of several copies
    the newest one is shown, not the one that was indexed first. `above`: what the ranking has before the page; a hit
    may be near-equal to it."""
    words = (*restriction.query.words, *restriction.query.phrases)
    with_words = {r.fact.chunk_id for r in page if r.has_query_words}
    passing = facts.matching_files((r.fact for r in page), restriction.file)
    files = {r.fact.content: copy_to_show(r.fact, passing.get(r.fact.content, ()), named, newest) for r in page}
    shown = {r.fact.chunk_id: files[r.fact.content].file_id for r in page}
    texts = snippets(connection, [r.fact.chunk_id for r in page], marks, words, with_words)
    texts |= beside_snippets(connection, {n: f for n, f in shown.items() if n not in with_words}, marks, texts)
    seconds = spoken_at.seconds(connection, page, words)
    favourites = _favourites(connection, [r.fact.content for r in page])
    images = [r.fact for r in (*above, *page) if r.fact.kind == "image" and not r.fact.pages]
    alike = first_of_each((fact.chunk_id, fact) for fact in images)
    return tuple(
        _hit(
            rank,
            r,
            files[r.fact.content],
            texts.get(r.fact.chunk_id, ""),
            seconds.get(r.fact.chunk_id),
            r.fact.content in favourites,
            alike.get(r.fact.chunk_id),
        )
        for rank, r in enumerate(page, offset + 1)
    )


def copy_to_show(fact: Fact, passing: Sequence[FileRef], named: Sequence[int], newest: bool) -> FileRef:
    """Returns the copy to show, of those that pass the filters (`passing`; empty without filters): the first of
    `named`; else the newest or the first one."""
    copies = passing or fact.files
    if len(copies) == 1:
        return copies[0]
    by_number = {file.file_id: file for file in copies}
    best = next((by_number[number] for number in named if number in by_number), None)
    return best or (fact.newest if newest and not passing else copies[0])


def _favourites(connection: Reading, contents: Sequence[bytes]) -> set[bytes]:
    """Returns those of the contents that are favourites."""
    marks = ", ".join("?" * len(contents))
    sql = f"SELECT content_hash FROM album_item WHERE key = ? AND content_hash IN ({marks})"
    return {bytes(row[0]) for row in connection.execute(sql, (FAVOURITES, *contents))}


def _hit(
    rank: int, place: Ranked, file: FileRef, snippet: str, at_s: float | None, favourite: bool, alike: int | None
) -> Hit:
    fact, title = place.fact, title_of(file.name, place.fact.parts, place.span.page)
    inside = part_at(fact.parts, place.span.page)
    return Hit(
        rank=rank,
        score=round(place.score, 3),
        relevant=place.relevant,
        kind=fact.kind,
        path=file.path,
        also_at=tuple(f.path for f in fact.files if f.file_id != file.file_id),
        file_id=file.file_id,
        chunk_id=fact.chunk_id,
        span=place.span,
        pages=fact.pages,
        duration_s=fact.duration_s,
        width=fact.width,
        height=fact.height,
        taken=file.taken,
        taken_from=file.taken_from,
        title=title,
        snippet=snippet,
        at_s=at_s,
        note=fact.note,
        live=bool(fact.live),
        folded=place.folded,
        inside_page=inside[1] if inside else None,
        favourite=favourite,
        alike=alike,
    )
