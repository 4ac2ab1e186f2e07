"""Sound written, whole and in parts."""

from __future__ import annotations

import io
import tracemalloc
from typing import get_args

import av
import numpy as np
import pytest
import soundfile

from models.errors import InvalidInput
from models.speech.audio import read_audio, read_voice
from models.speech.audio_writing import MEDIA_TYPES, AudioFormat, AudioStream, write_audio, write_sample
from models.tasks import Audio
from tests.models.sounds import encoded, sine, vowels

COMMENT = "AI-generated speech"


@pytest.mark.parametrize("audio_format", ["mp3", "flac", "wav", "opus"])
@pytest.mark.parametrize("rate", [22_050, 24_000])
def test_what_is_written_can_be_read_again(audio_format: AudioFormat, rate: int) -> None:
    audio = sine(440, seconds=3, rate=rate)
    read = read_audio(write_audio(audio, audio_format))
    assert len(read.samples) / read.rate == pytest.approx(3, abs=0.1)
    spectrum = np.abs(np.fft.rfft(read.samples))
    assert spectrum.argmax() * read.rate / len(read.samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("audio_format", "magic"),
    [("mp3", b"ID3"), ("flac", b"fLaC"), ("wav", b"RIFF"), ("opus", b"OggS"), ("aac", b"\xff\xf1")],
)
def test_a_written_file_is_what_its_format_says(audio_format: AudioFormat, magic: bytes) -> None:
    assert write_audio(sine(), audio_format).startswith(magic)


def test_opus_is_opus() -> None:
    with soundfile.SoundFile(io.BytesIO(write_audio(sine(), "opus"))) as file:
        assert (file.format, file.subtype, file.channels) == ("OGG", "OPUS", 1)


def test_pcm_is_24_khz_mono_16_bits_without_a_header() -> None:
    samples = np.frombuffer(write_audio(sine(440, 1.0, rate=22_050), "pcm"), "<i2")
    assert len(samples) == 24_000
    assert samples.max() == pytest.approx(0.3 * 32767, rel=0.01)


def test_aac_decodes_to_the_same_tone() -> None:
    with av.open(io.BytesIO(write_audio(sine(440, 2.0), "aac"))) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("aac", 24_000, 1)
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * 24_000 / len(samples) == pytest.approx(440, abs=1)


def test_samples_beyond_full_scale_are_cut_not_wrapped() -> None:
    loud = Audio(np.full(2400, 1.7, np.float32), 24_000)
    assert set(np.frombuffer(write_audio(loud, "pcm"), "<i2")) == {32767}


@pytest.mark.parametrize("audio_format", get_args(AudioFormat))
def test_the_same_sound_gives_the_same_bytes(audio_format: AudioFormat) -> None:
    assert write_audio(sine(), audio_format) == write_audio(sine(), audio_format)


def test_a_minute_is_written_as_opus_whole() -> None:
    with soundfile.SoundFile(io.BytesIO(write_audio(sine(seconds=60), "opus"))) as file:
        assert file.frames / file.samplerate == pytest.approx(60, abs=0.1)


def test_an_unknown_format_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(InvalidInput) as caught:
        write_audio(sine(), "midi")  # type: ignore[arg-type]
    assert caught.value.param == "response_format"
    assert all(known in str(caught.value) for known in get_args(AudioFormat))


def test_every_format_has_its_media_type() -> None:
    assert set(MEDIA_TYPES) == set(get_args(AudioFormat))


def streamed(audio: Audio, audio_format: AudioFormat, seconds: float = 1.0) -> list[bytes]:
    """The parts of a file that is made of sentences of so many seconds."""
    stream = AudioStream(audio_format, COMMENT)
    size = round(seconds * audio.rate)
    parts = [
        stream.add(Audio(audio.samples[begin : begin + size], audio.rate))
        for begin in range(0, len(audio.samples), size)
    ]
    return [*parts, stream.end()]


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    """The samples that FFmpeg finds in a file, and their rate."""
    with av.open(io.BytesIO(data)) as container:
        to_floats = av.AudioResampler(format="flt", layout="mono")
        blocks = [
            block.to_ndarray().ravel() for frame in container.decode(audio=0) for block in to_floats.resample(frame)
        ]
        return np.concatenate(blocks), container.streams.audio[0].rate


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_a_streamed_file_is_the_whole_sound(audio_format: AudioFormat) -> None:
    parts = streamed(sine(440, seconds=3), audio_format)
    samples, rate = decoded(b"".join(parts))
    assert len(samples) / rate == pytest.approx(3, abs=0.1)
    assert np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("audio_format", get_args(AudioFormat))
def test_most_of_a_sentence_can_be_sent_before_the_next_is_spoken(audio_format: AudioFormat) -> None:
    parts = streamed(sine(440, seconds=3), audio_format)
    assert len(parts[0]) > 0.6 * sum(map(len, parts)) / 3


@pytest.mark.parametrize("audio_format", get_args(AudioFormat))
def test_what_has_been_sent_of_a_stream_is_not_kept(audio_format: AudioFormat) -> None:
    stream, sentence, sent, held = AudioStream(audio_format), sine(), 0, []
    tracemalloc.start()
    try:
        for _ in range(40):
            sent += len(stream.add(sentence))
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        stream.end()
    assert held[-1] - held[9] < sent / 15, "of thirty sentences not even three are held"


def test_a_streamed_wav_tells_no_length_and_is_read_to_its_end() -> None:
    data = b"".join(streamed(sine(440, seconds=3), "wav"))
    assert data[4:8] == b"\xff" * 4
    samples, rate = soundfile.read(io.BytesIO(data))
    assert len(samples) / rate == 3


def test_a_streamed_mp3_is_read_to_its_end_by_libsndfile_too() -> None:
    samples, rate = soundfile.read(io.BytesIO(b"".join(streamed(sine(440, seconds=3), "mp3"))))
    assert len(samples) / rate == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "wav"])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_comment_is_in_the_metadata(audio_format: AudioFormat, is_streamed: bool) -> None:
    data = b"".join(streamed(sine(), audio_format)) if is_streamed else write_audio(sine(), audio_format, COMMENT)
    with av.open(io.BytesIO(data)) as container:
        told = {**container.metadata, **container.streams.audio[0].metadata}
    assert {name.lower(): value for name, value in told.items()}["comment"] == COMMENT


def test_without_a_comment_a_file_has_none() -> None:
    with av.open(io.BytesIO(write_audio(sine(), "mp3"))) as container:
        assert "comment" not in container.metadata


@pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_a_sample_near_the_limit_of_clipping_can_be_used_once_it_is_kept(container: str, subtype: str) -> None:
    voice = vowels(80, seconds=3, rate=48_000)
    loud = encoded(Audio(voice.samples * 2.6, voice.rate), container, subtype)
    assert np.abs(read_voice(loud).samples).max() > 1.2
    kept = read_voice(write_sample(loud))
    assert np.abs(kept.samples).max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("rate", "kept_at"), [(16_000, 16_000), (48_000, 48_000), (192_000, 48_000)])
def test_a_sample_is_kept_at_its_own_rate_up_to_48_khz(rate: int, kept_at: int) -> None:
    kept = read_voice(write_sample(encoded(sine(440, seconds=2, rate=rate), "FLAC")))
    assert (kept.rate, kept.seconds) == (kept_at, 2)


def test_a_recording_that_could_not_be_used_makes_no_sample() -> None:
    with pytest.raises(InvalidInput, match="silent") as caught:
        write_sample(encoded(sine(level=0.0001)), "audio_sample")
    assert caught.value.param == "audio_sample"
