"""Recordings as browsers and programs send them, and files that are none."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from models.errors import InvalidInput
from models.tasks import Audio
from models.transcription import recording
from models.transcription.recording import RATE, check_recording, read_blocks
from tests.models.sounds import encoded, sine

TONE = sine(440, 2.0)


def packed(container: str, codec: str, audio: Audio = TONE, layout: str = "mono") -> bytes:
    """A sound as FFmpeg writes it."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(audio.samples[None], format="fltp", layout="mono")
        frame.sample_rate = audio.rate
        resampler = av.AudioResampler(stream.format, layout, 48_000, frame_size=stream.codec_context.frame_size or 960)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(each))
        output.mux(stream.encode(None))
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    return np.concatenate([*read_blocks(data, "file"), np.empty(0, np.float32)])


KINDS = {
    "wav": lambda: encoded(TONE, "WAV"),
    "wav of floats": lambda: encoded(TONE, "WAV", "FLOAT"),
    "stereo wav": lambda: encoded(TONE, "WAV", channels=2),
    "flac": lambda: encoded(TONE, "FLAC"),
    "ogg vorbis": lambda: encoded(TONE, "OGG"),
    "mp3": lambda: encoded(TONE, "MP3", "MPEG_LAYER_III"),
    "webm opus, of a browser": lambda: packed("webm", "libopus"),
    "ogg opus": lambda: packed("ogg", "libopus"),
    "m4a": lambda: packed("ipod", "aac"),
    "mp4 in stereo": lambda: packed("mp4", "aac", layout="stereo"),
    "aac": lambda: packed("adts", "aac"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_mono_of_one_rate(kind: str) -> None:
    data = KINDS[kind]()
    check_recording(data, "file")
    samples = read(data)
    assert samples.dtype == np.float32
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.08)
    heard = samples[RATE // 2 : RATE // 2 + RATE]
    assert np.abs(np.fft.rfft(heard)).argmax() == pytest.approx(440, abs=1)
    assert 0.19 < np.sqrt(np.square(heard).mean()) < 0.31  # two channels together are louder than one


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "not a sound file"),
        (b"RIFF\0\0\0\0WAVE", "truncated or damaged"),
        (b"fLaC" + bytes(100), "truncated or damaged"),
        (b"\x1aE\xdf\xa3" + bytes(1000), "truncated or damaged"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n", "not a sound file"),
        (b"#!AMR\n" + bytes(100), "is AMR"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        check_recording(data, "file")
    assert (caught.value.param, caught.value.code) == ("file", "invalid_audio")
    with pytest.raises(InvalidInput, match=said):
        read(data)


def test_a_film_without_sound_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(InvalidInput, match="there is no sound in the recording"):
        check_recording(file.getvalue(), "file")


def test_too_many_bytes_and_too_many_hours_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="at most 25 MiB") as caught:
        check_recording(bytes(recording.MAX_BYTES + 1), "file")
    assert caught.value.code == "file_too_large"
    monkeypatch.setattr(recording, "MAX_SECONDS", 1.0)
    with pytest.raises(InvalidInput, match="longer than"):
        check_recording(encoded(TONE), "file")
    with pytest.raises(InvalidInput, match="longer than"):
        read(packed("webm", "libopus"))


def test_a_recording_without_samples_is_silence() -> None:
    assert len(read(encoded(sine(seconds=0)))) == 0


def test_tags_that_are_not_utf_8_are_no_damage() -> None:
    sound, tag = encoded(TONE, "WAV"), b"INAM\x04\0\0\0Ann\xe9"
    chunk = b"LIST" + (len(tag) + 4).to_bytes(4, "little") + b"INFO" + tag
    tagged = sound[:12] + chunk + sound[12:]
    check_recording(tagged, "file")
    assert len(read(tagged)) / RATE == pytest.approx(2.0, abs=0.01)


def test_packets_that_cannot_be_decoded_are_silence_in_their_place() -> None:
    data = bytearray(packed("adts", "aac"))
    begins = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] & 0xF6 == 0xF0]
    for at in begins[20:23]:
        data[at + 7 : at + 60] = b"\xff" * 53
    assert len(read(bytes(data))) / RATE == pytest.approx(2.0, abs=0.15)
