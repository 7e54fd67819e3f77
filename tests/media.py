"""Tiny real media for tests, drawn on the spot: photographs of a sort, videos that show their own time, PDFs.

Everything is made by the encoders that people's own files come from (Pillow, FFmpeg through PyAV, MuPDF), so
a test reads real containers. Nothing here knows what a test wants to prove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]


def picture(
    text: str = "", size: tuple[int, int] = (320, 240), color: Color | None = None, seed: int = 0
) -> Image.Image:
    """An RGB picture with soft colours, shapes and, if asked, large words. The same arguments, the same
    pixels.

    `color` fills the ground flatly; without it the ground is a gradient with shapes chosen by `seed`.
    """
    width, height = size
    if color is not None:
        image = Image.new("RGB", size, color)
    else:
        rng = np.random.default_rng(seed)
        corners = rng.integers(40, 216, (2, 2, 3)).astype(np.uint8)
        image = Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            x, y = rng.integers(0, width), rng.integers(0, height)
            radius = int(rng.integers(4, max(5, min(size) // 4)))
            fill = tuple(int(c) for c in rng.integers(0, 256, 3))
            shape = (draw.ellipse, draw.rectangle)[int(rng.integers(2))]
            shape((x - radius, y - radius, x + radius, y + radius), fill=fill)
    if text:
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(size=max(10, min(height // 5, int(1.6 * width / max(1, len(text))))))
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        at = ((width - right + left) / 2 - left, (height - bottom + top) / 2 - top)
        draw.text(at, text, font=font, fill="white", stroke_width=2, stroke_fill="black")
    return image


def draw_image(
    path: Path,
    text: str = "",
    size: tuple[int, int] = (320, 240),
    color: Color | None = None,
    seed: int = 0,
    exif: dict[str, Any] | None = None,
    **save: Any,
) -> Path:
    """Write `picture(...)` in the format that the suffix names; returns the path.

    `exif` may hold: orientation (1–8), taken ("2023:07:14 09:30:00"), offset ("+02:00"), make, model,
    gps (lat, lon in degrees), description, comment (bytes, with the name of their characters), windows (the
    text of Microsoft's tags by their number). `save` goes to `Image.save`.
    """
    image = picture(text, size, color, seed)
    if path.suffix.lower() in (".heic", ".heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    if exif:
        save["exif"] = exif_bytes(**exif)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **save)
    return path


def exif_bytes(
    orientation: int | None = None,
    taken: str | None = None,
    offset: str | None = None,
    make: str | None = None,
    model: str | None = None,
    gps: tuple[float, float] | None = None,
    description: str | bytes | None = None,
    comment: bytes | None = None,
    windows: dict[int, str] | None = None,
) -> bytes:
    exif = Image.Exif()
    if description is not None:
        exif[0x010E] = description
    if comment is not None:
        exif.get_ifd(0x8769)[0x9286] = comment
    for tag, text in (windows or {}).items():
        exif[tag] = text.encode("utf-16-le") + b"\x00\x00"
    for tag, value in ((0x0112, orientation), (0x010F, make), (0x0110, model)):
        if value is not None:
            exif[tag] = value
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    if offset is not None:
        exif.get_ifd(0x8769)[0x9011] = offset
    if gps is not None:
        lat, lon = gps
        ifd = exif.get_ifd(0x8825)
        ifd[1], ifd[2] = "N" if lat >= 0 else "S", _degrees(abs(lat))
        ifd[3], ifd[4] = "E" if lon >= 0 else "W", _degrees(abs(lon))
    return exif.tobytes()


def xmp_packet(**properties: str | Sequence[str]) -> bytes:
    """An XMP packet as programs write it: `dc_title="…"` becomes dc:title with a language, a list a bag, and
    words of the schemas of places and headlines attributes; faces are `faces=("Anna",)`."""
    from xml.sax.saxutils import escape, quoteattr

    spaces = "".join(f' xmlns:{name}="{space}"' for name, space in _XMP_SPACES.items())
    attributes, elements = "", ""
    for key, value in properties.items():
        name = key.replace("_", ":", 1)
        if key == "faces":
            items = "".join(
                f"<rdf:li><rdf:Description mwg-rs:Name={quoteattr(v)} mwg-rs:Type='Face'/></rdf:li>" for v in value
            )
            elements += (
                "<mwg-rs:Regions rdf:parseType='Resource'><mwg-rs:RegionList><rdf:Bag>"
                f"{items}</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
            )
        elif name.startswith("photoshop:") and isinstance(value, str):
            attributes += f" {name}={quoteattr(value)}"
        elif isinstance(value, str):
            text = f"<rdf:Alt><rdf:li xml:lang='x-default'>{escape(value)}</rdf:li></rdf:Alt>"
            elements += f"<{name}>{text}</{name}>"
        else:
            items = "".join(f"<rdf:li>{escape(v)}</rdf:li>" for v in value)
            elements += f"<{name}><rdf:Bag>{items}</rdf:Bag></{name}>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f"<rdf:RDF{spaces}><rdf:Description rdf:about=''{attributes}>{elements}</rdf:Description></rdf:RDF>"
        '</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


_XMP_SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "exif": "http://ns.adobe.com/exif/1.0/",
}


def iptc_records(*records: tuple[int, str], encoding: str = "utf-8") -> bytes:
    """IPTC-IIM: records of the second part by the number of their data set."""
    packed = ((number, text.encode(encoding)) for number, text in records)
    return b"".join(bytes((0x1C, 2, number)) + len(data).to_bytes(2, "big") + data for number, data in packed)


def add_iptc(path: Path, records: bytes) -> Path:
    """Put IPTC-IIM into a JPEG, as Photoshop does; returns the path."""
    resource = b"8BIM\x04\x04\x00\x00" + len(records).to_bytes(4, "big") + records + bytes(len(records) % 2)
    body = b"Photoshop 3.0\x00" + resource
    jpeg = path.read_bytes()
    path.write_bytes(jpeg[:2] + b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:])
    return path


def _degrees(value: float) -> tuple[float, float, float]:
    whole = int(value)
    minutes = int((value - whole) * 60)
    return (float(whole), float(minutes), round((value - whole - minutes / 60) * 3600, 4))


def draw_video(
    path: Path,
    seconds: float = 4.0,
    fps: float = 10.0,
    size: tuple[int, int] = (160, 120),
    text: str = "",
    scenes: Sequence[tuple[float, Color]] = (),
    frame: Callable[[float], Image.Image] | None = None,
    codec: str = "libx264",
    gop: int = 12,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    sample_aspect: int = 1,
    audio: bool = False,
    video: bool = True,
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video whose every frame tells its time in grey (`time_of`), with a clock and `text` burned in.

    `scenes` are (from second, ground colour); `frame` draws the frame at a second itself (it must have
    `size`). `times` are the frames' own seconds (a variable frame rate) instead of `seconds` × `fps`;
    `rotation` (0, 90, 180, 270: clockwise, to be applied by the player) is stored, not drawn; the format
    follows the suffix.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    # AVI counts frames: a finer clock fills it with empty ones.
    avi = path.suffix == ".avi"
    clock = 1 / Fraction(fps).limit_denominator(1001) if avi else Fraction(1, 30000)
    with av.open(str(path), "w", options=options or {}) as out:
        out.metadata.update(metadata or {})
        if video:
            stream = out.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = (
                size[0],
                size[1],
                "yuvj420p" if codec == "mjpeg" else "yuv420p",
            )
            stream.codec_context.gop_size = gop
            stream.codec_context.time_base = clock
            if codec == "libx264":
                reorder = "0" if times is not None else "2"
                stream.options = {"preset": "ultrafast", "bf": reorder, "b-adapt": "0"}
            if codec == "libx265":
                stream.options = {"preset": "ultrafast", "x265-params": "log-level=error"}
            if sample_aspect != 1:
                stream.codec_context.sample_aspect_ratio = Fraction(sample_aspect)
            if sample_aspect != 1:
                stream.codec_context.sample_aspect_ratio = Fraction(sample_aspect)
            if rotation:
                stream.set_display_rotation(-rotation)
        sound = out.add_stream("aac", rate=16000, layout="mono") if audio else None
        if video:
            for t in times if times is not None else np.arange(round(seconds * fps)) / fps:
                picture_ = frame(float(t)) if frame else _clock_frame(float(t), size, text, scenes)
                shot = av.VideoFrame.from_image(picture_)
                shot.pts, shot.time_base = round(float(t) / clock), clock
                out.mux(stream.encode(shot))
            out.mux(stream.encode())
        if sound is not None:
            for i in range(int(seconds * 16000 / 1024)):
                wave = np.sin(np.arange(1024) * 0.17)[None].astype(np.float32)
                block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16000, i * 1024, Fraction(1, 16000)
                out.mux(sound.encode(block))
            out.mux(sound.encode())
    return path


def add_sound(
    path: Path, *pieces: tuple[float, np.ndarray], rate: int = 48_000, codec: str = "aac", default: bool = True
) -> Path:
    """Add a sound track to a video: each piece from its second on, float32 [channels, n] at `rate`; nothing
    between."""
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(pieces[0][1])]
    with _again(path) as (out, packets):
        track = out.add_stream(codec, rate=rate, layout=layout)
        track.disposition = int(default)
        track.codec_context.open()
        kind, at_once = track.codec_context.format, track.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=kind, layout=layout, rate=rate)
        for second, samples in pieces:
            for at in range(0, samples.shape[1], at_once):
                block = np.zeros((len(samples), at_once), dtype=np.float32)
                rest = samples[:, at : at + at_once]
                block[:, : rest.shape[1]] = rest
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                for converted in resampler.resample(frame):
                    converted.pts, converted.time_base = round(second * rate) + at, Fraction(1, rate)
                    packets.extend(track.encode(converted))
        packets.extend(track.encode())
    return path


SOUND_CODECS = {
    ".mp3": "libmp3lame",
    ".flac": "flac",
    ".wav": "pcm_s16le",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".aiff": "pcm_s16be",
    ".ac3": "ac3",
    ".amr": "libopencore_amrnb",
}


def sound_file(path: Path, samples: np.ndarray, rate: int = 48_000, metadata: dict[str, str] | None = None) -> Path:
    """Write a recording without a picture, float32 [channels, n] at `rate`; the format follows the suffix."""
    import av

    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w", format="ipod" if path.suffix == ".m4a" else None) as out:
        out.metadata.update(metadata or {})
        track = out.add_stream(SOUND_CODECS.get(path.suffix, "aac"), rate=rate, layout=layout)
        track.codec_context.open()
        resampler = av.AudioResampler(
            format=track.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=track.codec_context.frame_size or 1024,
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for block in (*resampler.resample(frame), *resampler.resample(None)):
            if block is not None:
                out.mux(track.encode(block))
        out.mux(track.encode())
    return path


def add_subtitles(
    path: Path, *cues: tuple[float, float, str], codec: str = "srt", default: bool = False, forced: bool = False
) -> Path:
    """Add a subtitle track to a video: (from, to, words), the words as ASS writes them ("one\\Ntwo")."""
    from av.packet import Packet
    from av.subtitles.subtitle import SubtitleSet

    with _again(path) as (out, packets):
        track = out.add_stream(codec)
        track.time_base = track.codec_context.time_base = clock = Fraction(1, 1000)
        track.codec_context.subtitle_header = _ASS_HEADER.encode()
        track.disposition = (0x1 if default else 0) | (0x40 if forced else 0)
        for start, end, words in cues:
            said = SubtitleSet.create(f"0,0,Default,,0,0,0,,{words}".encode(), 0, round((end - start) * 1000))
            packet: Packet = track.codec_context.encode_subtitle(said)
            packet.stream, packet.time_base = track, clock
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = round((end - start) * 1000)
            packets.append(packet)
    return path


def rewrap(path: Path, target: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write the frames of a video, as they are coded, into the container that the suffix of `target` names."""
    import av

    with av.open(str(path)) as old, av.open(str(target), "w") as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, stream
                out.mux(packet)
    return target


@contextmanager
def _again(path: Path) -> Iterator[tuple[Any, list[Any]]]:
    """Write a media file once more with a track added: yields the new file and the list of its packets."""
    import av

    whole = path.with_name(f"again-{path.name}")
    with av.open(str(path)) as old, av.open(str(whole), "w") as out:
        out.metadata.update(old.metadata)
        tracks = {s.index: out.add_stream_from_template(s, opaque=True) for s in old.streams}  # no encoder needed
        for stream in old.streams:
            tracks[stream.index].disposition = int(stream.disposition)
        packets: list[Any] = []
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = tracks[packet.stream.index]
                packets.append(packet)
        yield out, packets
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    whole.replace(path)


_ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _clock_frame(t: float, size: tuple[int, int], text: str, scenes: Sequence[tuple[float, Color]]) -> Image.Image:
    ground = next((color for start, color in reversed(scenes) if t >= start - 1e-6), None)
    image = picture(text or f"{int(t) // 60}:{t % 60:04.1f}", size, ground or (90, 110, 130))
    draw = ImageDraw.Draw(image)
    steps = round(t * 10)
    cell = size[0] / 14
    for bit in range(14):
        on = (steps >> (13 - bit)) & 1
        draw.rectangle((bit * cell, 0, (bit + 1) * cell - 1, size[1] // 6), fill=(235,) * 3 if on else (16,) * 3)
    return image


def time_of(frame: np.ndarray) -> float:
    """The second, to 0.1, that a frame of `draw_video` [H, W, 3] tells by its bars; the frame upright, at
    any size."""
    height, width = frame.shape[:2]
    row = frame[height // 12, :, :].mean(axis=1)
    cell = width / 14
    bits = [row[int((bit + 0.5) * cell)] > 128 for bit in range(14)]
    return sum(1 << (13 - i) for i, on in enumerate(bits) if on) / 10


def draw_pdf(
    path: Path,
    pages: Sequence[str] = ("Hello",),
    size: tuple[float, float] = (420, 595),
    image: Image.Image | None = None,
    rotation: int = 0,
    password: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a PDF with one page a text, and `image` below the text of each page; returns the path."""
    import io

    import pymupdf

    path.parent.mkdir(parents=True, exist_ok=True)
    document = pymupdf.open()
    for text in pages:
        page = document.new_page(width=size[0], height=size[1])
        page.insert_textbox(pymupdf.Rect(36, 36, size[0] - 36, size[1] - 36), text, fontsize=12)
        if image is not None:
            stream = io.BytesIO()
            image.save(stream, "PNG")
            page.insert_image(pymupdf.Rect(36, size[1] / 2, size[0] - 36, size[1] - 36), stream=stream.getvalue())
        page.set_rotation(rotation)
    if metadata:
        document.set_metadata(metadata)
    secret = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password, "owner_pw": password}
    document.save(str(path), **(secret if password else {}))
    document.close()
    return path
