"""Tiny real media for tests, drawn on the spot: photographs of a sort, videos that show their own time, PDFs.

Everything is made by the encoders that people's own files come from (Pillow, FFmpeg through PyAV, MuPDF), so
a test reads real containers. Nothing here knows what a test wants to prove.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    gps (lat, lon in degrees). `save` goes to `Image.save`.
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
) -> bytes:
    exif = Image.Exif()
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


def _clock_frame(
    t: float, size: tuple[int, int], text: str, scenes: Sequence[tuple[float, Color]]
) -> Image.Image:
    ground = next((color for start, color in reversed(scenes) if t >= start - 1e-6), None)
    image = picture(text or f"{int(t) // 60}:{t % 60:04.1f}", size, ground or (90, 110, 130))
    draw = ImageDraw.Draw(image)
    steps = round(t * 10)
    cell = size[0] / 14
    for bit in range(14):
        on = (steps >> (13 - bit)) & 1
        draw.rectangle(
            (bit * cell, 0, (bit + 1) * cell - 1, size[1] // 6), fill=(235,) * 3 if on else (16,) * 3
        )
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
            page.insert_image(
                pymupdf.Rect(36, size[1] / 2, size[0] - 36, size[1] - 36), stream=stream.getvalue()
            )
        page.set_rotation(rotation)
    if metadata:
        document.set_metadata(metadata)
    secret = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password, "owner_pw": password}
    document.save(str(path), **(secret if password else {}))
    document.close()
    return path
