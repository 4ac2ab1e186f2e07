"""`/v1/audio/speech` through the official SDKs, against the running server."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI

from models.speech.audio_writing import MEDIA_TYPES
from tests.api.conftest import fault
from tests.api.node import Node
from tests.api.test_voice import median_pitch, recording

TEXT = "Good morning to all of you. The meeting begins at nine, and nobody should be late. It ends at noon."
LONG = " ".join([TEXT] * 30)


def body(**fields: object) -> dict[str, object]:
    return {"model": "tts-1", "input": TEXT, "voice": "alloy", **fields}


def test_the_sdk_speaks_and_saves_an_mp3(sdk: OpenAI, tmp_path: Path) -> None:
    sdk.audio.speech.create(model="gpt-4o-mini-tts", voice="coral", input=TEXT).write_to_file(tmp_path / "a.mp3")
    samples, rate = soundfile.read(tmp_path / "a.mp3")
    assert 4 < len(samples) / rate < 10


def test_the_sdk_streams_to_a_file(sdk: OpenAI, tmp_path: Path) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1-hd", voice="onyx", input=TEXT, response_format="wav"
    ) as answer:
        answer.stream_to_file(tmp_path / "a.wav")
    assert median_pitch((tmp_path / "a.wav").read_bytes()) == pytest.approx(85, rel=0.06)


@pytest.mark.parametrize("audio_format", MEDIA_TYPES)
def test_every_format_comes_with_its_type(http: httpx.Client, audio_format: str) -> None:
    answer = http.post("/v1/audio/speech", json=body(response_format=audio_format))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPES[audio_format]  # type: ignore[index]
    if audio_format == "pcm":
        samples = np.frombuffer(answer.content, "<i2")
        assert 4 < len(samples) / 24_000 < 10
    elif audio_format != "aac":  # libsndfile reads none
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        assert 4 < len(samples) / rate < 10


def seconds_to_the_first_byte(http: httpx.Client, **fields: object) -> float:
    begun = time.monotonic()
    with http.stream("POST", "/v1/audio/speech", json=body(**fields)) as answer:
        next(answer.iter_raw())
        return time.monotonic() - begun


def test_a_stream_begins_long_before_its_end(http: httpx.Client) -> None:
    http.post("/v1/audio/speech", json=body())
    all_is_spoken = seconds_to_the_first_byte(http, input=LONG, response_format="flac")  # which comes whole
    assert seconds_to_the_first_byte(http, input=LONG, response_format="pcm") < all_is_spoken / 2


def test_whole_and_streamed_events_are_the_same_sound(http: httpx.Client) -> None:
    whole = http.post("/v1/audio/speech", json=body(response_format="pcm")).content
    answer = http.post("/v1/audio/speech", json=body(response_format="pcm", stream_format="sse"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    assert events[-1]["type"] == "speech.audio.done"
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_divides_the_time_and_leaves_the_pitch(http: httpx.Client, speed: float) -> None:
    usual, fast = (
        http.post("/v1/audio/speech", json=body(voice="echo", speed=each, response_format="wav")).content
        for each in (1.0, speed)
    )
    seconds = [len(samples) / rate for samples, rate in (soundfile.read(io.BytesIO(data)) for data in (usual, fast))]
    assert seconds[1] == pytest.approx(seconds[0] / speed, rel=0.15)
    assert median_pitch(fast) == pytest.approx(115, rel=0.07)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": ""}, "string_below_min_length", "input"),
        ({"input": "a" * 4097}, "string_above_max_length", "input"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"voice": None}, "missing_required_parameter", "voice"),
        ({"voice": "nobody"}, "invalid_value", "voice"),
        ({"voice": {"id": "voice_0"}}, "invalid_value", "voice"),
        ({"voice": {"name": "alloy"}}, "missing_required_parameter", "voice.id"),
        ({"response_format": "midi"}, "invalid_value", "response_format"),
        ({"speed": 0.2}, "integer_below_min_value", "speed"),
        ({"speed": 4.1}, "integer_above_max_value", "speed"),
        ({"speed": "fast"}, "invalid_type", "speed"),
        ({"stream_format": "webrtc"}, "invalid_value", "stream_format"),
        ({"language": "Klingon"}, "invalid_value", "language"),
        ({"voices": "joy"}, "unsupported_parameter", "voices"),
    ],
)
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_each_mistake_is_a_400_before_the_first_byte(
    http: httpx.Client, fields: dict[str, object], code: str, param: str, stream_format: str
) -> None:
    answer = http.post("/v1/audio/speech", json=body(**{"stream_format": stream_format, **fields}))
    assert fault(answer) == (400, code, param)


def test_an_unknown_model_and_one_that_does_not_speak_are_refused(sdk: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        sdk.audio.speech.create(model="no-such-model", voice="alloy", input="hello")
    with pytest.raises(openai.BadRequestError):
        sdk.audio.speech.create(model="blip", voice="alloy", input="hello")


def test_a_voice_made_with_the_sdk_speaks_and_goes(sdk: OpenAI, tmp_path: Path) -> None:
    (tmp_path / "ann.wav").write_bytes(recording(pitch=190))
    agreed = sdk.audio.voice_consents.create(name="Ann", language="en-US", recording=tmp_path / "ann.wav")
    assert agreed.id in [each.id for each in sdk.audio.voice_consents.list(limit=1)]
    made = sdk.audio.voices.create(name="Ann's voice", consent=agreed.id, audio_sample=tmp_path / "ann.wav")
    spoken = sdk.audio.speech.create(model="tts-1", voice={"id": made.id}, input=TEXT, response_format="wav")
    assert median_pitch(spoken.read()) == pytest.approx(190, rel=0.06)
    sdk.audio.voices.delete(made.id)
    assert sdk.audio.voice_consents.delete(agreed.id).deleted
    with pytest.raises(openai.BadRequestError, match="there is no voice"):
        sdk.audio.speech.create(model="tts-1", voice={"id": made.id}, input=TEXT)


def test_node_makes_a_voice_and_speaks_in_it(node: Node, tmp_path: Path) -> None:
    (tmp_path / "ann.wav").write_bytes(recording(pitch=190))
    sample = str(tmp_path / "ann.wav")
    agreed = node.call("audio.voiceConsents.create", {"name": "N", "language": "en"}, streams={"recording": sample})
    fields = {"name": "Node's voice", "consent": agreed["answer"]["id"]}
    made = node.call("audio.voices.create", fields, streams={"audio_sample": sample})["answer"]
    asked = {"model": "tts-1", "voice": {"id": made["id"]}, "input": TEXT, "response_format": "wav"}
    spoken = base64.b64decode(node.call("audio.speech.create", asked)["answer"])
    assert median_pitch(spoken) == pytest.approx(190, rel=0.06)
    refused = node.call("audio.speech.create", {**asked, "voice": "nobody"})["error"]
    assert (refused["status"], refused["param"]) == (400, "voice")


def test_who_hangs_up_stops_the_voice(http: httpx.Client) -> None:
    asked = {"input": LONG, "speed": 0.5}
    all_is_spoken = seconds_to_the_first_byte(http, response_format="flac", **asked)
    seconds_to_the_first_byte(http, response_format="wav", **asked)
    begun = time.monotonic()
    http.post("/v1/audio/speech", json=body()).raise_for_status()
    assert time.monotonic() - begun < all_is_spoken / 2
