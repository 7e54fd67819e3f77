"""A video file opened by FFmpeg: which containers, and what it complains of in plain words.

Built around one place where FFmpeg is let at a file, as a local file and as no playlist. Knows nothing of
streams, frames and seconds (`frame_stream.py`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.media.kinds import MediaError, from_os_error, require

if TYPE_CHECKING:
    from av.container import InputContainer

# Containers of people's videos. Not playlists (HLS, DASH, concat): those make FFmpeg open other files and
# addresses.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,dv,h264,hevc,m4v,mpegtsraw"
_DISCARD_ALL = 48  # AVDISCARD_ALL


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The file; every error of FFmpeg inside becomes a `MediaError`."""
    import av

    require(path, "video")
    av.logging.set_level(None)
    try:
        container = av.open(
            os.fspath(path),
            metadata_errors="ignore",
            options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"},
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _reason(error, path) from error
    try:
        yield container
    except av.FFmpegError as error:
        raise _reason(error, path) from error
    finally:
        container.close()


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
    lost = _mp4_index_missing(path)
    if lost:
        return MediaError("the video is cut off: its index at the end is missing; copy it again", "cut off")
    return MediaError("the video is damaged; no decoder makes sense of it", "damaged")


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
