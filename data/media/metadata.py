"""When, with what and where a picture was taken: EXIF, video container tags and PDF dates to plain values.

Built around `Metadata`, all of whose fields may be unknown. A clock without a zone is read as this machine's
local time, so that "July 2023" means what the photographer's clock said. Nonsense (years before 1900,
latitude 95, the null island that phones write without a fix) is unknown, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any


@dataclass(frozen=True)
class Metadata:
    """`taken_at` is UNIX seconds; `lat` and `lon` are degrees, north and east positive."""

    taken_at: float | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None


_MAKE, _MODEL, _DATE, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x0132, 0x8769, 0x8825
_TAKEN, _DIGITISED, _OFFSET, _OFFSET_TAKEN = 0x9003, 0x9004, 0x9010, 0x9011


def image_metadata(exif: Any) -> Metadata:
    """From a `PIL.Image.Exif`."""
    try:
        detail, gps = exif.get_ifd(_EXIF_IFD), exif.get_ifd(_GPS_IFD)
    except (ValueError, KeyError, TypeError, SyntaxError, OSError, AttributeError):
        detail, gps = {}, {}
    taken = None
    for value in (detail.get(_TAKEN), detail.get(_DIGITISED), exif.get(_DATE)):
        taken = _exif_date(value, detail.get(_OFFSET_TAKEN) or detail.get(_OFFSET))
        if taken is not None:
            break
    lat, lon = _position(_angle(gps.get(2), gps.get(1)), _angle(gps.get(4), gps.get(3)))
    return Metadata(taken, _camera(exif.get(_MAKE), exif.get(_MODEL)), lat, lon)


def video_metadata(*tags: Mapping[str, str]) -> Metadata:
    """From the tags of a container and its stream (QuickTime, MP4, Matroska, 3GP)."""
    merged: dict[str, str] = {}
    for one in reversed(tags):
        merged.update({key.lower(): value for key, value in one.items()})
    taken = None
    for key in ("com.apple.quicktime.creationdate", "date_recorded", "creation_time", "date", "datetimeoriginal"):
        taken = _iso_date(merged.get(key))
        if taken is not None:
            break
    place = merged.get("com.apple.quicktime.location.iso6709") or merged.get("location") or ""
    found = re.match(r"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)", place)
    lat, lon = _position(*map(float, found.groups())) if found else (None, None)
    make = merged.get("com.apple.quicktime.make") or merged.get("com.android.manufacturer") or merged.get("make")
    model = merged.get("com.apple.quicktime.model") or merged.get("com.android.model") or merged.get("model")
    return Metadata(taken, _camera(make, model), lat, lon)


def pdf_date(value: str | None) -> float | None:
    """A PDF's `D:20230714093000+02'00'` as UNIX seconds."""
    found = re.match(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(Z|[+-]\d\d'?\d?\d?)?", value or "")
    if not found:
        return None
    year, *rest = (int(part) if part else None for part in found.groups()[:6])
    zone = (found.group(7) or "").replace("'", "")
    fields = [part if part is not None else default for part, default in zip(rest, (1, 1, 0, 0, 0), strict=True)]
    try:
        month, day, hour, minute, second = fields
        return _seconds(datetime(year or 0, month, day, hour, minute, second), zone)
    except ValueError:
        return None


def _exif_date(value: Any, offset: Any) -> float | None:
    if not isinstance(value, str):
        return None
    found = re.match(r"(\d{4})[:\-/.](\d\d)[:\-/.](\d\d)[ T](\d\d):(\d\d):(\d\d)", value.strip("\x00 "))
    if not found:
        return None
    try:
        return _seconds(datetime(*map(int, found.groups())), offset if isinstance(offset, str) else "")  # type: ignore[arg-type]
    except ValueError:
        return None


def _iso_date(value: str | None) -> float | None:
    found = re.match(
        r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.\d+)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?", value or ""
    )
    if not found:
        return None
    fields = [int(part) if part else 0 for part in found.groups()[:6]]
    try:
        return _seconds(datetime(*fields), found.group(7) or "")  # type: ignore[arg-type]
    except ValueError:
        return None


def _seconds(moment: datetime, zone: str) -> float | None:
    """UNIX seconds; None outside 1900–2100 and for the zero of the MP4 clock (1 January 1904)."""
    if not 1900 <= moment.year <= 2100 or (moment.year, moment.month, moment.day) == (1904, 1, 1):
        return None
    if zone in ("Z", "UTC"):
        return moment.replace(tzinfo=UTC).timestamp()
    found = re.match(r"([+-])(\d\d):?(\d\d)?", zone)
    if found:
        ahead = timedelta(hours=int(found.group(2)), minutes=int(found.group(3) or 0))
        if ahead < timedelta(hours=24):
            return moment.replace(tzinfo=timezone(ahead if found.group(1) == "+" else -ahead)).timestamp()
    try:
        return moment.timestamp()
    except (OverflowError, OSError):  # Windows before 1970
        return moment.replace(tzinfo=UTC).timestamp()


def _camera(make: Any, model: Any) -> str | None:
    """ "Apple" + "iPhone 13" -> "Apple iPhone 13"; "Canon" + "Canon EOS R5" -> "Canon EOS R5"."""
    make, model = (" ".join(str(v).replace("\x00", " ").split()) if v else "" for v in (make, model))
    if not model:
        return make[:100] or None
    first = make.split(" ")[0].lower()
    return (model if not make or model.lower().startswith(first) else f"{make} {model}")[:100]


def _angle(parts: Any, side: Any) -> float | None:
    """Degrees from EXIF's degrees, minutes and seconds and its N, S, E or W."""
    try:
        values = [float(part) for part in parts]
        degrees = sum(value / 60**i for i, value in enumerate(values[:3]))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    side = side.decode("ascii", "ignore") if isinstance(side, bytes) else str(side or "")
    return -degrees if side.strip("\x00 ").upper() in ("S", "W") else degrees


def _position(lat: float | None, lon: float | None) -> tuple[float | None, float | None]:
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return None, None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180) or (lat == 0 and lon == 0):
        return None, None
    return round(lat, 6), round(lon, 6)
