"""The local date and time at which an image or a video was taken: `Taken`, and parsers that return it.

Built around ISO 8601 text of any known precision: "2023-01-01T00:30:00.25+09:00", "2020-05-17", "1968". Such
texts sort and compare by the local day, in any zone and on any computer. `SOURCES` is the order of trust. An
implausible date (a clock that was never set, hour 24, the future) counts as none. Knows no file formats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal, get_args

Source = Literal[
    "exif", "gps", "xmp", "iptc", "png", "film", "camcorder", "pdf", "sidecar", "export", "digitized", "clock",
    "modified", "name", "file",
]  # fmt: skip
SOURCES: tuple[Source, ...] = get_args(Source)
"""The most trusted first; docs/media.md explains each."""
_IN_UTC = ("gps", "export", "clock", "name")
"""Sources that write UTC in any zone: their "+00:00" is not the local zone, which the place or the name gives."""
EARLIEST_YEAR = 1826  # the first photograph
_DAY_S = 86_400.0
_ZONED, _UNZONED = re.compile(r"T.*[+-]\d\d:\d\d$"), re.compile(r"T[\d:.]+$")


@dataclass(frozen=True)
class Taken:
    """`at`: the local date and time as ISO 8601 text, without unknown parts."""

    at: str
    source: Source

    def at_place(self, lat: float | None, lon: float | None) -> Taken:
        """Returns the same moment in the local time of a place, for a source that states only UTC."""
        if lat is None or lon is None or not self._has_no_local_zone:
            return self
        from data.gazetteer import zone_at

        return self._in_zone(zone_at(lat, lon))

    def with_zone_of_name(self, name: Taken | None) -> Taken:
        """Returns the same moment in the zone of the local time in the file's name, for a source that states only
        UTC."""
        if name is None or not self._has_no_local_zone or not _UNZONED.search(name.at):
            return self
        zone_min = 30 * round((_moment(name.at) - _moment(self.at)).total_seconds() / 1800)
        if not -12 * 60 <= zone_min <= 14 * 60:
            return self
        return self._in_zone(timezone(timedelta(minutes=zone_min)))

    def with_satellite_zone(self, utc: datetime | None) -> Taken:
        """Returns the same date with the zone computed from the GPS time in UTC, if the difference is a zone."""
        if utc is None or not _UNZONED.search(self.at):
            return self
        ahead_min = (_moment(self.at) - utc).total_seconds() / 60
        zone_min = 15 * round(ahead_min / 15)
        if abs(ahead_min - zone_min) > 2 or not -12 * 60 <= zone_min <= 14 * 60:
            return self
        return replace(self, at=self.at + zone_text(zone_min))

    @property
    def _has_no_local_zone(self) -> bool:
        return self.source in _IN_UTC and self.at.endswith("+00:00")

    def _in_zone(self, zone: tzinfo) -> Taken:
        local = _moment(self.at).astimezone(zone)
        return replace(self, at=local.isoformat(timespec="milliseconds" if local.microsecond else "seconds"))


def unix(at: str | None) -> float | None:
    """Returns the UNIX seconds of a local time, UTC without a zone; None for None."""
    return _moment(at).timestamp() if at else None


def most_trusted(dates: Iterable[Taken | None]) -> Taken | None:
    """Returns the date of the most trusted source, the first of equals; None if there is none."""
    return min((d for d in dates if d is not None), key=lambda d: SOURCES.index(d.source), default=None)


def taken(text: object, source: Source, zone: object = None, fraction: object = None) -> Taken | None:
    """Returns a date as EXIF, XMP, PNG, QuickTime and others write it; None for an implausible one.

    `zone` and `fraction` are the values of EXIF's tags for them ("+09:00", "25"). A month or day of 00 is unknown.
    """
    if not isinstance(text, str):
        return None
    match = _DATE.match(text.strip("\x00 \t\r\n"))
    if not match:
        return _of_mail(text, source)
    year, month, day, hour, minute, second, fraction_text, own_zone = match.groups()
    date = year
    for component in (month, day):
        if component is None or int(component) == 0:
            break
        date += f"-{int(component):02}"
    else:
        if hour is not None:
            fraction = fraction.strip("\x00 ") if isinstance(fraction, str) else ""
            fraction_text = fraction_text or (f".{fraction[:6]}" if fraction.isdigit() and int(fraction) else "")
            date += f"T{int(hour):02}:{minute}:{second or '00'}{fraction_text.rstrip('.0')}"
            date += _zone(own_zone or (zone if isinstance(zone, str) else ""))
    return plausible_or_none(Taken(date, source))


_DATE = re.compile(
    r"(\d{4})(?:[:\-/.](\d\d?)(?:[:\-/.](\d\d?)(?:[T :]\s*(\d\d?):(\d\d)(?::(\d\d)(\.\d{1,6})?\d*)?)?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?(?![\d])",
    re.ASCII,
)


def of_digits(date: str, time: str, source: Source) -> Taken | None:
    """Returns a date as IPTC writes it: "19990704" and "120000+0200", an unknown time empty; None for others."""
    day = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", date.strip("\x00 "), re.ASCII)
    if not day:
        return None
    clock = re.match(r"(\d\d):?(\d\d):?(\d\d)\s*([+-]\d\d:?\d\d)?", time, re.ASCII)
    text = "-".join(day.groups())
    if clock:
        text += f"T{clock[1]}:{clock[2]}:{clock[3]}{clock[4] or ''}"
    return taken(text, source)


def of_seconds(seconds: float, source: Source) -> Taken | None:
    """Returns the date of UNIX seconds, in UTC; None for an implausible one."""
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None
    return plausible_or_none(Taken(at.isoformat(timespec="seconds"), source))


def of_file(mtime_ns: int) -> Taken | None:
    """Returns a modification time in this computer's current zone, which the text keeps; None for an implausible
    one."""
    try:
        at = datetime.fromtimestamp(mtime_ns / 1e9).astimezone()
    except (OverflowError, ValueError, OSError):
        return None
    return plausible_or_none(Taken(at.isoformat(timespec="seconds"), "file"))


def plausible_or_none(date: Taken) -> Taken | None:
    """Returns the date, or None for one that cannot be."""
    try:
        moment = _moment(date.at)
    except (ValueError, OverflowError):
        return None
    now = datetime.now(UTC)
    if moment.year < EARLIEST_YEAR or moment - now > timedelta(days=0 if _ZONED.search(date.at) else 1, minutes=10):
        return None
    if len(date.at) >= 10:
        wall = _moment(date.at[:19]).timestamp()
        for zero in _ZEROS:
            # The first day of a clock that was never set, or its zero in another zone.
            if 0 <= wall - zero < _DAY_S or (abs(wall - zero) <= 14 * 3600 and wall % 900 == 0):
                return None
        if date.at[:19] == "1980-01-01T00:00:00":  # the zero of FAT and ZIP
            return None
    return date


_ZEROS = tuple(datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1904, 1970))


def zone_text(minutes: int) -> str:
    """Returns "+09:00" for 540 minutes east of Greenwich."""
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _zone(text: str) -> str:
    text = text.strip("\x00 ")
    if text in ("Z", "UTC", "GMT"):
        return "+00:00"
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", text, re.ASCII)
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        return ""
    return f"{match[1]}{match[2]}:{match[3]}"


def _moment(at: str) -> datetime:
    """Returns the moment of an ISO text of any precision. Raises `ValueError`."""
    full_date = at if len(at) >= 10 else f"{at}-01-01"[:10]
    moment = datetime.fromisoformat(full_date)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of_mail(text: str, source: Source) -> Taken | None:
    """Parses the date format of mail, which PNG recommends: "Sun, 02 Mar 2014 11:12:13 +0100"."""
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    zone = moment.utcoffset()
    if zone is not None:
        moment = moment.astimezone(timezone(zone))
    return plausible_or_none(Taken(moment.isoformat(timespec="seconds"), source))


# -----------------------------------------------------------------------------------------------------------
# ---- Names

# Not in the middle of a date that begins with its day: 03-02-2014 04 05 06. A full date and clock in digits may follow
# anything but a digit: NO20230714-210533 (dashcams).
_BEFORE = (
    r"(?:(?<![0-9A-Za-z])(?<!\d\d[-._ ]\d\d[-._ ])(?:IMG|VID|PIC|DSC|PHOTO|VIDEO|SCREEN|BURST|(?P<utc>PXL_|GMT))?"
    r"|(?<!\d)(?=\d{8}[-_]?\d{6}(?:\d{3})?(?!\d)))"
)
# Between day and clock in the languages of screenshots and messengers: at, um, à, à(s), a las, a la(s), kl., в, o.
_WORD = r"[^\W\d_]{1,8}\.?(?:\([^\W\d_]\))?(?: [^\W\d_]{1,4}(?:\([^\W\d_]\))?)?"
_CLOCK = (
    r"(?P<hour>[01]\d|2[0-3])(?P<c>[.:;：_h -]?)(?P<minute>[0-5]\d)(?P=c)(?P<second>[0-5]\d)"
    r"(?:[.:_-]?(?P<part>\d{3})(?!\d))?(?P<zulu>Z(?![0-9A-Za-z])|_iOS)?"
)
_IN_NAME = re.compile(
    rf"{_BEFORE}(?P<year>(?:18|19|20)\d\d)(?P<d>[-_. ]?)(?P<month>0[1-9]|1[0-2])(?P=d)(?P<day>0[1-9]|[12]\d|3[01])"
    rf"(?:(?:[-_ T]{{0,2}}|[ ,_-]+(?:{_WORD}[ _-]+)?(?=\d\d[.:;：_h -])){_CLOCK}|(?![0-9A-Za-z]))",
    re.IGNORECASE,
)
_MORNING, _AFTERNOON = "上午|午前|오전|ÖÖ", "下午|午後|오후|ÖS"
_LATE = frozenset((*_AFTERNOON.split("|"), "P", "Μ", "م"))  # upper-case, as are the Greek ones
_TWELVE = re.compile(
    r"(?<![0-9A-Za-z])((?:19|20)\d\d)-(\d\d)-(\d\d)[ ,_-]+"
    rf"(?:(?!{_MORNING}|{_AFTERNOON}){_WORD}[ _-]+)?(?:({_MORNING}|{_AFTERNOON})[\s\u202f]*)?"
    r"(\d{1,2})\.(\d\d)\.(\d\d)(?:[\s\u202f]*(?:([AP])\.?[\s\u202f]?M\b|([πμ])\.?[\s\u202f]?μ\b|([صم])(?!\w)))?",
    re.IGNORECASE,
)
_TELEGRAM = re.compile(r"\w+@(\d\d)-(\d\d)-(\d{4})_(\d\d)-(\d\d)-(\d\d)(?!\d)")  # of its desktop's exports
# File names of UNIX milliseconds (Facebook, LINE, WeChat, a bare number), and seconds (an iPhone's screen recording).
_UNIX = re.compile(
    r"(?:(?:FB_IMG_|FB_VID_|LINE_(?:MOVIE_)?|mmexport|wx_camera_|photo_|video_|image_)?(1\d{9})\d{3}"
    r"|RPReplay_Final(1\d{9}))(?:[(_ -].*)?",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:18|19|20)\d\d")
_MARKS = dict.fromkeys((0x200E, 0x200F))  # of the direction of writing
_IDEOGRAPHS = re.compile(
    r"((?:18|19|20)\d\d)[年년] ?(\d\d?)[月월] ?(\d\d?)[日일](?:\s*(\d\d?)[时時시点]\s*(\d\d)[分분]\s*(\d\d)[秒초])?"
)
_HOURS = re.compile(r"(?<=\d\d[-_ ])(\d\d)h(\d\d)m(\d\d)s")  # VLC: 2023-07-14-21h05m33s
_DASHCAM = re.compile(r"(?<!\d)(20\d\d)_(\d{4})_(\d{6})(?!\d)")  # 2023_0714_210533
_SINCE = re.compile(r"(?<=\d)[于於](?=\d)")  # WhatsApp in Chinese: 2023-07-14于21.05.33


def _usual(stem: str) -> str:
    """Returns a name with its dates written in the usual ways: with figures, in the order year, month, day."""
    stem = unicodedata.normalize("NFC", stem)
    if not stem.isascii():
        stem = _SINCE.sub(" ", stem.translate(_MARKS))
        stem = _IDEOGRAPHS.sub(_in_figures, stem)
    return _DASHCAM.sub(r"\1\2_\3", _HOURS.sub(r"\1.\2.\3", stem))


def _in_figures(match: re.Match[str]) -> str:
    year, month, day, *clock = match.groups()
    time = f" {int(clock[0]):02}.{clock[1]}.{clock[2]}" if clock[0] else ""
    return f"{year}-{int(month):02}-{int(day):02}{time} "


def of_name(name: str) -> Taken | None:
    """Returns the date in a file name of a camera, a phone or a messenger; None without one.

    A Pixel's `PXL_` names, Zoom's `GMT`, OneDrive's `_iOS` and a Z behind the clock are in UTC; all others are in local
    time.
    """
    stem = _usual(name.rpartition(".")[0] or name)
    if _YEAR.search(stem) and (date := _of_calendar(stem)) is not None:
        return date
    seconds = _UNIX.fullmatch(stem)
    moment = of_seconds(int(seconds[1] or seconds[2]), "name") if seconds else None
    return moment if moment is not None and moment.at >= "2005" else None


def _of_calendar(stem: str) -> Taken | None:
    """Returns the first date that a name states as year, month and day."""
    for twelve in _TWELVE.finditer(stem):
        half = twelve[4] or twelve[8] or twelve[9] or twelve[10]
        if not half:
            continue
        late = half.upper() in _LATE
        day = "-".join(twelve.group(1, 2, 3))
        return taken(f"{day}T{int(twelve[5]) % 12 + 12 * late:02}:{twelve[6]}:{twelve[7]}", "name")
    if telegram := _TELEGRAM.match(stem):
        day, month, year, *clock = telegram.groups()
        return taken(f"{year}-{month}-{day}T{':'.join(clock)}", "name")
    for match in _IN_NAME.finditer(stem):
        day = "-".join(match.group("year", "month", "day"))
        if match["hour"]:
            fraction = f".{match['part']}" if match["part"] else ""
            day += f"T{match['hour']}:{match['minute']}:{match['second']}{fraction}"
            day += "Z" if match["utc"] or match["zulu"] else ""
        # Eight digits with an earlier year are no date.
        plausible = match["d"] or int(match["year"]) >= 1990
        if plausible and (date := taken(day, "name")) is not None:
            return date
    return None
