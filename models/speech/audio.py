"""Recordings into sound, checked before an engine gets it (docs/http-api.md, "Voices and consents").

They come as MP3, WAV, FLAC, Ogg, M4A, AAC or WebM (`models.audio`).
"""

from __future__ import annotations

import io

import numpy as np

from models.audio import FFMPEG_FORMATS, MAX_RATE, MIN_RATE, damaged, damages, invalid_audio, sniff
from models.tasks import Audio

MAX_BYTES = 10 * 1024 * 1024
MIN_SECONDS, MAX_SECONDS = 0.5, 60.0

_SNDFILE = ("mp3", "wav", "flac", "ogg")
_MAX_CHANNELS = 8
_SILENCE = 0.003  # RMS of a 20 ms frame: -50 dB below full scale
_MIN_SOUNDING_SECONDS = 0.3
_MAX_CLIPPED_SHARE = 0.005
_MAX_LOSSY_CLIPPED_SHARE = 0.01


def read_audio(data: bytes, param: str | None = None) -> Audio:
    """The recording, mixed down to mono, at its own rate.

    Raises:
        InvalidInput: more than 10 MiB, of no kind that is read here, damaged, or not 0.5 to 60 s long.
    """
    kind = sniff(data, MAX_BYTES, param)
    return _decode(data, kind, param)


def read_voice(data: bytes, param: str | None = None) -> Audio:
    """The recording of a speaker: what `read_audio` gives, neither silent nor clipped.

    Raises:
        InvalidInput: as `read_audio`, or silent, or clipped; the message says what to do about it.
    """
    kind = sniff(data, MAX_BYTES, param)
    audio = _decode(data, kind, param)
    seconds = _sounding_seconds(audio)
    if seconds < _MIN_SOUNDING_SECONDS:
        raise invalid_audio(
            f"the recording is silent: {seconds:.1f} s of it can be heard, at least {_MIN_SOUNDING_SECONDS:g} s are "
            "needed; record again, closer to the microphone or louder",
            param,
        )
    share, allowed = _clipped_share(audio.samples, lossy=kind not in ("wav", "flac"))
    if share > allowed:
        raise invalid_audio(
            f"the recording is clipped: {100 * share:.1f} % of it is cut off, {100 * allowed:g} % may be; "
            "record again with a lower input level",
            param,
        )
    return audio


def _decode(data: bytes, kind: str, param: str | None) -> Audio:
    try:
        samples, rate = _by_sndfile(data) if kind in _SNDFILE else _by_ffmpeg(data, kind)
    except damages() as error:
        raise damaged(kind, param) from error
    seconds = len(samples) / rate
    if seconds > MAX_SECONDS:
        raise invalid_audio(f"the recording is longer than {MAX_SECONDS:g} s; cut out its clearest part", param)
    if seconds < MIN_SECONDS:
        raise invalid_audio(
            f"the recording lasts {seconds:.2f} s; {MIN_SECONDS:g} to {MAX_SECONDS:g} s are allowed, 5 to 15 best",
            param,
        )
    if not np.isfinite(samples).all():
        raise invalid_audio("the recording holds samples that are not numbers", param)
    return Audio(samples.mean(axis=1, dtype=np.float32), rate)


def _by_sndfile(data: bytes) -> tuple[np.ndarray, int]:
    """Samples [n, channels], no more than tell that there are too many, and their rate."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        rate = int(file.samplerate)
        if not (MIN_RATE <= rate <= MAX_RATE and file.channels <= _MAX_CHANNELS):
            raise ValueError("no recording of a voice is like that")
        # A header may promise any length: read what is allowed and one sample more, never what it says.
        samples = file.read(int(MAX_SECONDS * rate) + 1, dtype="float32", always_2d=True)
    return samples, rate


def _by_ffmpeg(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    """The same, of what only FFmpeg reads."""
    import av

    with av.open(io.BytesIO(data), format=FFMPEG_FORMATS[kind], metadata_errors="replace") as container:
        if not container.streams.audio:
            raise ValueError("there is no sound in it")
        stream = container.streams.audio[0]
        if stream.codec_context is None or not MIN_RATE <= (stream.rate or 0) <= MAX_RATE:
            raise ValueError("nothing here can decode it")
        rate = stream.rate
        to_floats = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        blocks: list[np.ndarray] = []
        read = 0
        for frame in container.decode(stream):
            for block in to_floats.resample(frame):
                blocks.append(block.to_ndarray()[0])
                read += len(blocks[-1])
            if read > MAX_SECONDS * rate:
                break
    return np.concatenate([*blocks, np.empty(0, np.float32)])[:, None], rate


def _sounding_seconds(audio: Audio) -> float:
    size = max(1, audio.rate // 50)
    samples = audio.samples - audio.samples.mean()
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return float((np.sqrt(np.square(frames).mean(axis=1)) > _SILENCE).sum()) * size / audio.rate


def _clipped_share(samples: np.ndarray, lossy: bool) -> tuple[float, float]:
    """The share of samples that are cut off, and the share allowed.

    A clipped wave is flat where it is cut. MP3 and Ogg do not keep it flat: they swing beyond full level there.
    """
    level = np.abs(samples)
    peak = float(level.max())
    if lossy:
        return float((level > 0.95).mean()) if peak > 1.03 else 0.0, _MAX_LOSSY_CLIPPED_SHARE
    if peak < 0.5:
        return 0.0, _MAX_CLIPPED_SHARE
    flat = (level[1:] > 0.99 * peak) & (np.abs(np.diff(samples)) < 1e-4)
    runs = flat[1:] & flat[:-1]
    return float(runs.mean()), _MAX_CLIPPED_SHARE
