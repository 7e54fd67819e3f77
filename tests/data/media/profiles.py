"""ICC profiles written by hand: matrices of well-known RGB spaces, a grey gamma, and inks of a print shop."""

from __future__ import annotations

import struct
from itertools import product

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_WHITE = (0.9642, 1.0, 0.8249)  # D50


def rgb_profile(columns: tuple[tuple[float, float, float], ...] = ADOBE, gamma: float = 2.19921875) -> bytes:
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, columns), strict=True))
    return _profile(b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma)))


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


# L*, a*, b* of paper and the inks.
_INKS = {"c": (55, -37, -50), "m": (48, 74, -3), "y": (89, -5, 93), "k": (16, 0, 0)}


def cmyk_profile() -> bytes:
    """Inks that darken one another; as on paper, pure cyan is (0, 158, 224) and not (0, 255, 255)."""
    table = bytearray()
    for amounts in product((0, 1), repeat=4):
        inks = [ink for amount, ink in zip(amounts, _INKS.values(), strict=True) if amount]
        light, a, b = 95.0, 0.0, 0.0
        for ink in inks:
            light, a, b = light * ink[0] / 95, a + ink[1] / len(inks), b + ink[2] / len(inks)
        table += bytes((round(light * 2.55), round(a) + 128, round(b) + 128))
    straight = bytes(range(256))
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + unit + straight * 4 + bytes(table) + straight * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": lut}, device=b"prtr")


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], device: bytes = b"mntr") -> bytes:
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": _xyz(_WHITE), **tags}
    at = 128 + 4 + 12 * len(tags)
    listing, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        listing += name + struct.pack(">II", at + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I", at + len(content)) + bytes(4) + struct.pack(">I", 0x02400000) + device + space
    head += connection + bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in _WHITE))
    return head.ljust(128, b"\0") + listing + content


def _xyz(value: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in value))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
