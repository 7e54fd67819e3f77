"""Parses the text of a query: words, "quoted phrases", -exclusions and filters.

Built around `parse`, which parses the text of every interface:

    dog "in the snow" -cat taken:2023-07 near:Lisbon camera:pixel person:Anna type:pdf in:Invoices

It makes `Filters`, which `filters.py` turns into SQL; it knows nothing of the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

from indexer.errors import QueryError
from indexer.types import FAVOURITES, KINDS, Filters, Kind, Part, Query

NEAR_KM = 25.0
"""The radius of `near:Lisbon`, a city and its surroundings; `near:Lisbon/100` gives another one in kilometres."""
MOST_KM, MOST_SECONDS, MOST_BYTES = 40_000.0, 1e9, 10**18
"""The largest distance (round the earth), length of time and size that can be typed."""


@dataclass(frozen=True)
class ParsedQuery:
    """`meaning`: the text for the model. `words`: searched for. `phrases`: required. `excluded`: not allowed."""

    meaning: str = ""
    words: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    filters: Filters = Filters()
    parts: tuple[Part, ...] = ()
    """The parts of the query, with the text of each for the model."""

    @property
    def text_alone(self) -> bool:
        """Whether the query has text and neither a file nor a chunk of the library."""
        return bool(self.meaning) and all(p.file is None and p.chunk_id is None for p in self.parts)


def parse_query(query: Query) -> ParsedQuery:
    """Returns the words, filters and parts of a query. Raises QueryError."""
    parts = tuple(replace(p, text=parse(p.text).meaning) if p.text else p for p in query.parts)
    return replace(parse(query.text, query.filters), parts=parts)


def is_browsing(query: Query) -> bool:
    """Whether a query is of filters alone, whose answer is everything that passes, newest first. Raises QueryError."""
    parsed = parse_query(query)
    return not (parsed.meaning or any(part.file or part.chunk_id is not None for part in query.parts))


def parse(text: str, filters: Filters = Filters()) -> ParsedQuery:
    """Parse a query text; its filters are added to `filters`. Lone surrogates, which no database accepts, become
    question marks. Raises QueryError."""
    text = text.encode("utf-8", "replace").decode()
    meaning: list[str] = []
    words: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    for match in _TOKEN.finditer(text.replace("“", '"').replace("”", '"')):
        minus, name, quoted, bare = match.group("minus", "name", "quoted", "bare")
        value = (quoted if quoted is not None else bare or "").strip()
        if name and not minus and name.lower() in _FILTERS and value:
            filters = _FILTERS[name.lower()](filters, value)
            continue
        if name:
            value = f"{name}:{value}"
        if not value:
            continue
        if minus:
            excluded.append(value)
        elif quoted is not None and not name:
            phrases.append(value)
            meaning.append(value)
        else:
            words.append(value)
            meaning.append(value)
    return ParsedQuery(" ".join(meaning), tuple(words), tuple(phrases), tuple(excluded), filters)


def period(value: str) -> tuple[str, str]:
    """Returns [start, end) of `2023`, `2023-07`, `2023-07-14` or `2023-05..2023-08` in local time, as ISO 8601 text
    that compares with stored dates; "" for an open end."""
    first, dots, last = value.partition("..")
    if dots:
        return (period(first)[0] if first else "", period(last)[1] if last else "")
    match = re.fullmatch(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?", value.strip(), re.ASCII)
    try:
        if not match:
            raise ValueError
        year, month, day = (int(part) if part else None for part in match.groups())
        assert year is not None
        start = date(year, month or 1, day or 1)
        if day is not None:
            return start.isoformat(), date.fromordinal(start.toordinal() + 1).isoformat()
        if month is not None:
            return start.isoformat()[:7], f"{year + month // 12:04}-{month % 12 + 1:02}"
        return f"{year:04}", f"{year + 1:04}"
    except (ValueError, OverflowError) as error:
        raise QueryError(f"“{value[:40]}” is no date: write 2023, 2023-07, 2023-07-14 or 2023-05..2023-08.") from error


def beginning(value: str) -> str:
    """Returns the start of `2023`, `2023-07` or `2023-07-14` as ISO 8601 text, for `after` and `before`."""
    if ".." in value:
        raise QueryError(f"“{value}” is a span, and one date is wanted: write 2023, 2023-07 or 2023-07-14.")
    return period(value)[0]


def seconds(value: str) -> float:
    """Returns `90`, `90s`, `5m`, `1h30m` or `1:30` in seconds."""
    clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d\d)", value)
    if clock:
        hours, minutes, rest = (float(part or 0) for part in clock.groups())
        return _bounded(hours * 3600 + minutes * 60 + rest, MOST_SECONDS, "seconds", value)
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s?)?", value)
    if not match or not any(match.groups()):
        raise QueryError(f"“{value[:40]}” is no length of time: write 90, 90s, 5m, 1h30m or 1:30.")
    hours_, minutes_, rest_ = (float(part or 0) for part in match.groups())
    return _bounded(hours_ * 3600 + minutes_ * 60 + rest_, MOST_SECONDS, "seconds", value)


def size(value: str) -> int:
    """Returns `500kB`, `10MB`, `2GB` or a plain number in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", value.lower())
    if not match:
        raise QueryError(f"“{value[:40]}” is no size: write 500kB, 10MB or 2GB.")
    return int(
        _bounded(float(match.group(1)) * 1000 ** " kmgt".index(match.group(2) or " "), MOST_BYTES, "bytes", value)
    )


def _bounded(number: float, most: float, unit: str, value: str) -> float:
    """The number, if it is from 0 to `most`. Raises QueryError."""
    if not 0 <= number <= most:
        raise QueryError(f"“{value[:40]}” is out of bounds: the most is {most:,.0f} {unit}.")
    return number


# A token is -name:"a value"; all but the value are optional.
_TOKEN = re.compile(
    r"""(?P<minus>(?<!\S)-)?(?:(?P<name>[A-Za-z]+):(?=\S))?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s"]+)|(?<=:)(?=\s|$))"""
)

_TYPES: dict[str, Kind] = {
    **{kind: kind for kind in KINDS},
    "images": "image",
    "photo": "image",
    "photos": "image",
    "picture": "image",
    "pictures": "image",
    "videos": "video",
    "film": "video",
    "movie": "video",
    "pdfs": "pdf",
    "document": "pdf",
    "documents": "pdf",
}


def _type(filters: Filters, value: str) -> Filters:
    kind = _TYPES.get(value.lower())
    if kind is not None:
        return replace(filters, kinds=tuple(dict.fromkeys((*filters.kinds, kind))))
    if re.fullmatch(r"\.?[A-Za-z0-9]{2,5}", value):
        return replace(filters, extensions=(*filters.extensions, value.lower().lstrip(".")))
    raise QueryError(
        f"“type:{value[:40]}” is no type: write type:image, type:video, type:pdf or an extension (type:png)."
    )


def _taken(filters: Filters, value: str) -> Filters:
    start, end = period(value)
    return _between(filters, start, end)


def _between(filters: Filters, start: str, end: str) -> Filters:
    after = max(start, filters.after or "")
    before = min(end or "~", filters.before or "~")  # beyond all digits
    return replace(filters, after=after or None, before=None if before == "~" else before)


def _near(filters: Filters, value: str) -> Filters:
    where, _, far = value.partition("/")
    try:
        km = float(re.sub(r"\s*km$", "", far)) if far else NEAR_KM
    except ValueError as error:
        raise QueryError(f"“{far[:40]}” is no distance: write near:{where}/50 for 50 km.") from error
    position = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*", where)
    km = _bounded(km, MOST_KM, "km", value)
    if position:
        lat, lon = float(position[1]), float(position[2])
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):
            raise QueryError(f"“{where[:40]}” is no position: write degrees north, then east, near:38.72,-9.14.")
        return replace(filters, near=(*filters.near, (lat, lon, km)))
    from data.gazetteer import locate

    city = locate(where)
    if city is None:
        raise QueryError(
            f"There is no town called “{where}” among those with more than 15,000 people: name a larger one nearby, or"
            " write its position, near:38.72,-9.14."
        )
    return replace(filters, near=(*filters.near, (*city, km)))


def _is(filters: Filters, value: str) -> Filters:
    if value.lower() not in ("favourite", "favorite"):
        raise QueryError(f"“is:{value}” is unknown: write is:favourite.")
    return replace(filters, albums=(*filters.albums, FAVOURITES))


_FILTERS: dict[str, Callable[[Filters, str], Filters]] = {
    "type": _type,
    "kind": _type,
    "taken": _taken,
    "date": _taken,
    "after": lambda f, v: _between(f, beginning(v), ""),
    "before": lambda f, v: _between(f, "", beginning(v)),
    "near": _near,
    "camera": lambda f, v: replace(f, cameras=(*f.cameras, v)),
    "person": lambda f, v: replace(f, people=(*f.people, v)),
    "in": lambda f, v: replace(f, folders=(*f.folders, v)),
    "name": lambda f, v: replace(f, names=(*f.names, v)),
    "album": lambda f, v: replace(f, albums=(*f.albums, v)),
    "is": _is,
    "label": lambda f, v: replace(f, labels=(*f.labels, v)),
    "longer": lambda f, v: replace(f, min_s=seconds(v)),
    "shorter": lambda f, v: replace(f, max_s=seconds(v)),
    "larger": lambda f, v: replace(f, min_bytes=size(v)),
    "smaller": lambda f, v: replace(f, max_bytes=size(v)),
}
