"""A media file opened by FFmpeg: which containers, which of its streams, and complaints in plain words.

Built around one place where FFmpeg is let at a file, as a local file and as no playlist. Knows nothing of
packets, frames and seconds (`stream_clock.py`, `frame_stream.py`).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.media.kinds import SOUND, MediaError, from_os_error, require

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# Containers of people's videos. Not playlists (HLS, DASH, concat): those make FFmpeg open other files and
# addresses.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,dv,h264,hevc,m4v,mpegtsraw"
SOUND_CONTAINERS = "mp3,flac,wav,w64,aac,amr,aiff,caf,ac3,eac3,ape,wv,tta,au"
_DISCARD_ALL = 48  # AVDISCARD_ALL
_DEFAULT, _ATTACHED, _THUMBNAILS = 0x1, 0x400, 0x800  # AV_DISPOSITION_…
_STILLS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")


@contextmanager
def open_container(path: Path, sound: bool = False) -> Iterator[InputContainer]:
    """The file; every error of FFmpeg inside becomes a `MediaError`. With `sound`, sound files too."""
    import av

    try:
        require(path, "video", also=SOUND if sound else None)
    except MediaError as error:
        if error.cause in ("empty", "damaged") and is_being_written(path):
            raise _unfinished() from error
        raise
    av.logging.set_level(None)
    formats = f"{CONTAINERS},{SOUND_CONTAINERS}" if sound else CONTAINERS
    try:
        container = av.open(
            os.fspath(path),
            metadata_errors="ignore",
            options={"format_whitelist": formats, "protocol_whitelist": "file"},
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _reason(error, path) from error
    try:
        yield container
    except av.FFmpegError as error:
        raise _reason(error, path) from error
    finally:
        container.close()


def picture_stream(container: InputContainer) -> Any | None:
    """The picture that players play: the default one, else the largest; None where there is none.

    The cover of an album is no film, nor are the stills of chapters. A motion JPEG beside a larger picture is
    the preview that a camera makes, whatever its flags say.
    """
    films = [s for s in container.streams.video if not is_cover(s) and not int(s.disposition) & _THUMBNAILS]
    pixels = {s.index: s.codec_context.width * s.codec_context.height for s in films if s.codec_context}
    largest = max(pixels.values(), default=0)

    def order(stream: Any) -> tuple[bool, bool, int, int]:
        if stream.codec_context is None:
            return False, False, 0, 0
        size = pixels[stream.index]
        preview = size < largest and stream.codec_context.name in _STILLS
        return True, not preview, int(stream.disposition) & _DEFAULT, size

    return max(films, key=order, default=None)


def is_cover(stream: Any) -> bool:
    """Whether a stream is the cover of an album."""
    return bool(int(stream.disposition) & _ATTACHED)


def sound_track(container: InputContainer) -> AudioStream | None:
    """The sound track that players play, of those that can be decoded here: the default one, else the
    first."""
    tracks = [track for track in container.streams.audio if track.codec_context is not None]
    return next((t for t in tracks if int(t.disposition) & _DEFAULT), tracks[0] if tracks else None)


def read_only(container: InputContainer, wanted: Any) -> None:
    """Let the demuxer leave out every track but one: of an MP4 the others are then not even read."""
    stream: Any
    for stream in container.streams:
        if stream.index != wanted.index:
            with suppress(AttributeError):  # PyAV before 18
                stream.discard = _DISCARD_ALL


def _reason(error: Exception, path: Path) -> MediaError:
    """FFmpeg's complaint in plain words."""
    import av

    if isinstance(error, MemoryError):
        return MediaError("decoding it needs more memory than allowed", "memory")
    if isinstance(error, (av.DecoderNotFoundError, av.DemuxerNotFoundError, av.PatchWelcomeError)):
        return MediaError("its format has no decoder here; convert it to MP4 (H.264)", "unsupported")
    # FFmpeg's codes overlap with the system's: a parser's -1 reads as "not permitted". Ask the file itself.
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as gone:
        return from_os_error(gone)
    if is_being_written(path):
        return _unfinished()
    if _mp4_index_missing(path):
        return MediaError("the video is cut off: its index at the end is missing; copy it again", "cut off")
    return MediaError("the video is damaged; no decoder makes sense of it", "damaged")


def _unfinished() -> MediaError:
    return MediaError("the video is still being written; it is read when it is complete", "being written")


def is_being_written(path: Path) -> bool:
    """True for a file that another program has open for writing, as far as the system tells (Linux, local
    disks); else for one that grows while it is looked at, which only one written to just now can."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if time.time() - before.st_mtime > 600:
                return False
            with suppress(ImportError, AttributeError, OSError):
                return _has_writer(file.fileno())
            if time.time() - before.st_mtime > 2:
                return False
            time.sleep(0.5)
            after = os.fstat(file.fileno())
    except OSError:
        return False
    return (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def _has_writer(descriptor: int) -> bool:
    """Whether a lease to read is refused, which is so while the file is open for writing. Raises `OSError`
    where leases do not exist."""
    import fcntl
    import signal

    # A writer that comes while the lease is held is announced by a signal: by one that nobody minds.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def is_cut_off(path: Path) -> bool:
    """True for a Matroska file that ends before its segment does, or does not say how long that is."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        for _ in range(8):
            file.seek(at)
            head = file.read(16)
            name_bytes = 9 - head[0].bit_length() if head and head[0] else 0
            rest = head[name_bytes:]
            if not 1 <= name_bytes <= 4 or not rest or not rest[0]:
                return True
            count = 9 - rest[0].bit_length()
            number = int.from_bytes(rest[:count], "big") & (1 << 7 * count) - 1
            body = at + name_bytes + count
            if head[:name_bytes] == b"\x18\x53\x80\x67":  # Segment
                return number == (1 << 7 * count) - 1 or body + number > size
            at = body + number
    return True


def _mp4_index_missing(path: Path) -> bool:
    """True for an MP4/MOV whose walk over the top-level boxes meets no `moov`."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0
            for _ in range(1000):
                file.seek(at)
                head = file.read(16)
                if len(head) < 8:
                    return at > 0
                length, name = struct.unpack(">I4s", head[:8])
                if at == 0 and name not in (b"ftyp", b"wide", b"mdat", b"free", b"skip", b"pnot"):
                    return False
                if name == b"moov":
                    return at + length > size
                if length == 1 and len(head) == 16:
                    length = struct.unpack(">Q", head[8:])[0]
                if length < 8:
                    return length == 0
                at += length
    except OSError:
        return False
    return False
