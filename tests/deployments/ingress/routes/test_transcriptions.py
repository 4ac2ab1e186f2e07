"""`/v1/audio/transcriptions` and `/translations`: formats, refusals and events, with the built-in recogniser."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx
import pytest
from ray import serve

import settings as configuration
from bench.transcription import words
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store
from deployments.transcription import Transcription
from models.audio import join
from models.transcription.recording import MAX_BYTES
from tests.deployments.apps import client, fault
from tests.models.sounds import encoded
from tests.models.transcription.said import said, silence

pytest.importorskip("moonshine_voice", reason="there are wheels for Linux, and for macOS 15 on Apple silicon")

ARGS = {
    "models": {
        "listen": {"engine": "moonshine", "checkpoint": "builtin:listen"},
    },
    "routes": {"whisper-*": "listen"},
    "image_enabled": False,
    "image_search_enabled": False,
    "voice_enabled": False,
}


@cache
def hello() -> bytes:
    """Two sentences with silence around them."""
    first, second = said("The weather is very nice today."), said("Good morning.")
    return encoded(join([silence(1), first, silence(3), second, silence(1)]))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("atelier")
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(home)})
    bound = serve.deployment(Transcription).bind("listen", settings.models["listen"])
    handle = serve.run(bound, name="listen", _local_testing_mode=True)
    return create_app(Atelier(settings, ModelCalls(settings, {"listen": handle}), open_store(settings), None))


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as caller:
        yield caller


async def listen(
    http: httpx.AsyncClient, data: bytes | None = None, route: str = "transcriptions", **fields: Any
) -> httpx.Response:
    file = ("a.wav", hello() if data is None else data)
    return await http.post(f"/v1/audio/{route}", files={"file": file}, data={"model": "whisper-1", **fields})


async def test_every_format_says_the_same(http: httpx.AsyncClient) -> None:
    whole = (await listen(http)).raise_for_status().json()
    assert "weather" in words(whole["text"])
    assert whole["usage"] == {"type": "duration", "seconds": pytest.approx(6.5, abs=1.5)}
    text = await listen(http, response_format="text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text == f"{whole['text']}\n"
    verbose = (await listen(http, response_format="verbose_json")).json()
    assert verbose["text"] == whole["text"] == " ".join(each["text"] for each in verbose["segments"])
    assert (verbose["task"], verbose["language"]) == ("transcribe", "english")
    assert verbose["duration"] == whole["usage"]["seconds"]
    assert "words" not in verbose
    first, last = verbose["segments"]
    assert (first["id"], last["id"]) == (0, 1)
    assert 0.5 < first["start"] < first["end"] < last["start"] < last["end"] < verbose["duration"]
    assert first["seek"] == round(first["start"] * 100)
    assert 0 <= first["no_speech_prob"] < 0.5
    assert first["avg_logprob"] <= 0


async def test_subtitles_have_a_cue_for_each_passage(http: httpx.AsyncClient) -> None:
    srt = (await listen(http, response_format="srt")).text
    number, times, line, empty, *_ = srt.splitlines()
    assert (number, empty) == ("1", "")
    assert re.fullmatch(r"00:00:0[01],\d{3} --> 00:00:0\d,\d{3}", times)
    assert "weather" in words(line)
    assert srt.count(" --> ") == 2
    vtt = (await listen(http, response_format="vtt")).text
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    assert re.findall(r"^[^\d\n].*$", vtt, re.MULTILINE)[1:] == re.findall(r"^[^\d\n].*$", srt, re.MULTILINE)


async def test_the_events_are_the_text(http: httpx.AsyncClient) -> None:
    whole = (await listen(http)).json()["text"]
    answer = await listen(http, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) == 2
    assert "".join(event["delta"] for event in deltas) == done["text"] == whole
    assert done["type"] == "transcript.text.done"
    usage = done["usage"]
    assert usage["type"] == "tokens"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_token_details"]["audio_tokens"] > 40


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_silence_is_no_words(http: httpx.AsyncClient, response_format: str) -> None:
    answer = await listen(http, encoded(silence(2)), response_format=response_format)
    assert answer.status_code == 200
    if response_format in ("json", "verbose_json"):
        assert answer.json()["text"] == ""
        assert answer.json().get("segments", []) == []
    else:
        assert answer.text.strip() == ("WEBVTT" if response_format == "vtt" else "")
    stream = await listen(http, encoded(silence(2)), stream="true")
    assert [json.loads(each)["text"] for each in re.findall(r"^data: (.*)$", stream.text, re.MULTILINE)] == [""]


async def test_what_the_model_cannot_use_is_named_and_changes_nothing(http: httpx.AsyncClient) -> None:
    told: dict[str, Any] = {
        "prompt": "Ann",
        "keywords[]": ["Ann", "Bob"],
        "temperature": "0.3",
        "languages[]": ["en", "fr"],
    }
    for more in (told, told | {"stream": "true"}):
        answer = await listen(http, **more)
        assert answer.status_code == 200
        named = set(answer.headers["x-ignored-parameters"].split(", "))
        assert named == {"languages", "prompt", "keywords", "temperature"}


async def test_how_speech_and_silence_are_distinguished_can_be_changed(http: httpx.AsyncClient) -> None:
    async def start(**fields: Any) -> float:
        answer = await listen(http, response_format="verbose_json", **fields)
        found: float = answer.raise_for_status().json()["segments"][0]["start"]
        return found

    as_parts = {"type": "server_vad", "prefix_padding_ms": "600"}
    early = await start(**{f"chunking_strategy[{name}]": value for name, value in as_parts.items()})
    late = await start(chunking_strategy=json.dumps({"type": "server_vad", "prefix_padding_ms": 0}))
    assert early < await start(chunking_strategy="auto") < late


@pytest.mark.parametrize(
    ("fields", "code", "param", "said"),
    [
        ({"language": "ko"}, "invalid_value", "language", "allowed are auto, en (english)"),
        ({"languages[]": ["ko"]}, "invalid_value", "languages", "allowed are auto, en (english)"),
        ({"language": "en", "languages[]": ["fr"]}, "invalid_value", "languages", "is not among them"),
        ({"response_format": "diarized_json"}, "invalid_value", "response_format", "'verbose_json'"),
        ({"timestamp_granularities[]": ["word"]}, "invalid_value", "timestamp_granularities", "verbose_json"),
        (
            {"timestamp_granularities[]": ["word"], "response_format": "verbose_json"},
            "invalid_value",
            "timestamp_granularities",
            "no times of words",
        ),
        ({"timestamp_granularities[]": ["minute"]}, "invalid_value", "timestamp_granularities[0]", "'segment'"),
        ({"stream": "true", "response_format": "srt"}, "invalid_value", "stream", "json and text"),
        ({"include[]": ["logprobs"]}, "unsupported_parameter", "include", "logprobs"),
        ({"include[]": ["speakers"]}, "invalid_value", "include[0]", "'logprobs'"),
        ({"known_speaker_names[]": ["Ann"]}, "unsupported_parameter", "known_speaker_names", "not told apart"),
        ({"temperature": "1.5"}, "integer_above_max_value", "temperature", "1"),
        ({"chunking_strategy": "manual"}, "invalid_value", "chunking_strategy", "auto"),
        ({"promt": "a"}, "unsupported_parameter", "promt", "prompt may be meant"),
    ],
)
async def test_each_mistake_names_its_field(
    http: httpx.AsyncClient, fields: dict[str, Any], code: str, param: str, said: str
) -> None:
    answer = await listen(http, encoded(silence(0.5)), **fields)
    assert fault(answer) == (400, code, param)
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "invalid_audio"),
        (b"this is text", 400, "invalid_audio"),
        (b"fLaC" + bytes(50), 400, "invalid_audio"),
        (bytes(MAX_BYTES + 1), 413, "file_too_large"),
        (bytes(MAX_BYTES + 2**21), 413, "file_too_large"),
    ],
    ids=["nothing", "text", "damaged", "too large", "much too large"],
)
@pytest.mark.parametrize("route", ["transcriptions", "translations"])
async def test_a_file_that_is_no_recording_is_named(
    http: httpx.AsyncClient, route: str, data: bytes, status: int, code: str
) -> None:
    assert fault(await listen(http, data, route)) == (status, code, "file")


async def test_a_file_is_needed_and_has_to_be_one(http: httpx.AsyncClient) -> None:
    missing = await http.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"x": b""})
    assert fault(missing) == (400, "missing_required_parameter", "file")
    as_json = await http.post("/v1/audio/transcriptions", json={"model": "whisper-1", "file": "UklGRg=="})
    assert fault(as_json)[::2] == (400, "file")


async def test_the_built_in_model_says_that_it_translates_nothing(http: httpx.AsyncClient) -> None:
    answer = await listen(http, route="translations")
    assert fault(answer) == (400, "invalid_value", "model")
    assert "translates nothing" in answer.json()["error"]["message"]


async def test_another_model_is_not_found_and_those_that_listen_are_named(http: httpx.AsyncClient) -> None:
    answer = await listen(http, encoded(silence(0.5)), model="nobody")
    assert fault(answer) == (404, "model_not_found", "model")
    assert "there are: listen" in answer.json()["error"]["message"]


async def test_the_seconds_that_were_heard_are_counted(app: Any, http: httpx.AsyncClient) -> None:
    def counted() -> float:
        page = app.state.atelier.metrics.render({}, {}).decode()
        found = re.search(r'^atelier_heard_seconds_total\{alias="listen".*\} (\S+)$', page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = counted()
    await listen(http, encoded(silence(2)))
    assert counted() == pytest.approx(before + 2, abs=0.01)
