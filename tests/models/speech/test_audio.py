"""Recordings, read and refused."""

from __future__ import annotations

import io
import time

import av
import numpy as np
import pytest

from models.audio import join, resample
from models.errors import InvalidInput
from models.speech.audio import MAX_BYTES, read_audio, read_voice
from models.tasks import Audio
from tests.models.sounds import encoded, sine, vowels


def recorded(audio: Audio, container: str, codec: str) -> bytes:
    """The sound as a file of FFmpeg's."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=audio.rate, layout="mono")
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=audio.rate)
        frame = av.AudioFrame.from_ndarray(audio.samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = audio.rate, 0
        for fitting in resampler.resample(frame):
            file.mux(stream.encode(fitting))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def silent_film() -> bytes:
    """An MP4 of one black frame."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def refused(data: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_voice(data, "ref_audio")
    assert caught.value.param == "ref_audio"
    return caught.value


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "PCM_U8"),
        ("RF64", "PCM_16"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_each_kind_of_recording_is_read_as_mono(container: str, subtype: str | None, channels: int) -> None:
    audio = read_audio(encoded(sine(440), container, subtype, channels))
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert len(audio.samples) / audio.rate == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(audio.samples))
    assert spectrum.argmax() * audio.rate / len(audio.samples) == pytest.approx(440, abs=2)
    assert np.abs(audio.samples).max() == pytest.approx(0.3, abs=0.03)


def test_an_mp3_with_an_id3_tag_is_read() -> None:
    data = encoded(sine(), "MP3")
    assert read_audio(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + data).rate == 24_000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"this is a text file, named voice.mp3", "not a sound file"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(100), "damaged"),
        (b"\x1aE\xdf\xa3" + bytes(100), "damaged"),
        (b"\xff\xf1\x50\x80" + bytes(100), "damaged"),
        (b"FORM" + bytes(100), "AIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a sound file"),
        (b"RIFF\x00\x00\x00\x00WAVE" + bytes(50), "damaged"),
        (b"fLaC" + bytes(100), "damaged"),
        (b"OggS" + bytes(100), "damaged"),
        (b"\xff\xfb" + bytes(100), "damaged"),
        (b"\xff", "not a sound file"),
    ],
)
def test_what_is_no_recording_is_refused_by_its_bytes(data: bytes, said: str) -> None:
    error = refused(data)
    assert error.code == "invalid_audio"
    assert said in str(error)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("ipod", "aac", 44_100), ("webm", "libopus", 48_000), ("adts", "aac", 24_000), ("matroska", "aac", 44_100)],
)
def test_what_telephones_and_browsers_record_is_read(container: str, codec: str, rate: int) -> None:
    read = read_voice(recorded(sine(440, seconds=2, rate=rate), container, codec))
    assert read.rate == rate
    assert read.seconds == pytest.approx(2, abs=0.1)
    spectrum = np.abs(np.fft.rfft(read.samples))
    assert spectrum.argmax() * rate / len(read.samples) == pytest.approx(440, abs=1)


def test_a_film_without_sound_and_one_of_an_hour_are_refused() -> None:
    assert "damaged" in str(refused(silent_film()))
    assert "longer than 60 s" in str(refused(recorded(sine(seconds=70, rate=24_000), "ipod", "aac")))


@pytest.mark.parametrize(("rate", "channels"), [(50, 1), (655_350, 1), (48_000, 16)])
def test_what_is_no_voices_rate_or_has_a_crowds_channels_is_refused(rate: int, channels: int) -> None:
    assert refused(encoded(sine(seconds=1, rate=rate), channels=channels)).code == "invalid_audio"


def test_a_description_of_a_stream_elsewhere_is_not_followed() -> None:
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio 35004 RTP/AVP 0", "")
    begun = time.monotonic()
    assert refused(b"\xff\xf1\n" + "\n".join(lines).encode()).code == "invalid_audio"
    assert time.monotonic() - begun < 5


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    error = refused(b"RIFF\x00\x00\x00\x00WAVE" + bytes(MAX_BYTES))
    assert (error.code, "10.0 MiB; at most 10 MiB" in str(error)) == ("file_too_large", True)


def test_a_recording_is_half_a_second_to_a_minute_long() -> None:
    assert "0.40 s; 0.5 to 60 s" in str(refused(encoded(sine(seconds=0.4))))
    assert "longer than 60 s" in str(refused(encoded(sine(seconds=60.1, rate=8_000))))
    assert len(read_voice(encoded(sine(seconds=0.5))).samples) == 12_000
    assert len(read_voice(encoded(sine(seconds=60, rate=8_000))).samples) == 480_000


def test_a_header_that_promises_hours_is_not_believed() -> None:
    data = bytearray(encoded(sine(seconds=1)))
    data[40:44] = (2**31 - 2).to_bytes(4, "little")
    assert len(read_audio(bytes(data)).samples) == 24_000


def test_samples_that_are_no_numbers_are_refused() -> None:
    audio = sine()
    audio.samples[100] = np.nan
    assert "not numbers" in str(refused(encoded(audio, subtype="FLOAT")))


@pytest.mark.parametrize("level", [0.0, 0.001])
def test_silence_is_refused_with_what_to_do(level: float) -> None:
    assert "record again, closer to the microphone or louder" in str(refused(encoded(sine(level=level))))


def test_silence_with_one_click_is_still_silence() -> None:
    audio = sine(level=0.0)
    audio.samples[5000:5010] = 0.9
    assert "silent" in str(refused(encoded(audio)))


def test_an_offset_is_no_sound() -> None:
    assert "silent" in str(refused(encoded(Audio(np.full(24_000, 0.2, np.float32), 24_000))))


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_clipping_is_refused_with_what_to_do(container: str) -> None:
    voice = vowels(120)
    clipped = Audio(np.clip(voice.samples * 8, -1, 1), voice.rate)
    assert "lower input level" in str(refused(encoded(clipped, container)))


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_loud_recording_is_not_clipped(container: str) -> None:
    voice = vowels(120)
    read_voice(encoded(Audio(voice.samples * 1.98, voice.rate), container))


@pytest.mark.parametrize("container", ["WAV", "MP3", "OGG"])
def test_a_full_scale_sine_is_not_clipped(container: str) -> None:
    read_voice(encoded(sine(level=1.0), container))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_tone_level_and_length(rate: int) -> None:
    changed = resample(sine(1000, seconds=1), rate)
    assert (len(changed.samples), changed.rate) == (rate, rate)
    assert changed.samples.dtype == np.float32
    expected = sine(1000, seconds=1, rate=rate).samples
    inner = slice(rate // 10, -rate // 10)
    assert np.abs(changed.samples - expected)[inner].max() < 1e-3


def test_resampling_lets_nothing_through_above_half_the_rate() -> None:
    changed = resample(sine(7000, seconds=1, rate=48_000), 8_000)
    assert np.abs(changed.samples[400:-400]).max() < 1e-4


def test_sounds_are_joined_in_order() -> None:
    both = join([sine(level=0.1, seconds=1), sine(level=0.3, seconds=1)])
    assert np.abs(both.samples[:24_000]).max() == pytest.approx(0.1, abs=0.01)
    assert np.abs(both.samples[24_000:]).max() == pytest.approx(0.3, abs=0.01)
