"""The date in the H.264 stream of AVCHD camcorders, whose containers have none: `recorded`.

Built around the first transport packets of a file: user data with the UUID of "MDPM" (Modified DV Pack Metadata, as
in ExifTool's H264.pm) hold the local time and its zone in decimal digits. Decodes no frames.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from data.media.dates import Taken, taken, zone_text

_HEAD = 1 << 20
_MDPM = bytes.fromhex("17ee8c60f84d11d98cd60800200c9a66") + b"MDPM"
_SYNC = 0x47
_YEAR, _DAY = 0x18, 0x19


def recorded(path: Path) -> Taken | None:
    """Returns the date of an AVCHD file; None for any other file and without a date."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    for stream in _streams(head):
        at = stream.find(_MDPM)
        if at >= 0:
            message = stream[at + len(_MDPM) : at + 1024].replace(b"\0\0\3", b"\0\0")  # as H.264 escapes zeros
            return _date(message)
    return None


def _streams(head: bytes) -> list[bytes]:
    """The joined payloads of each stream of a transport stream; AVCHD has 4 bytes before each packet."""
    for size, before in ((188, 0), (192, 4)):
        if len(head) > 3 * size and all(head[before + n * size] == _SYNC for n in range(3)):
            break
    else:
        return []
    streams: dict[int, list[bytes]] = defaultdict(list)
    for at in range(before, len(head) - 187, size):
        packet = head[at : at + 188]
        control = packet[3] >> 4 & 3
        begin = 4 + (1 + packet[4] if control & 2 else 0)
        if control & 1 and begin < 188:
            streams[int.from_bytes(packet[1:3], "big") & 0x1FFF].append(packet[begin:])
    return [b"".join(parts) for parts in streams.values()]


def _date(message: bytes) -> Taken | None:
    count = message[0] if message else 0
    entries = {message[n]: message[n + 1 : n + 5] for n in range(1, min(1 + 5 * count, len(message) - 4), 5)}
    if _YEAR not in entries or _DAY not in entries:
        return None
    zone, *years = entries[_YEAR]
    digits = bytes((*years, *entries[_DAY])).hex()  # BCD
    if not digits.isdigit():
        return None
    ahead = 60 * (zone >> 1 & 0x0F) + (30 if zone & 1 else 0)
    text = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"
    return taken(text, "camcorder", "" if zone == 0xFF else zone_text(-ahead if zone & 0x20 else ahead))
