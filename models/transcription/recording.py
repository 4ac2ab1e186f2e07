"""Recordings to be written down: of any length, read as they are worked on, so that no long one is in memory whole.

They come as MP3, WAV, FLAC, Ogg, M4A (and other MP4), AAC or WebM (`models.audio`), all decoded by FFmpeg.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from models.audio import FFMPEG_FORMATS, MAX_RATE, MIN_RATE, damaged, damages, invalid_audio, sniff
from models.errors import InvalidInput

MAX_BYTES: Final = 25 * 2**20
MAX_SECONDS: Final = 4 * 3600.0
RATE: Final = 16_000
"""Of all sound that recognisers get, Hz."""


def check_recording(data: bytes, param: str | None = None) -> None:
    """Refuse what can be seen at its head; what only decoding can find, `read_blocks` raises.

    Raises:
        InvalidInput: more than 25 MiB, of no kind that is read here, without sound, or longer than 4 hours by its head.
    """
    kind = sniff(data, MAX_BYTES, param)
    try:
        with _opened(data, kind) as container:
            _stream_of(container, param)
            seconds = (container.duration or 0) / 1_000_000
    except InvalidInput:
        raise
    except damages() as error:
        raise damaged(kind, param) from error
    if seconds > MAX_SECONDS:
        raise _too_long(param)


def read_blocks(data: bytes, param: str | None = None) -> Iterator[np.ndarray]:
    """The recording as mono float32 samples of 16 kHz, [n] each, some milliseconds to a second long.

    Raises:
        InvalidInput: as `check_recording`, or most of it cannot be decoded.
    """
    kind = sniff(data, MAX_BYTES, param)
    read = 0
    try:
        for block in _decoded(data, kind, param):
            read += len(block)
            if read > MAX_SECONDS * RATE:
                raise _too_long(param)
            yield block
    except InvalidInput:
        raise
    except damages() as error:
        raise damaged(kind, param) from error


def _decoded(data: bytes, kind: str, param: str | None) -> Iterator[np.ndarray]:
    """What can be decoded, with silence in place of packets between that cannot.

    Raises:
        ValueError: no less packets failed than were decoded.
    """
    import av

    with _opened(data, kind) as container:
        stream = _stream_of(container, param)
        begins = float((stream.start_time or 0) * stream.time_base)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        decoded = failed = given = 0
        has_gap = False
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except (av.InvalidDataError, av.error.UndefinedError):  # some decoders have errors of their own
                failed += 1
                has_gap = True
                continue
            decoded += len(frames) > 0
            for frame in frames:
                if has_gap and frame.time is not None:
                    for silence in _silence(round((frame.time - begins) * RATE) - given):
                        given += len(silence)
                        yield silence
                has_gap = False
                for block in resampler.resample(frame):
                    given += block.samples
                    yield block.to_ndarray()[0]
        if failed >= max(decoded, 1):
            raise ValueError("most of it cannot be decoded")
        for block in resampler.resample(None):
            yield block.to_ndarray()[0]


def _silence(samples: int) -> Iterator[np.ndarray]:
    """So many zeros, a second at a time; none for a negative number."""
    for begin in range(0, samples, RATE):
        yield np.zeros(min(RATE, samples - begin), np.float32)


def _opened(data: bytes, kind: str) -> Any:
    import av

    # tags in Latin-1 are no damage
    return av.open(io.BytesIO(data), format=FFMPEG_FORMATS[kind], metadata_errors="replace")


def _stream_of(container: Any, param: str | None) -> Any:
    """The first stream of sound; whatever pictures come with it are left out."""
    if not container.streams.audio:
        raise invalid_audio("there is no sound in the recording", param)
    stream = container.streams.audio[0]
    if stream.codec_context is None or not MIN_RATE <= (stream.rate or 0) <= MAX_RATE:
        raise ValueError("nothing here can decode it")
    return stream


def _too_long(param: str | None) -> InvalidInput:
    return invalid_audio(f"the recording is longer than {MAX_SECONDS / 3600:g} hours; send it in parts", param)
