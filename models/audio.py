"""Sound from bytes, and back, with every check a voice needs before an engine hears it (API.md section 1).

Recordings come as MP3, WAV, FLAC or Ogg, told apart by their bytes, never by a name. Sound inside the house is
`models.tasks.Audio`: mono float32 samples in -1 … 1.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np

from models.errors import InvalidInput
from models.tasks import Audio

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

MEDIA_TYPES: dict[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Response format → media type (OPENAI.md section 6)."""

PCM_RATE = 24_000
"""Hz of headerless PCM and of Opus; OpenAI's players expect exactly this."""

MAX_BYTES = 10 * 1024 * 1024
MIN_SECONDS, MAX_SECONDS = 0.5, 60.0

_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_SILENCE = 0.003  # RMS of a 20 ms frame: -50 dB below full scale
_MIN_SOUNDING_SECONDS = 0.3
_MAX_CLIPPED_SHARE = 0.005
_MAX_LOSSY_CLIPPED_SHARE = 0.01


def read_audio(data: bytes, param: str | None = None) -> Audio:
    """The recording, mixed down to mono, at its own rate.

    Raises:
        InvalidInput: more than 10 MiB, not MP3, WAV, FLAC or Ogg, damaged, or not 0.5 to 60 s long.
    """
    kind = _sniff(data, param)
    return _decode(data, kind, param)


def read_voice(data: bytes, param: str | None = None) -> Audio:
    """The recording of a speaker: what `read_audio` gives, neither silent nor clipped.

    Raises:
        InvalidInput: as `read_audio`, or silent, or clipped; the message says what to do about it.
    """
    kind = _sniff(data, param)
    audio = _decode(data, kind, param)
    seconds = _sounding_seconds(audio)
    if seconds < _MIN_SOUNDING_SECONDS:
        raise _invalid(
            f"the recording is silent: {seconds:.1f} s of it can be heard, at least {_MIN_SOUNDING_SECONDS:g} s are "
            "needed; record again, closer to the microphone or louder",
            param,
        )
    share, allowed = _clipped_share(audio.samples, lossy=kind in ("mp3", "ogg"))
    if share > allowed:
        raise _invalid(
            f"the recording is clipped: {100 * share:.1f} % of it is cut off, {100 * allowed:g} % may be; "
            "record again with a lower input level",
            param,
        )
    return audio


def resample(audio: Audio, rate: int) -> Audio:
    """The same sound at another rate, low-passed first where the rate falls (soxr, high quality)."""
    if audio.rate == rate:
        return audio
    import soxr

    return Audio(soxr.resample(audio.samples.astype(np.float32, copy=False), audio.rate, rate), rate)


def check_writable(audio_format: str, param: str | None = "response_format") -> None:
    """Refuse before any work what `write_audio` could not write after it.

    Raises:
        InvalidInput: no format of ours, or `aac` without the extra that brings its encoder.
    """
    if audio_format not in get_args(AudioFormat):
        raise InvalidInput(
            f"{audio_format!r} is no format that can be written; allowed are {', '.join(get_args(AudioFormat))}", param
        )
    if audio_format == "aac" and find_spec("av") is None:
        others = ", ".join(known for known in get_args(AudioFormat) if known != "aac")
        raise InvalidInput(f"this server is installed without the extra `aac`; allowed are {others}", param)


def write_audio(audio: Audio, audio_format: AudioFormat, param: str | None = "response_format") -> bytes:
    """The sound as a file: MP3, Opus in Ogg, AAC in ADTS, FLAC and WAV of 16 bits, or PCM (24 kHz, s16le, no header).

    Opus and PCM are of 24 kHz; the others keep the sound's rate where the format knows it. The same sound gives the
    same bytes, but for Opus, whose container has a random serial number.

    Raises:
        InvalidInput: as `check_writable`.
    """
    check_writable(audio_format, param)
    if audio_format == "pcm":
        return _int16(resample(audio, PCM_RATE)).tobytes()
    if audio_format == "opus":
        return _encode(resample(audio, PCM_RATE), "OGG", "OPUS")
    if audio_format in ("mp3", "aac"):
        audio = audio if audio.rate in _MPEG_RATES else resample(audio, PCM_RATE)
        return _encode(audio, "MP3", "MPEG_LAYER_III") if audio_format == "mp3" else _encode_aac(audio)
    return _encode(audio, audio_format.upper(), "PCM_16")


def join(pieces: list[Audio]) -> Audio:
    """One sound after the other; all of one rate."""
    return Audio(np.concatenate([piece.samples for piece in pieces]), pieces[0].rate)


def _sniff(data: bytes, param: str | None) -> str:
    if not data:
        raise _invalid("the recording is empty (0 bytes)", param)
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            f"the recording has {len(data) / 2**20:.1f} MiB; at most {MAX_BYTES // 2**20} MiB are accepted",
            param,
            "file_too_large",
        )
    kind = _container(data)
    if kind not in ("mp3", "wav", "flac", "ogg"):
        raise _invalid(
            f"the recording is {kind or 'no sound file that we know'}; allowed are MP3, WAV, FLAC and Ogg", param
        )
    return kind


def _container(data: bytes) -> str:
    """The kind of file by its first bytes, "" for an unknown one."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "MP4 (m4a)"
    for magic, kind in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b"ID3", "mp3"),
        (b"\x1aE\xdf\xa3", "WebM or Matroska"),
        (b"FORM", "AIFF"),
        (b"#!AMR", "AMR"),
    ):
        if data.startswith(magic):
            return kind
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return "mp3" if data[1] & 0x06 else "AAC"
    return ""


def _decode(data: bytes, kind: str, param: str | None) -> Audio:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = int(file.samplerate)
            # A header may promise any length: read what is allowed and one sample more, never what it says.
            samples = file.read(int(MAX_SECONDS * rate) + 1, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, MemoryError) as error:
        raise _invalid(f"the recording looks like {kind.upper()}, but it is truncated or damaged", param) from error
    seconds = len(samples) / rate
    if seconds > MAX_SECONDS:
        raise _invalid(f"the recording is longer than {MAX_SECONDS:g} s; cut out its clearest part", param)
    if seconds < MIN_SECONDS:
        raise _invalid(
            f"the recording lasts {seconds:.2f} s; {MIN_SECONDS:g} to {MAX_SECONDS:g} s are allowed, 5 to 15 best",
            param,
        )
    if not np.isfinite(samples).all():
        raise _invalid("the recording holds samples that are no numbers", param)
    return Audio(samples.mean(axis=1, dtype=np.float32), rate)


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


def _int16(audio: Audio) -> np.ndarray:
    scaled: np.ndarray = np.round(np.clip(audio.samples, -1, 1) * 32767)
    return scaled.astype("<i2")


def _encode(audio: Audio, container: str, subtype: str) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", samplerate=audio.rate, channels=1, format=container, subtype=subtype) as file:
        samples = _int16(audio)
        for start in range(0, len(samples), audio.rate):  # libsndfile's Ogg encoders overflow the stack on long writes
            file.write(samples[start : start + audio.rate])
    return buffer.getvalue()


def _encode_aac(audio: Audio) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=audio.rate, layout="mono", options={"b": "96k"})
        frame = av.AudioFrame.from_ndarray(np.clip(audio.samples, -1, 1)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = audio.rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


def _invalid(message: str, param: str | None) -> InvalidInput:
    return InvalidInput(message, param, "invalid_audio")
