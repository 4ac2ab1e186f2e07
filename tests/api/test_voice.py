"""Speech, through HTTP."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
import soundfile

from tests.api.conftest import fault


def recording(pitch: float = 120.0, seconds: float = 1.5, level: float = 0.1) -> bytes:
    """A voice-like tone as WAV."""
    t = np.arange(int(24_000 * seconds)) / 24_000
    wave = level * np.sum([np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20)], axis=0)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 24_000, format="WAV")
    return buffer.getvalue()


def median_pitch(data: bytes) -> float:
    import parselmouth

    samples, rate = soundfile.read(io.BytesIO(data))
    pitches = parselmouth.Sound(samples, rate).to_pitch_ac(pitch_floor=60, pitch_ceiling=500)
    voiced = pitches.selected_array["frequency"]
    return float(np.median(voiced[voiced > 0]))


def test_speech_has_the_pitch_of_the_recording(http: httpx.Client) -> None:
    for pitch in (110.0, 210.0):
        answer = http.post(
            "/v1/voice/generate",
            files={"ref_audio": ("ref.wav", recording(pitch))},
            data={"text": "Good morning to all of you.", "response_format": "wav"},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/wav"
        assert abs(median_pitch(answer.content) / pitch - 1) < 0.06


def test_mp3_is_the_default_and_four_languages_speak(http: httpx.Client) -> None:
    for text in ("Hello there.", "안녕하세요.", "こんにちは。", "你好。"):
        answer = http.post("/v1/voice/generate", files={"ref_audio": recording()}, data={"text": text})
        assert answer.headers["content-type"] == "audio/mpeg"
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        assert len(samples) / rate > 0.3


def test_a_configured_voice_speaks_by_name(http: httpx.Client) -> None:
    answer = http.post("/v1/voice/generate", data={"text": "Good morning.", "voice": "nova", "response_format": "wav"})
    assert answer.status_code == 200
    assert median_pitch(answer.content) > 140


@pytest.mark.parametrize(
    ("files", "data", "param"),
    [
        ({}, {"text": "hello"}, "ref_audio"),
        ({"ref_audio": b""}, {"text": "hello"}, "ref_audio"),
        ({"ref_audio": ("voice.mp3", b"this is text")}, {"text": "hello"}, "ref_audio"),
        ({"ref_audio": recording(seconds=0.2)}, {"text": "hello"}, "ref_audio"),
        ({"ref_audio": recording(level=0.00001)}, {"text": "hello"}, "ref_audio"),
        ({"ref_audio": recording()}, {}, "text"),
        ({"ref_audio": recording()}, {"text": "(laughs) [sighs]"}, "text"),
        ({"ref_audio": recording()}, {"text": "a" * 2001}, "text"),
        ({"ref_audio": recording()}, {"text": "hello", "language": "Klingon"}, "language"),
        ({"ref_audio": recording()}, {"text": "hello", "response_format": "midi"}, "response_format"),
        ({"ref_audio": recording()}, {"text": "hello", "voice": "nova"}, "ref_audio"),
        ({}, {"text": "hello", "voice": "nobody"}, "voice"),
    ],
)
def test_each_bad_field_is_a_400_that_names_it(
    http: httpx.Client, files: dict[str, object], data: dict[str, str], param: str
) -> None:
    parts: list[tuple[str, object]] = [*files.items(), *((name, (None, text)) for name, text in data.items())]
    status, _, named = fault(http.post("/v1/voice/generate", files=parts))  # type: ignore[arg-type]
    assert (status, named) == (400, param)
