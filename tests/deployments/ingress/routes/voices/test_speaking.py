"""What is spoken in voices from recordings, and what may stand in a line."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from models.speech.audio import read_audio
from tests.deployments.apps import fault
from tests.deployments.ingress.routes.voices.speakers import SAMPLE, client, make_app, pitch
from tests.models.sounds import encoded, vowels


async def test_recordings_in_the_store_speak_in_both_dialects(
    tmp_path: Path, store_environment: dict[str, str]
) -> None:
    app, store = make_app(tmp_path, store_environment)
    await asyncio.to_thread(store.put, "AI/VOICE/alice.mp3", encoded(vowels(190), "MP3", "MPEG_LAYER_III"))
    await asyncio.to_thread(store.put, "AI/VOICE/alice.txt", "\ufeffwhat Alice says".encode())
    async with client(app) as http:
        for speaker in (
            {"user_id": "alice"},
            {"ref_audio_key": "AI/VOICE/alice.mp3", "ref_text": "what Alice says"},
        ):
            asked = {"text": "Good morning to all of you.", "language": "English", **speaker}
            key = (await http.post("/v1/r2/voice/generate", json=asked)).raise_for_status().json()["key"]
            assert key.startswith("AI/VOICE/voice/generated/")
            assert key.endswith(".mp3")
            assert pitch(await asyncio.to_thread(store.get, key)) == pytest.approx(190, rel=0.06)
        asked = {"text": "Hello.", "user_id": "alice", "key": "AI/VOICE/mine/a.mp3"}
        assert (await http.post("/v1/r2/voice/generate", json=asked)).json() == {"key": "AI/VOICE/mine/a.mp3"}
        assert await asyncio.to_thread(store.exists, "AI/VOICE/mine/a.mp3")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({}, 400, "missing_required_parameter", "ref_audio_key"),
        ({"ref_audio_key": "AI/VOICE/good.mp3"}, 400, "missing_required_parameter", "ref_text"),
        ({"ref_audio_key": "AI/VOICE/good.mp3", "ref_text": " "}, 400, "missing_required_parameter", "ref_text"),
        ({"ref_audio_key": "AI/VOICE/good.mp3", "ref_text": ""}, 400, "missing_required_parameter", "ref_text"),
        ({"ref_audio_key": "AI/VOICE/good.mp3", "ref_text": "x", "user_id": "good"}, 400, "invalid_value", "user_id"),
        ({"user_id": "good", "ref_text": "x"}, 400, "invalid_value", "ref_text"),
        ({"user_id": "good", "voice": "nova"}, 400, "invalid_value", "voice"),
        ({"user_id": "nobody"}, 404, "R2_KEY_NOT_FOUND", "user_id"),
        ({"user_id": "textless"}, 404, "R2_KEY_NOT_FOUND", "user_id"),
        ({"user_id": "empty"}, 502, "R2_TEXT_EMPTY", "user_id"),
        ({"user_id": "latin"}, 502, "R2_TEXT_DECODE_FAILED", "user_id"),
        ({"user_id": "broken"}, 400, "invalid_audio", "user_id"),
        ({"user_id": "../secret"}, 400, "INVALID_KEY", "user_id"),
        ({"user_id": "large"}, 400, "file_too_large", "user_id"),
        ({"ref_audio_key": "AI/VOICE/none.mp3", "ref_text": "x"}, 404, "R2_KEY_NOT_FOUND", "ref_audio_key"),
        ({"ref_audio_key": "uploads/i/x.mp3", "ref_text": "x"}, 400, "INVALID_KEY", "ref_audio_key"),
        ({"ref_audio_key": "AI/VOICE/broken.mp3", "ref_text": "x"}, 400, "invalid_audio", "ref_audio_key"),
        ({"user_id": "good", "key": "elsewhere/a.mp3"}, 400, "INVALID_KEY", "key"),
        ({"user_id": "good", "key": "AI/VOICE/../a.mp3"}, 400, "INVALID_KEY", "key"),
        ({"voice": "nobody"}, 400, "invalid_value", "voice"),
        ({"user_id": "good", "language": "Klingon"}, 400, "invalid_value", "language"),
        ({"user_id": "good", "languages": "English"}, 400, "unsupported_parameter", "languages"),
    ],
)
async def test_each_mistake_in_a_stored_line_has_its_code(
    tmp_path: Path, fields: dict[str, str], status: int, code: str, param: str
) -> None:
    app, store = make_app(tmp_path)
    for name, text in (("good", b"text"), ("empty", b"  "), ("latin", b"\xff\xfe\xfa"), ("broken", b"text")):
        store.put(f"AI/VOICE/{name}.mp3", b"no sound" if name == "broken" else SAMPLE)
        store.put(f"AI/VOICE/{name}.txt", text)
    store.put("AI/VOICE/textless.mp3", SAMPLE)
    store.put("AI/VOICE/large.mp3", bytes(11 << 20))
    async with client(app) as http:
        answer = await http.post("/v1/r2/voice/generate", json={"text": "Hello.", **fields})
        assert fault(answer) == (status, code, param)
        assert "/store" not in answer.text
    assert not list(store.keys("AI/VOICE/voice/"))


async def seconds(http: httpx.AsyncClient, path: str, **sent: Any) -> float:
    return read_audio((await http.post(path, **sent)).raise_for_status().content).seconds


async def test_brackets_are_spoken_on_openais_route_and_are_stage_directions_on_the_other(
    http: httpx.AsyncClient,
) -> None:
    speech = {"model": "voice", "voice": "alloy", "response_format": "wav"}
    form = {"voice": "alloy", "response_format": "wav"}
    whole, without = "Call (four one five) five five five.", "Call five five five."
    spoken = await seconds(http, "/v1/audio/speech", json={**speech, "input": whole})
    shorter = await seconds(http, "/v1/audio/speech", json={**speech, "input": without})
    assert spoken > shorter + 0.5
    assert await seconds(http, "/v1/voice/generate", data={**form, "text": whole}) == pytest.approx(shorter, abs=0.2)


@pytest.mark.parametrize("text", ["...", "😊", "(—)", " "])
@pytest.mark.parametrize("audio_format", ["wav", "mp3", "flac"])
async def test_a_piece_without_a_word_is_a_short_silence(http: httpx.AsyncClient, text: str, audio_format: str) -> None:
    asked = {"model": "voice", "voice": "alloy", "input": text, "response_format": audio_format}
    with av.open(io.BytesIO((await http.post("/v1/audio/speech", json=asked)).raise_for_status().content)) as container:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert 0.15 < len(samples) / 24_000 < 0.3
    assert np.abs(samples.astype(float)).max() < 1e-3
    refused = await http.post("/v1/voice/generate", data={"text": text, "voice": "alloy"})
    assert fault(refused)[::2] == (400, "text")


async def test_instructions_that_no_voice_follows_are_left_out_and_named(http: httpx.AsyncClient) -> None:
    asked = {"model": "voice", "voice": "alloy", "input": "Hello.", "instructions": "Speak like a pirate."}
    answer = await http.post("/v1/audio/speech", json=asked)
    assert (answer.status_code, answer.headers["x-ignored-parameters"]) == (200, "instructions")


@pytest.mark.parametrize("marked", [True, False])
async def test_spoken_files_say_that_they_were_generated_unless_they_must_not(tmp_path: Path, marked: bool) -> None:
    app, _ = make_app(tmp_path, {} if marked else {"VOICE_MARKED": "0"})
    async with client(app) as http:
        for text in ("Hello.", "One sentence that is long enough. And another sentence after it."):
            asked = {"model": "voice", "input": text, "voice": "alloy"}
            data = (await http.post("/v1/audio/speech", json=asked)).content
            with av.open(io.BytesIO(data)) as container:
                assert container.metadata.get("comment") == ("AI-generated speech" if marked else None)


async def test_events_end_with_what_was_read_and_spoken(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path)
    async with client(app) as http:
        asked = {"model": "voice", "input": "A sentence that is spoken well. " * 3, "voice": "alloy"}
        answer = await http.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["input_tokens"] == len(asked["input"]) / 4
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] > 20
