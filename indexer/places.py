"""Names of places to positions and back, without a network.

Built around `places.tsv.gz`: the 34,000 cities of more than 15,000 people from GeoNames
(geonames.org, CC BY 4.0), the largest first; of the larger ones also their names in other
Latin-script languages. It knows nothing of photographs.
"""

from __future__ import annotations

import gzip
import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

EARTH_KM = 6371.0


@dataclass(frozen=True)
class Place:
    name: str
    country: str
    """ISO 3166 code of two letters."""
    lat: float
    lon: float
    population: int


@dataclass(frozen=True)
class _Gazetteer:
    places: tuple[Place, ...]
    by_name: dict[str, list[int]]
    degrees: np.ndarray  # float64 [n, 2]


def find(name: str) -> Place | None:
    """The largest place of that name; `Paris, US` tells which. Accents and case do not matter."""
    wanted, _, country = (part.strip() for part in name.partition(","))
    gazetteer = _gazetteer()
    for number in gazetteer.by_name.get(folded(wanted), []):
        place = gazetteer.places[number]
        if not country or place.country == country.upper():
            return place
    return None


def nearest(lat: float, lon: float, within_km: float = 30.0) -> Place | None:
    """The place that a position is at: the nearest, unless a city a little further is far larger."""
    gazetteer = _gazetteer()
    rows = np.flatnonzero(np.abs(gazetteer.degrees[:, 0] - lat) < within_km / 111 + 0.01)
    best: tuple[float, Place] | None = None
    for row in rows:
        place = gazetteer.places[row]
        km = distance_km(lat, lon, place.lat, place.lon)
        if km > within_km:
            continue
        # A suburb listed as a city of its own should not hide the city it belongs to.
        weighed = (km + 1.0) / math.sqrt(max(place.population, 15_000))
        if best is None or weighed < best[0]:
            best = weighed, place
    return None if best is None else best[1]


def distance_km(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Along the great circle (haversine)."""
    a, b = math.radians(lat), math.radians(other_lat)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, half)))


def folded(name: str) -> str:
    """Lower case, without accents; hyphens and blanks alike."""
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(plain.replace("-", " ").casefold().split())


@lru_cache(maxsize=1)
def _gazetteer() -> _Gazetteer:
    raw = resources.files("indexer").joinpath("places.tsv.gz").read_bytes()
    places: list[Place] = []
    by_name: dict[str, list[int]] = {}
    for number, line in enumerate(gzip.decompress(raw).decode().splitlines()):
        name, country, lat, lon, population, others = line.split("\t")
        places.append(Place(name, country, float(lat), float(lon), int(population)))
        for each in {folded(n) for n in (name, *others.split("|")) if n}:
            by_name.setdefault(each, []).append(number)
    return _Gazetteer(tuple(places), by_name, np.array([(p.lat, p.lon) for p in places]))
