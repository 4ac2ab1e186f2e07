"""Sound into files, whole or while it is still being made (docs/http-api.md, "Speech")."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from models.audio import resample
from models.errors import InvalidInput
from models.speech.audio import read_voice
from models.tasks import Audio

if TYPE_CHECKING:
    import av.container
    import soundfile
    from typing_extensions import Buffer

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

MEDIA_TYPES: Final[dict[AudioFormat, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Response format → media type."""

PCM_RATE: Final = 24_000
"""Hz of headerless PCM and of Opus; OpenAI's players expect exactly this."""

_MAX_SAMPLE_RATE: Final = 48_000
_MPEG_RATES: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_UNKNOWN_SIZE: Final = b"\xff\xff\xff\xff"
_SOFTWARE: Final = "Atelier"


def check_writable(audio_format: str, param: str | None = "response_format") -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        InvalidInput: no format of ours.
    """
    if audio_format not in get_args(AudioFormat):
        raise InvalidInput(
            f"{audio_format!r} is not a format that can be written; allowed are {', '.join(get_args(AudioFormat))}",
            param,
        )


def write_audio(audio: Audio, audio_format: AudioFormat, comment: str | None = None) -> bytes:
    """The sound as a file: MP3, Opus in Ogg, AAC in ADTS, FLAC and WAV of 16 bits, or PCM (24 kHz, s16le, no header).

    Opus and PCM are of 24 kHz; the others keep the sound's rate where the format knows it. `comment` goes into the
    file's metadata, which PCM has none of. The same sound gives the same bytes, but for Opus, whose container has a
    random serial number.

    Raises:
        InvalidInput: as `check_writable`.
    """
    check_writable(audio_format)
    writer = _WRITERS[audio_format](audio_format, comment, is_streamed=False)
    writer.write(audio)
    writer.close()
    return writer.sink.take()


def write_sample(data: bytes, param: str | None = None) -> bytes:
    """The recording of a speaker as it is kept: FLAC of at most 48 kHz, which `read_voice` takes whenever it is used.

    Raises:
        InvalidInput: as `read_voice`.
    """
    voice = read_voice(data, param)
    voice = resample(voice, min(voice.rate, _MAX_SAMPLE_RATE))
    peak = float(np.abs(voice.samples).max())
    # MP3 swings beyond full level; cut off there, it would look like a recording that was clipped
    sample = write_audio(Audio(voice.samples / max(1.0, peak), voice.rate), "flac")
    read_voice(sample, param)
    return sample


class AudioStream:
    """A file that is sent while it is made. Where its header tells a length, it tells an unknown one."""

    def __init__(self, audio_format: AudioFormat, comment: str | None = None) -> None:
        """As in `write_audio`. Raises `InvalidInput`."""
        check_writable(audio_format)
        self._writer = _WRITERS[audio_format](audio_format, comment, is_streamed=True)
        self._is_begun = False

    def add(self, audio: Audio) -> bytes:
        """What can be sent now that this has been said too; all sounds are of one rate."""
        self._writer.write(audio)
        return self._new()

    def end(self) -> bytes:
        """What is left to be sent."""
        self._writer.close()
        return self._new()

    def _new(self) -> bytes:
        found = self._writer.sink.take()
        if found and not self._is_begun:
            self._is_begun = True
            found = _of_unknown_length(found)
        return found


class _Sink(io.RawIOBase):
    """A file that is taken away while it is written, so that memory holds only what was not taken yet.

    What a library writes once more where it was taken (a header, when the length is known) is lost.
    """

    def __init__(self) -> None:
        self._rest = io.BytesIO()
        self._taken = 0
        self._at = 0

    def take(self) -> bytes:
        """What was written behind the end of what was taken before."""
        found = self._rest.getvalue()
        self._rest = io.BytesIO()
        self._taken += len(found)
        return found

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        end = self._taken + self._rest.getbuffer().nbytes
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        return self._at

    def write(self, content: Buffer, /) -> int:
        written = memoryview(content).cast("B")
        self._rest.seek(max(0, self._at - self._taken))
        self._rest.write(written[max(0, self._taken - self._at) :])
        self._at += len(written)
        return len(written)


class _Writer(ABC):
    """Sound in, a file out."""

    def __init__(self, audio_format: AudioFormat, comment: str | None, is_streamed: bool) -> None:
        self._format, self._comment, self._is_streamed = audio_format, comment, is_streamed
        self.sink = _Sink()

    @abstractmethod
    def write(self, audio: Audio) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class _Pcm(_Writer):
    def write(self, audio: Audio) -> None:
        self.sink.write(_int16(resample(audio, PCM_RATE)).tobytes())

    def close(self) -> None:
        return


class _Sndfile(_Writer):
    """FLAC and WAV of 16 bits, by libsndfile."""

    def __init__(self, audio_format: AudioFormat, comment: str | None, is_streamed: bool) -> None:
        super().__init__(audio_format, comment, is_streamed)
        self._file: soundfile.SoundFile | None = None

    def write(self, audio: Audio) -> None:
        file = self._file = self._file or self._opened(audio.rate)
        file.write(_int16(audio))
        file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self, rate: int) -> soundfile.SoundFile:
        import soundfile

        file = soundfile.SoundFile(self.sink, "w", rate, 1, "PCM_16", format=self._format.upper())
        if self._comment:
            file.comment, file.software = self._comment, _SOFTWARE
        return file


class _Ffmpeg(_Writer):
    """MP3, Opus and AAC, by FFmpeg."""

    def __init__(self, audio_format: AudioFormat, comment: str | None, is_streamed: bool) -> None:
        super().__init__(audio_format, comment, is_streamed)
        self._container: av.container.OutputContainer | None = None
        self._written = 0

    def write(self, audio: Audio) -> None:
        import av

        if self._format == "opus" or audio.rate not in _MPEG_RATES:
            audio = resample(audio, PCM_RATE)
        container = self._container = self._container or self._opened(audio.rate)
        frame = av.AudioFrame.from_ndarray(np.clip(audio.samples, -1, 1)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = audio.rate, self._written
        self._written += len(audio.samples)
        container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _opened(self, rate: int) -> av.container.OutputContainer:
        import av

        muxer, codec, bits_per_second = _FFMPEG[self._format]
        options = {
            # the header that tells an MP3's length is written last: a stream would begin with one that is wrong
            "mp3": {"write_xing": "0" if self._is_streamed else "1"},
            "opus": {"page_duration": "200000"},  # microseconds that may wait to be sent
            "aac": {"write_id3v2": "1" if self._comment else "0"},
        }[self._format]
        # bitexact: no random serial number
        container = av.open(self.sink, "w", format=muxer, options={**options, "fflags": "+bitexact"})
        if self._comment:
            container.metadata.update(comment=self._comment, encoded_by=_SOFTWARE)
        self._stream = container.add_stream(codec, rate=rate, layout="mono", options={"b": bits_per_second})
        return container


_FFMPEG: Final[dict[AudioFormat, tuple[str, str, str]]] = {
    "mp3": ("mp3", "libmp3lame", "64k"),
    "opus": ("ogg", "libopus", "32k"),
    "aac": ("adts", "aac", "64k"),
}
"""Response format → FFmpeg's muxer, codec, bits per second."""
_WRITERS: Final[dict[AudioFormat, type[_Writer]]] = {
    "mp3": _Ffmpeg,
    "opus": _Ffmpeg,
    "flac": _Sndfile,
    "wav": _Sndfile,
    "aac": _Ffmpeg,
    "pcm": _Pcm,
}


def _of_unknown_length(begin: bytes) -> bytes:
    """The begin of a WAV file with both of its lengths unknown; of other files as it is."""
    at = begin.find(b"data")
    if begin[:4] != b"RIFF" or at < 0:
        return begin
    return begin[:4] + _UNKNOWN_SIZE + begin[8 : at + 4] + _UNKNOWN_SIZE + begin[at + 8 :]


def _int16(audio: Audio) -> np.ndarray:
    scaled: np.ndarray = np.round(np.clip(audio.samples, -1, 1) * 32767)
    return scaled.astype("<i2")
