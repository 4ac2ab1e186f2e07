"""Sound files told apart by their bytes, and what all do with sound once it is decoded.

Sound inside the house is `models.tasks.Audio`: mono float32 samples in -1 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from models.errors import InvalidInput
from models.tasks import Audio

FFMPEG_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mp3": "mp3",
        "wav": "wav",
        "flac": "flac",
        "ogg": "ogg",
        "m4a": "mov",
        "aac": "aac",
        "webm": "matroska",
    }
)
"""The kinds that are read here, as FFmpeg calls them. Named, since it would take some for playlists."""
ALLOWED: Final = "MP3, WAV, FLAC, Ogg, M4A, AAC and WebM"
MIN_RATE, MAX_RATE = 4_000, 192_000


def sniff(data: bytes, max_bytes: int, param: str | None) -> str:
    """The kind of a recording, one of `FFMPEG_FORMATS`; `param` is what errors call it.

    Raises:
        InvalidInput: it is empty, larger than `max_bytes`, or of a kind that is not read here.
    """
    if not data:
        raise invalid_audio("the recording is empty (0 bytes)", param)
    if len(data) > max_bytes:
        raise InvalidInput(
            f"the recording has {len(data) / 2**20:.1f} MiB; at most {max_bytes // 2**20} MiB are accepted",
            param,
            "file_too_large",
        )
    kind = container(data)
    if kind not in FFMPEG_FORMATS:
        raise invalid_audio(f"the recording is {kind or 'not a sound file that we know'}; allowed are {ALLOWED}", param)
    return kind


def container(data: bytes) -> str:
    """The kind of file by its first bytes, "" for an unknown one."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "m4a"
    for magic, kind in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"ID3", "mp3"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"FORM", "AIFF"),
        (b"#!AMR", "AMR"),
    ):
        if data.startswith(magic):
            return kind
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return "mp3" if data[1] & 0x06 else "aac"
    return ""


def suffix_of(data: bytes) -> str:
    """`.mp3`, `.m4a` …, by a recording's first bytes."""
    return f".{container(data)}"


def resample(audio: Audio, rate: int) -> Audio:
    """The same sound at another rate, low-passed first where the rate falls (soxr, high quality)."""
    if audio.rate == rate:
        return audio
    import soxr

    return Audio(soxr.resample(audio.samples.astype(np.float32, copy=False), audio.rate, rate), rate)


def join(pieces: list[Audio]) -> Audio:
    """One sound after the other; all of one rate."""
    return Audio(np.concatenate([piece.samples for piece in pieces]), pieces[0].rate)


def damages() -> tuple[type[Exception], ...]:
    """What the libraries raise about a file that is not what it seems."""
    import av
    import soundfile

    return soundfile.LibsndfileError, av.FFmpegError, RuntimeError, ValueError, MemoryError


def damaged(kind: str, param: str | None) -> InvalidInput:
    """The error of a file of which only the first bytes are right."""
    return invalid_audio(f"the recording looks like {kind.upper()}, but it is truncated or damaged", param)


def invalid_audio(message: str, param: str | None) -> InvalidInput:
    """A refused recording."""
    return InvalidInput(message, param, "invalid_audio")
