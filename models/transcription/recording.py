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
            _stream_of(container)
            seconds = (container.duration or 0) / 1_000_000
    except damages() as error:
        raise damaged(kind, param) from error
    if seconds > MAX_SECONDS:
        raise _too_long(param)


def read_blocks(data: bytes, param: str | None = None) -> Iterator[np.ndarray]:
    """The recording as mono float32 samples of 16 kHz, [n] each, some milliseconds to a second long.

    Raises:
        InvalidInput: as `check_recording`, or it is damaged further on.
    """
    kind = sniff(data, MAX_BYTES, param)
    read = 0
    try:
        for block in _decoded(data, kind):
            read += len(block)
            if read > MAX_SECONDS * RATE:
                raise _too_long(param)
            yield block
    except InvalidInput:
        raise
    except damages() as error:
        raise damaged(kind, param) from error


def _decoded(data: bytes, kind: str) -> Iterator[np.ndarray]:
    import av

    with _opened(data, kind) as container:
        stream = _stream_of(container)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        for frame in container.decode(stream):
            for block in resampler.resample(frame):
                yield block.to_ndarray()[0]
        for block in resampler.resample(None):
            yield block.to_ndarray()[0]


def _opened(data: bytes, kind: str) -> Any:
    import av

    return av.open(io.BytesIO(data), format=FFMPEG_FORMATS[kind])


def _stream_of(container: Any) -> Any:
    """The first stream of sound; whatever pictures come with it are left out."""
    if not container.streams.audio:
        raise ValueError("there is no sound in it")
    stream = container.streams.audio[0]
    if stream.codec_context is None or not MIN_RATE <= (stream.rate or 0) <= MAX_RATE:
        raise ValueError("nothing here can decode it")
    return stream


def _too_long(param: str | None) -> InvalidInput:
    return invalid_audio(f"the recording is longer than {MAX_SECONDS / 3600:g} hours; send it in parts", param)
