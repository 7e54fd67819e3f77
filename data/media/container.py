"""Opens media files with FFmpeg: allowed containers, the streams that players play, and errors in plain words.

Built around the only place where FFmpeg opens a video or sound file: as a local file, never as a playlist. Knows
nothing of frames and seconds (`stream_clock.py`, `frame_stream.py`).
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

# No playlists (HLS, DASH, concat): they make FFmpeg open other files and addresses.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,dv,h264,hevc,m4v,mpegtsraw"
SOUND_CONTAINERS = "mp3,flac,wav,w64,aac,amr,aiff,caf,ac3,eac3,ape,wv,tta,au"
_DISCARD_ALL = 48  # AVDISCARD_ALL
_DEFAULT, _ATTACHED, _THUMBNAILS = 0x1, 0x400, 0x800  # AV_DISPOSITION_…
_STILLS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")


@contextmanager
def open_container(path: Path, sound: bool = False) -> Iterator[InputContainer]:
    """Opens a file; every error of FFmpeg in the block becomes a `MediaError`. `sound` allows sound files too."""
    import av

    try:
        require(path, "video", also_allowed=SOUND if sound else None)
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
    """Returns the video stream that players play: the default stream, else the largest; None without one.

    Album covers and chapter thumbnails do not count. A motion JPEG beside a larger stream is a camera's preview,
    whatever its flags say.
    """
    videos = [s for s in container.streams.video if not is_cover(s) and not int(s.disposition) & _THUMBNAILS]
    pixels = {s.index: s.codec_context.width * s.codec_context.height for s in videos if s.codec_context}
    largest = max(pixels.values(), default=0)

    def order(stream: Any) -> tuple[bool, bool, int, int]:
        if stream.codec_context is None:
            return False, False, 0, 0
        size = pixels[stream.index]
        preview = size < largest and stream.codec_context.name in _STILLS
        return True, not preview, int(stream.disposition) & _DEFAULT, size

    return max(videos, key=order, default=None)


def packets_of(container: InputContainer, *tracks: Any) -> Iterator[Any]:
    """Yields the packets of tracks in the order of the file. Raises an error of FFmpeg where the file is damaged.

    In a damaged FLV, TS or MPEG file FFmpeg finds new streams while it reads. After the last packet PyAV 18 looks them
    up in the list of streams made at opening and raises IndexError, which is taken as the end of the file.
    """
    with suppress(IndexError):
        yield from container.demux(*tracks)


def is_cover(stream: Any) -> bool:
    """Whether a stream is an album cover."""
    return bool(int(stream.disposition) & _ATTACHED)


def sound_track(container: InputContainer) -> AudioStream | None:
    """Returns the sound track that players play, of those with a decoder: the default track, else the first; None
    without one."""
    tracks = [track for track in container.streams.audio if track.codec_context is not None]
    return next((t for t in tracks if int(t.disposition) & _DEFAULT), tracks[0] if tracks else None)


def read_only(container: InputContainer, track: Any) -> None:
    """Makes the demuxer discard every track but one; other tracks of an MP4 are then not even read."""
    stream: Any
    for stream in container.streams:
        if stream.index != track.index:
            with suppress(AttributeError):  # PyAV before 18
                stream.discard = _DISCARD_ALL


def _reason(error: Exception, path: Path) -> MediaError:
    """An error of FFmpeg as a `MediaError` in plain words."""
    import av

    if isinstance(error, MemoryError):
        return MediaError("decoding it needs more memory than allowed", "memory")
    if isinstance(error, (av.DecoderNotFoundError, av.DemuxerNotFoundError, av.PatchWelcomeError)):
        return MediaError("its format has no decoder here; convert it to MP4 (H.264)", "unsupported")
    # FFmpeg's codes overlap with the system's: a parser's -1 reads as "not permitted". Read the file itself.
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as os_error:
        return from_os_error(os_error)
    if is_being_written(path):
        return _unfinished()
    if _mp4_index_missing(path):
        return MediaError("the video is cut off: its index at the end is missing; copy it again", "cut off")
    return MediaError("the video is damaged; no decoder makes sense of it", "damaged")


def _unfinished() -> MediaError:
    return MediaError("the video is still being written; it is read when it is complete", "being written")


def is_being_written(path: Path) -> bool:
    """Whether another program writes the file: by a lease (Linux, local disks), else by a size or date that changes
    within half a second, which is checked only for files modified just now."""
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
    """Whether a read lease is refused, as it is while the file is open for writing. Raises `OSError` without
    support for leases."""
    import fcntl
    import signal

    # A writer that opens the file during the lease triggers a signal: SIGURG, which is ignored by default.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def is_cut_off(path: Path) -> bool:
    """Whether a Matroska file ends before its segment, or the segment has no stated length."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        at = 0
        for _ in range(8):
            file.seek(at)
            head = file.read(16)
            name_bytes = 9 - head[0].bit_length() if head and head[0] else 0
            size_field = head[name_bytes:]
            if not 1 <= name_bytes <= 4 or not size_field or not size_field[0]:
                return True
            count = 9 - size_field[0].bit_length()
            number = int.from_bytes(size_field[:count], "big") & (1 << 7 * count) - 1
            body = at + name_bytes + count
            if head[:name_bytes] == b"\x18\x53\x80\x67":  # Segment
                return number == (1 << 7 * count) - 1 or body + number > size
            at = body + number
    return True


def _mp4_index_missing(path: Path) -> bool:
    """Whether the top-level boxes of an MP4 or MOV include no complete `moov`."""
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
                    return bool(at + length > size)
                if length == 1 and len(head) == 16:
                    length = struct.unpack(">Q", head[8:])[0]
                if length < 8:
                    return bool(length == 0)
                at += length
    except OSError:
        return False
    return False
