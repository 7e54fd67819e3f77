"""Broken and malicious files against the readers: `python -m tests.bench.hostile [folder]`.

Built around four heaps: the test images of Pillow's source distribution, the PDFs of pypdf, pikepdf and
pdfminer.six, truncated and bit-flipped copies of good files (a fixed seed), and bombs that claim or unfold to
far more than they weigh. Each is outlined and decoded in the sandbox as the indexer does it. Counted are
files read, files refused by cause, and what must not be: crashes of this process, hangs, reasons without a
class. A small slice of it runs with the tests (`tests/data/media/test_hostile.py`).
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from data import reader
from data.media.kinds import Cause, Kind, MediaError, kind_of
from data.media.sandbox import Sandbox
from tests.data.media.tiffs import dng
from tests.media import add_iptc, draw_image, draw_pdf, draw_video, iptc_records, picture, rewrap, xmp_packet

# The last pdfminer.six that ships its samples.
SDISTS = ("pillow", "pypdf", "pikepdf", "pdfminer.six==20181108")
SAMPLES = Path(__file__).parents[1] / "data" / "media" / "jxl"
LIMIT_S = 20.0
CHUNKS = 4


@dataclass
class Outcome:
    """What became of a heap of files."""

    tried: int = 0
    read: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unclassified: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def attempt(path: Path, kind: Kind) -> int:
    """What the indexer does with a file, for its first chunks; how many were decoded. Runs in a child."""
    outline = reader.outline(path, kind)
    chunks = reader.decode(path, kind, outline.chunks[:CHUNKS], max_side=384, thumbnails=True)
    for chunk in chunks:
        assert chunk.frames.ndim == 4 and chunk.frames.shape[3] == 3 and chunk.thumbnail
        chunk.text.encode("utf-8")
    return len(chunks)


def run(files: list[tuple[Path, Kind]], sandbox: Sandbox, limit_s: float = LIMIT_S) -> Outcome:
    """Try every file; no exception leaves this but a mistake of this program."""
    outcome = Outcome(tried=len(files))
    began: dict[int, float] = {}

    def submit(i: int) -> Future[Any]:
        job = sandbox.submit(attempt, *files[i], timeout_s=limit_s)
        began[i] = time.monotonic()
        return job

    ahead = 4
    jobs = {i: submit(i) for i in range(min(ahead, len(files)))}
    for i, (path, _) in enumerate(files):
        job = jobs.pop(i)
        try:
            job.result(timeout=ahead * limit_s + 60)
            outcome.read += 1
        except MediaError as error:
            reason = str(error)
            if error.cause not in get_args(Cause) or not reason or len(reason) > 160 or "Traceback" in reason:
                outcome.unclassified.append(f"{path.name}: {reason}")
            outcome.causes[error.cause] += 1
            outcome.reasons[reason] += 1
        except TimeoutError:
            outcome.hangs.append(path.name)
        except Exception as error:  # noqa: BLE001 – what this benchmark counts
            outcome.unclassified.append(f"{path.name}: {type(error).__name__}: {error}")
        outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - began.pop(i))
        if i + ahead < len(files):
            jobs[i + ahead] = submit(i + ahead)
    return outcome


# Heaps


def from_sdists(folder: Path) -> dict[str, list[tuple[Path, Kind]]]:
    """The images and PDFs of the source distributions, fetched to `folder` where they are missing."""
    heaps: dict[str, list[tuple[Path, Kind]]] = {}
    for wanted in SDISTS:
        name = wanted.partition("==")[0]
        stem = name.replace(".", "?")
        archives = sorted(folder.glob(f"{stem}-*.tar.gz"))
        if not archives:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name]
            subprocess.run([*pip, "-d", str(folder), wanted], check=True)
            archives = sorted(folder.glob(f"{stem}-*.tar.gz"))
        target = folder / name
        if not target.exists():
            with tarfile.open(archives[-1]) as archive:
                archive.extractall(target, filter="data")
        files: list[tuple[Path, Kind]] = []
        for path in sorted(p for p in target.rglob("*") if p.is_file()):
            if path.suffix.lower() == ".pdf":
                files.append((path, "pdf"))
            elif name == "pillow" and "/Tests/" in path.as_posix() and path.suffix not in (".py", ".txt", ".md"):
                files.append((path, kind_of(path) or "image"))
        heaps[name] = files
    return heaps


VIDEOS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("a.mp4", "libx264", {}),
    ("fast.mp4", "libx264", {"movflags": "faststart"}),
    ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ("hevc.mp4", "libx265", {}),
    ("av1.mp4", "libsvtav1", {}),
    ("a.mov", "mjpeg", {}),
    ("a.3gp", "libx264", {}),
    ("a.mkv", "libx264", {}),
    ("a.webm", "libvpx", {}),
    ("vp9.webm", "libvpx-vp9", {}),
    ("a.avi", "mpeg4", {}),
    ("a.flv", "libx264", {}),
    ("a.mts", "libx264", {}),
    ("a.mpg", "mpeg2video", {}),
    ("a.vob", "mpeg2video", {}),
    ("a.mxf", "mpeg2video", {}),
    ("a.wmv", "wmv2", {}),
)
"""Name, encoder and options of the container."""
ONE_CLOCK = ("mpeg2video", "wmv2")
"""Encoders that take no other clock than the frames': these videos are drawn as AVI and wrapped again."""


@dataclass(frozen=True)
class Original:
    """A good file to be damaged. `describes`: the good media file of the same name that it describes, which is then
    what is read."""

    path: Path
    kind: Kind
    describes: Path | None = None


def originals(folder: Path) -> list[Original]:
    """Small good files of every kind, and of every kind that describes another."""
    folder.mkdir(parents=True, exist_ok=True)
    good = [Original(path, "video") for path in _videos(folder)]
    good += [Original(path, "image") for path in _images(folder)]
    pages, scan = ["some words", "more"], picture(size=(60, 40))
    good.append(Original(draw_pdf(folder / "a.pdf", pages, image=scan), "pdf"))
    good.append(Original(draw_pdf(folder / "turned.pdf", pages, rotation=90, metadata={"title": "A title"}), "pdf"))
    good.append(Original(draw_pdf(folder / "locked.pdf", pages, password="secret"), "pdf"))
    video, image = folder / "a.mp4", folder / "a.jpg"
    cue = "00:00:01,000 --> 00:00:03,000\nWhat is said\n\n"
    script = "[Events]\nFormat: Start, End, Text\nDialogue: 0:00:01.00,0:00:03.00,What is said\n"
    note = {"title": "a.jpg", "description": "A lake", "geoData": {"latitude": 1.5, "longitude": 2.5}}
    for suffix, text, described, kind in (
        (".srt", f"1\n{cue}2\n{cue}", video, "video"),
        (".vtt", f"WEBVTT\n\n{cue}".replace(",", "."), video, "video"),
        (".ass", script, video, "video"),
        (".xmp", xmp_packet(dc_title="A lake", dc_subject=["water", "boat"]).decode(), image, "image"),
        (".jpg.json", json.dumps(note), image, "image"),
    ):
        (folder / f"a{suffix}").write_text(text, "utf-8")
        good.append(Original(folder / f"a{suffix}", cast("Kind", kind), described))
    return good


def _videos(folder: Path) -> Iterator[Path]:
    for name, codec, options in VIDEOS:
        path = folder / name
        if codec in ONE_CLOCK:
            rewrap(draw_video(folder / "one-clock.avi", 6, 25, (96, 64), codec=codec), path)
        else:
            draw_video(path, 6, 10, (96, 64), codec=codec, options=options, audio=codec == "libx264")
        yield path


def _images(folder: Path) -> Iterator[Path]:
    shown, next_frame = picture(size=(96, 64)), picture(size=(96, 64), seed=1)
    exif = {"taken": "2020:01:01 00:00:00", "gps": (1.0, 2.0), "model": "X"}
    yield add_iptc(draw_image(folder / "a.jpg", size=(96, 64), exif=exif, quality=90), iptc_records((120, "A lake")))
    for suffix in ("png", "gif", "webp", "bmp", "tiff", "heic", "avif", "jp2", "j2k", "ico", "dib"):
        yield draw_image(folder / f"a.{suffix}", size=(96, 64))
    for name in ("moving.png", "moving.gif", "moving.webp", "a.mpo"):
        shown.save(folder / name, save_all=True, append_images=[next_frame])
        yield folder / name
    live = (folder / "a.jpg").read_bytes() + (folder / "a.mp4").read_bytes()
    scene = np.asarray(shown)
    for name, data in (
        ("live.jpg", live),
        ("a.jxl", (SAMPLES / "icc.jxl").read_bytes()),
        ("sensor.dng", dng(scene)),
        ("preview.dng", dng(scene, preview=(folder / "a.jpg").read_bytes())),
    ):
        (folder / name).write_bytes(data)
        yield folder / name


def damaged(folder: Path, counts: dict[Kind, int], seed: int = 1) -> list[tuple[Path, Kind]]:
    """Truncated, bit-flipped, overwritten and spliced copies of the originals; the same seed, the same files."""
    rng = random.Random(seed)
    good = originals(folder / "good")
    out: list[tuple[Path, Kind]] = []
    for kind, count in counts.items():
        sources = [(one, one.path.read_bytes()) for one in good if one.kind == kind]
        for i in range(count):
            source, data = sources[i % len(sources)]
            way = WAYS[i // len(sources) % len(WAYS)]
            broken = damage(data, way, rng.choice(sources)[1], rng)
            stem = f"{way.replace(' ', '-')}-{i}-"
            path = folder / f"{stem}{source.path.name}"
            path.write_bytes(broken)
            if source.describes is not None:
                path = folder / f"{stem}{source.describes.name}"
                path.hardlink_to(source.describes)
            out.append((path, kind))
    return out


WAYS = ("cut", "flip", "flip head", "overwrite", "splice", "head of another")


def damage(data: bytes, way: str, other: bytes, rng: random.Random) -> bytes:
    """A copy of a good file, damaged in one of the `WAYS`. `other`: another good file."""
    broken = bytearray(data)
    if way == "cut":
        del broken[rng.randrange(1, len(broken)) :]
    elif way == "overwrite":
        at = rng.randrange(len(broken))
        size = min(rng.randrange(1, 2000), len(broken) - at)
        broken[at : at + size] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    elif way == "splice":
        a, b = sorted(rng.randrange(len(broken)) for _ in range(2))
        del broken[a:b]
    elif way == "head of another":
        size = rng.choice((4, 16, 64, 256, 1024))
        broken[:size] = other[:size]
    else:
        end = min(len(broken), 600) if way == "flip head" else len(broken)
        for _ in range(rng.choice((1, 3, 10, 100))):
            broken[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(broken)


# Bombs: small files that claim, or unfold to, far more than any machine has


def png(width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    def box(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = box(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    text = box(b"zTXt", b"Comment\0\0" + extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + head + text + box(b"IDAT", rows) + box(b"IEND", b"")


def zeros(count: int) -> bytes:
    """`count` zero bytes, deflated, without ever holding them."""
    packer, out = zlib.compressobj(9), []
    while count > 0:
        out.append(packer.compress(bytes(min(count, 1 << 20))))
        count -= 1 << 20
    return b"".join((*out, packer.flush()))


def pdf(objects: list[bytes]) -> bytes:
    """A PDF of these objects; the first is its catalogue."""
    out, places = b"%PDF-1.5\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    tail = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + tail


def stream(head: bytes, data: bytes) -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (head, len(data), data)


def pages_of_one_object(count: int) -> bytes:
    kids = b"3 0 R " * count
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids), page])


def one_page(content: bytes, resources: bytes = b"", *more: bytes) -> bytes:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<<%s>>>>" % resources
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, content, *more])


def a_billion_frames(good: bytes) -> bytes:
    """An MP4 whose tables say that it holds 10⁹ frames of one byte and lasts for years."""
    data = bytearray(good)
    at = data.index(b"stsz")
    data[at + 8 : at + 16] = struct.pack(">II", 1, 1_000_000_000)
    at = data.index(b"stts")
    data[at + 8 : at + 20] = struct.pack(">III", 1, 1_000_000_000, 3000)
    at = data.index(b"mdhd")
    data[at + 20 : at + 24] = struct.pack(">I", 0xFFFFFFF0)
    at = data.index(b"mvhd")
    data[at + 20 : at + 24] = struct.pack(">I", 0xFFFFFFF0)
    return bytes(data)


def bombs(folder: Path, heavy: bool = True) -> list[tuple[Path, Kind]]:
    """One file a trick. `heavy` adds those that take seconds to make or to refuse."""
    folder.mkdir(parents=True, exist_ok=True)
    video = draw_video(folder / "good.mp4", 2, 10, (64, 48)).read_bytes()
    image = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceRGB/BitsPerComponent 8/Filter/FlateDecode"
    draw = b"q 200 0 0 200 0 0 cm /X Do Q"
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6)
    tiff = b"II*\0\x08\0\0\0\x04\0" + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 60000), (257, 60000), (262, 1), (273, 8))
    )
    loop = pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 9/Kids[2 0 R 2 0 R]>>"])
    heading = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>"
    makers: dict[str, Callable[[], bytes]] = {
        "50000x50000.png": lambda: png(50_000, 50_000, 8, 2, zeros(10_000_000)),
        "no-pixels.png": lambda: png(0, 0, 8, 2, b""),
        "text-of-1GB.png": lambda: png(8, 8, 8, 2, zeros(200), zeros(1 << 30 if heavy else 1 << 26)),
        "65535x65535.gif": lambda: gif + b"\x2c" + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x02\x02D\x01\0;",
        "60000x60000.tif": lambda: tiff + bytes(4),
        "2e9.bmp": lambda: b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 99, 1, 24, 0, 0, 0, 0, 0, 0),
        "million-pages.pdf": lambda: pages_of_one_object(1_000_000),
        "claims-2e9-pages.pdf": lambda: pages_of_one_object(1).replace(b"/Count 1", b"/Count 2000000000"),
        "page-tree-loop.pdf": lambda: loop,
        "form-in-itself.pdf": lambda: one_page(
            stream(b"", draw), b"/XObject<</X 5 0 R>>", stream(heading, b"/X Do /X Do")
        ),
        "billion-frames.mp4": lambda: a_billion_frames(video),
        "playlist.mp4": lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n",
        "playlist-in-disguise.mp4": lambda: b"\0\0\0\x14ftypisom\0\0\0\0isom\n#EXTM3U\n#EXTINF:9,\n/etc/passwd\n",
        "endless-void.mkv": lambda: (
            b"\x1aE\xdf\xa3\x84B\x82\x81x\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff\xec\x08\xff"
        ),
        "zeros.mp4": lambda: bytes(100_000),
        "noise.mp4": lambda: random.Random(5).randbytes(100_000),
        "program.jpg": lambda: b"MZ" + random.Random(6).randbytes(5000),
    }
    if heavy:
        makers |= {
            "black-13000x13000.png": lambda: png(13_000, 13_000, 8, 2, zeros(13_000 * 39_001)),
            "true-50000x50000.png": lambda: png(50_000, 50_000, 1, 0, zeros(50_000 * 6251)),
            "contents-of-4GB.pdf": lambda: one_page(
                stream(b"/Filter[/FlateDecode/FlateDecode]", zlib.compress(zeros(4 << 30), 9))
            ),
            "picture-of-50000x50000.pdf": lambda: one_page(
                stream(b"", draw),
                b"/XObject<</X 5 0 R>>",
                stream(image + b"/Width 50000/Height 50000", zeros(50_000 * 150_000 // 8)),
            ),
            "million-lines.pdf": lambda: one_page(
                stream(b"/Filter/FlateDecode", zlib.compress(b"0 0 m 200 200 l S\n" * 20_000_000, 9))
            ),
        }
    out: list[tuple[Path, Kind]] = []
    for name, make in makers.items():
        (folder / name).write_bytes(make())
        kind = kind_of(name)
        assert kind is not None
        out.append((folder / name, kind))
    return out


# The report


def heaps(folder: Path) -> Iterator[tuple[str, list[tuple[Path, Kind]]]]:
    sdists = folder / "sdists"
    sdists.mkdir(parents=True, exist_ok=True)
    for name, files in from_sdists(sdists).items():
        yield f"{name} sdist", files
    counts: dict[Kind, int] = {"video": 2000, "image": 800, "pdf": 200}
    yield "damaged copies", damaged(folder / "damaged", counts)
    yield "bombs", bombs(folder / "bombs")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="hostile-"))
    rows: list[tuple[str, Outcome, float]] = []
    with Sandbox(workers=2, memory_mb=2048) as sandbox:
        for name, files in heaps(folder):
            start = time.monotonic()
            rows.append((name, run(files, sandbox), time.monotonic() - start))
            print(name, rows[-1][1], flush=True)
    lines = [
        "| heap | files | read | refused with a reason | causes | slowest | hangs | unnamed reasons |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found, seconds in rows:
        causes = ", ".join(f"{cause} {count}" for cause, count in found.causes.most_common())
        refused = sum(found.causes.values())
        lines.append(
            f"| {name} ({seconds:.0f} s) | {found.tried} | {found.read} | {refused} | {causes} "
            f"| {found.slowest_s:.1f} s | {len(found.hangs)} | {len(found.unclassified)} |"
        )
    tried, read = (sum(getattr(o, name) for _, o, _ in rows) for name in ("tried", "read"))
    refused = sum(sum(o.causes.values()) for _, o, _ in rows)
    bad = [sum(len(getattr(r, name)) for _, r, _ in rows) for name in ("hangs", "unclassified")]
    lines.append(f"| **all** | {tried} | {read} | {refused} | | | {bad[0]} | {bad[1]} |")
    lines.append("\nCrashes of the main process: 0 (it wrote this table).")
    from tests.bench.report import write

    write("hostile", "\n".join(lines))
    sys.exit(1 if any(bad) else 0)


if __name__ == "__main__":
    from tests.bench.hostile import main as start  # under this name the children can import `attempt`

    start()
