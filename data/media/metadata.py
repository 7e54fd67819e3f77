"""Date, camera, position and people that a file's own metadata state.

Built around `Metadata`, whose fields are None if unknown, read from EXIF, XMP, IPTC, PNG text, the tags of a video
container and the dates of a PDF; `dates.SOURCES` orders the dates by trust. An impossible value (latitude 95, the
0°, 0° that phones write without a fix) is unknown, never an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from data.media.caption_noise import is_junk
from data.media.dates import Source, Taken, most_trusted, of_digits, taken
from data.media.iptc import records
from data.media.text import one_line
from data.media.xmp import packet_of, read_xmp

if TYPE_CHECKING:
    from PIL import Image

GENERATION = 5
"""Raised when more metadata are read: metadata read under a lower number are read again."""


@dataclass(frozen=True)
class Metadata:
    """`lat` and `lon` are in degrees, north and east positive; None if unknown. `people`: their names, each once."""

    taken: Taken | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None
    people: tuple[str, ...] = ()


NOTHING = Metadata()
_MAKE, _MODEL, _DATE, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x0132, 0x8769, 0x8825
# A date, its zone and its fraction of a second.
_ORIGINAL, _DIGITIZED, _MODIFIED = (0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292), (_DATE, 0x9010, 0x9290)
_EXIF_DATES: tuple[tuple[tuple[int, int, int], Source], ...] = (
    (_ORIGINAL, "exif"),
    (_DIGITIZED, "digitized"),
    (_MODIFIED, "modified"),
)
_GPS_DATE, _GPS_TIME = 0x1D, 0x07


def image_metadata(image: Image.Image) -> Metadata:
    """Returns the metadata of an open image."""
    exif: Any = image.getexif()
    try:
        exif_ifd, gps = exif.get_ifd(_EXIF_IFD), exif.get_ifd(_GPS_IFD)
    except (ValueError, KeyError, TypeError, SyntaxError, OSError, AttributeError):
        exif_ifd, gps = {}, {}
    xmp = packet_metadata(packet_of(image), "xmp")
    satellite = _gps_moment(gps)
    dates: list[Taken | None] = []
    for (date, zone, fraction), source in _EXIF_DATES:
        value = exif_ifd.get(date, exif.get(date))
        dates.append(taken(value, source, exif_ifd.get(zone), exif_ifd.get(fraction)))
    dates = [date.with_satellite_zone(satellite) if date else None for date in dates]
    if satellite is not None:
        dates.append(taken(satellite.isoformat(timespec="seconds"), "gps"))
    elif isinstance(gps.get(_GPS_DATE), str):
        dates.append(taken(gps[_GPS_DATE], "gps"))
    dates += [xmp.taken, *_iptc_dates(image), *_png_dates(image)]
    lat, lon = position(_angle(gps.get(2), gps.get(1)), _angle(gps.get(4), gps.get(3)))
    if lat is None:
        lat, lon = xmp.lat, xmp.lon
    camera = _camera(exif.get(_MAKE), exif.get(_MODEL)) or xmp.camera
    return Metadata(most_trusted(dates), camera, lat, lon, xmp.people)


def _gps_moment(gps: Mapping[int, Any]) -> datetime | None:
    """The UTC time of EXIF's GPSDateStamp and GPSTimeStamp."""
    try:
        year, month, day = (int(part) for part in str(gps[_GPS_DATE]).strip("\x00 ").replace("-", ":").split(":"))
        hour, minute, second = (float(part) for part in gps[_GPS_TIME])
        return datetime(year, month, day, int(hour), int(minute), min(int(second), 59), tzinfo=UTC)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


_EXIF_NS, _TIFF_NS = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_XMP_DATES: dict[str, Source | None] = {  # None: the source of the packet
    f"{_EXIF_NS} DateTimeOriginal": None,
    "http://ns.adobe.com/photoshop/1.0/ DateCreated": None,
    "http://cipa.jp/exif/1.0/ DateTimeOriginal": None,
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/ DateCreated": None,
    "http://purl.org/dc/elements/1.1/ date": "digitized",
    f"{_EXIF_NS} DateTimeDigitized": "digitized",
    "http://ns.adobe.com/xap/1.0/ CreateDate": "digitized",
    f"{_EXIF_NS} GPSTimeStamp": "gps",
}

XMP_PEOPLE = (
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ PersonInImage",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ PersonName",
    "http://www.metadataworkinggroup.com/schemas/regions/ Name",
    "http://ns.microsoft.com/photo/1.2/t/Region# PersonDisplayName",
)
"""XMP properties that name a person each."""
_XMP_FACTS = frozenset(
    (
        *_XMP_DATES,
        *XMP_PEOPLE,
        *(f"{_EXIF_NS} GPS{axis}" for axis in ("Latitude", "Longitude")),
        *(f"{_TIFF_NS} {name}" for name in ("Make", "Model")),
    )
)


def packet_metadata(packet: bytes, source: Source) -> Metadata:
    """Returns the metadata of an XMP packet; `source`: "xmp" for a packet inside a file, "sidecar" for a file."""
    if not packet:
        return NOTHING
    texts_by_name = read_xmp(packet, _XMP_FACTS)
    values = {name: texts[0] for name, texts in texts_by_name.items() if texts}
    dates = [taken(values.get(name), date_source or source) for name, date_source in _XMP_DATES.items()]
    lat, lon = position(*(_xmp_angle(values.get(f"{_EXIF_NS} GPS{axis}")) for axis in ("Latitude", "Longitude")))
    camera = _camera(values.get(f"{_TIFF_NS} Make"), values.get(f"{_TIFF_NS} Model"))
    people = people_named(name for key in XMP_PEOPLE for name in texts_by_name.get(key, ()))
    return Metadata(most_trusted(dates), camera, lat, lon, people)


MAX_PEOPLE, MAX_NAME = 100, 100
"""Names per file, and letters per name."""


def people_named(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names of people, each once and on one line, without what programs write for nobody."""
    by_key: dict[str, str] = {}
    for name in (one_line(name, MAX_NAME) for name in names):
        if name and not is_junk(name, tag=True):
            by_key.setdefault(name.casefold(), name)
    return tuple(by_key.values())[:MAX_PEOPLE]


def _iptc_dates(image: Image.Image) -> Iterator[Taken | None]:
    values_by_key = {key: values[0].decode("ascii", "ignore") for key, values in records(image).items() if values}
    yield of_digits(values_by_key.get((2, 55), ""), values_by_key.get((2, 60), ""), "iptc")
    yield of_digits(values_by_key.get((2, 62), ""), values_by_key.get((2, 63), ""), "digitized")


_PNG_DATES: dict[str, Source] = {
    "exif:DateTimeOriginal": "png", "Creation Time": "png", "creation time": "png", "CreationTime": "png",
    "Creation Date": "png", "Date": "png", "create-date": "png", "exif:DateTimeDigitized": "digitized",
    "exif:DateTime": "modified", "date:create": "modified",
}  # fmt: skip


def _png_dates(image: Image.Image) -> Iterator[Taken | None]:
    if image.format == "PNG":
        for key, source in _PNG_DATES.items():
            yield taken(image.info.get(key), source)


_VIDEO_DATES: dict[str, Source] = {
    "com.apple.quicktime.creationdate": "film",
    "date_recorded": "film",
    "datetimeoriginal": "film",
    "date": "film",
    "date_digitized": "digitized",
    "creation_time": "clock",
}


def video_metadata(*tags: Mapping[str, str], recorded: Taken | None = None, packet: bytes = b"") -> Metadata:
    """Returns the metadata in the tags of a container and its stream (QuickTime, MP4, Matroska, 3GP, AVI).
    `recorded`: a date that is not among the tags (`data.media.video`); `packet`: XMP inside the file."""
    merged: dict[str, str] = {}
    for tag_set in reversed(tags):
        merged.update({key.lower(): value for key, value in tag_set.items()})
    xmp = packet_metadata(packet, "xmp")
    dates = [xmp.taken]
    for key, source in _VIDEO_DATES.items():
        date = taken(merged.get(key), source)
        if date is not None and source == "film" and len(date.at) < 10:
            date = Taken(date.at, "modified")  # the release year of a film or an album
        dates.append(date)
    dates.append(recorded)
    location = merged.get("com.apple.quicktime.location.iso6709") or merged.get("location") or ""
    match = re.match(r"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)", location)
    lat, lon = position(*map(float, match.groups())) if match else (None, None)
    if xmp.lat is not None:
        lat, lon = xmp.lat, xmp.lon
    make = merged.get("com.apple.quicktime.make") or merged.get("com.android.manufacturer") or merged.get("make")
    model = merged.get("com.apple.quicktime.model") or merged.get("com.android.model") or merged.get("model")
    return Metadata(most_trusted(dates), xmp.camera or _camera(make, model), lat, lon, xmp.people)


def pdf_date(value: str | None) -> Taken | None:
    """Returns the date of a PDF's `D:20230714093000+02'00'`."""
    match = re.match(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?\s*(Z|[+-]\d\d'?\d?\d?)?", value or "")
    if not match:
        return None
    year, month, day, hour, minute, second, zone = match.groups()
    text = "-".join(part for part in (year, month, day) if part)
    if day and hour and minute:
        zone = (zone or "").replace("'", "")
        text += f"T{hour}:{minute}:{second or '00'}{zone.ljust(5, '0') if zone not in ('', 'Z') else zone}"
    return taken(text, "pdf")


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
    return float(-degrees if side.strip("\x00 ").upper() in ("S", "W") else degrees)


def _xmp_angle(text: str | None) -> float | None:
    """Degrees from XMP's "48,51.5N", "48,51,30N" or a plain number."""
    match = re.fullmatch(r"\s*([\d.,]+)\s*([NSEW])\s*", text or "", re.IGNORECASE)
    try:
        return _angle(match[1].split(","), match[2]) if match else float(text or "")
    except ValueError:
        return None


def position(lat: float | None, lon: float | None) -> tuple[float | None, float | None]:
    """Returns a position in degrees; (None, None) for an impossible or incomplete position."""
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return None, None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180) or (lat == 0 and lon == 0):
        return None, None
    return round(lat, 6), round(lon, 6)
