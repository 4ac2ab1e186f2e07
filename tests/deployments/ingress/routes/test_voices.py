"""The voice routes over the real app, store and built-in voice, in process."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from ray import serve

import settings as configuration
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store
from deployments.voice import Voice
from models.speech.audio import read_audio
from stores.objects import PublicStore
from tests.buckets import Bucket, new_bucket, s3_server
from tests.deployments.apps import fault
from tests.models.sounds import encoded, praat_pitch, sine, vowels

ARGS = {
    "models": {"voice": {"engine": "espeak", "checkpoint": "builtin:voice"}},
    "image_enabled": False,
    "image_search_enabled": False,
}
KEYS = {"ATELIER_API_KEYS": "ann-key,bob-key", "ATELIER_ADMIN_KEYS": "root-key"}
SAMPLE = encoded(vowels(190))


@pytest.fixture(params=["files", "bucket"])
def store_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "files":
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.environ


def make_app(home: Path, environ: dict[str, str] | None = None) -> tuple[Any, PublicStore]:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(home), **(environ or {})})
    handle = serve.run(
        serve.deployment(Voice).bind("voice", settings.models["voice"]), name="voice", _local_testing_mode=True
    )
    store = open_store(settings)
    return create_app(Atelier(settings, ModelCalls(settings, {"voice": handle}), store, None)), store


def client(app: Any, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app, _ = make_app(tmp_path)
    async with client(app) as made:
        yield made


async def consent(http: httpx.AsyncClient, name: str = "Ann agrees") -> dict[str, Any]:
    answer = await http.post(
        "/v1/audio/voice_consents", data={"name": name, "language": "en-US"}, files={"recording": SAMPLE}
    )
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


async def voice(http: httpx.AsyncClient, name: str = "Ann", sample: bytes = SAMPLE, **fields: str) -> dict[str, Any]:
    given = fields.pop("consent", None) or (await consent(http))["id"]
    answer = await http.post(
        "/v1/audio/voices", data={"name": name, "consent": given, **fields}, files={"audio_sample": sample}
    )
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


def pitch(data: bytes) -> float:
    return praat_pitch(read_audio(data))


async def test_a_voice_made_once_speaks_in_every_route(http: httpx.AsyncClient) -> None:
    made = await voice(http)
    text = "Good morning to all of you."
    for named in (made["id"], made["name"], {"id": made["id"]}):
        spoken = await http.post(
            "/v1/audio/speech", json={"model": "voice", "input": text, "voice": named, "response_format": "wav"}
        )
        assert pitch(spoken.content) == pytest.approx(190, rel=0.06)
    form = {"text": text, "voice": made["id"], "response_format": "wav"}
    assert pitch((await http.post("/v1/voice/generate", data=form)).content) == pytest.approx(190, rel=0.06)
    kept = await http.post("/v1/r2/voice/generate", json={"text": text, "voice": made["id"]})
    assert kept.json()["key"].startswith("AI/VOICE/voice/generated/")


async def test_a_voice_that_was_deleted_is_gone_and_the_second_time_is_a_404(http: httpx.AsyncClient) -> None:
    made = await voice(http)
    url = f"/v1/audio/voices/{made['id']}"
    assert (await http.get(url)).json() == made
    assert (await http.delete(url)).json() == {"id": made["id"], "deleted": True, "object": "audio.voice.deleted"}
    assert fault(await http.delete(url)) == (404, "NOT_FOUND", "voice_id")
    asked = {"model": "voice", "input": "hello", "voice": {"id": made["id"]}}
    assert fault(await http.post("/v1/audio/speech", json=asked)) == (400, "invalid_value", "voice")


async def test_voices_are_listed_with_those_of_the_model_and_what_it_speaks(http: httpx.AsyncClient) -> None:
    made = await voice(http)
    listed = (await http.get("/v1/audio/voices")).json()
    assert listed["data"][0] == made
    alloy = next(each for each in listed["data"] if each["id"] == "alloy")
    assert {"en", "ko", "ja", "zh"} <= {language["code"] for language in alloy["languages"]}
    assert {"id": made["id"], "name": "Ann"} in listed["voices"]
    assert len(listed["voices"]) == len(listed["data"]) == 14


async def test_consents_are_paged_newest_first_renamed_and_deleted(http: httpx.AsyncClient) -> None:
    made = [await consent(http, f"number {number}") for number in range(5)]
    assert made[0]["object"] == "audio.voice_consent"
    seen: list[str] = []
    page = {"last_id": None, "has_more": True}
    while page["has_more"]:
        after = {"after": page["last_id"]} if page["last_id"] else {}
        page = (await http.get("/v1/audio/voice_consents", params={"limit": 2, **after})).json()
        seen += [each["name"] for each in page["data"]]
    assert seen == [f"number {number}" for number in (4, 3, 2, 1, 0)]
    url = f"/v1/audio/voice_consents/{made[0]['id']}"
    renamed = (await http.post(url, json={"name": "the first"})).json()
    assert renamed == {**made[0], "name": "the first"} == (await http.get(url)).json()
    assert (await http.delete(url)).json() == {
        "id": made[0]["id"], "deleted": True, "object": "audio.voice_consent"
    }  # fmt: skip
    assert fault(await http.get(url)) == (404, "NOT_FOUND", "consent_id")
    assert fault(await http.get("/v1/audio/voice_consents", params={"after": made[0]["id"]}))[2] == "after"


async def test_a_consent_stays_while_voices_rest_on_it(http: httpx.AsyncClient) -> None:
    made = await voice(http)
    url = f"/v1/audio/voice_consents/{made['consent']}"
    refused = await http.delete(url)
    assert fault(refused)[:2] == (409, "consent_in_use")
    assert made["id"] in refused.json()["error"]["message"]
    await http.delete(f"/v1/audio/voices/{made['id']}")
    assert (await http.delete(url)).status_code == 200


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({"name": "A"}, {"audio_sample": SAMPLE}, "consent"),
        ({"name": "A", "consent": "cons_0"}, {"audio_sample": SAMPLE}, "consent"),
        ({"name": "A", "consent": ""}, {"audio_sample": SAMPLE}, "consent"),
        ({"name": "A", "consent": "GOOD"}, {}, "audio_sample"),
        ({"name": "A", "consent": "GOOD"}, {"audio_sample": b"text"}, "audio_sample"),
        ({"name": "A", "consent": "GOOD"}, {"audio_sample": encoded(sine(level=0.0001))}, "audio_sample"),
        ({"name": "A", "consent": "GOOD"}, {"audio_sample": encoded(sine(seconds=70, rate=8000))}, "audio_sample"),
        ({"consent": "GOOD"}, {"audio_sample": SAMPLE}, "name"),
        ({"name": " ", "consent": "GOOD"}, {"audio_sample": SAMPLE}, "name"),
        ({"name": "a\u202eb", "consent": "GOOD"}, {"audio_sample": SAMPLE}, "name"),
        ({"name": "alloy", "consent": "GOOD"}, {"audio_sample": SAMPLE}, "name"),
        ({"name": "taken", "consent": "GOOD"}, {"audio_sample": SAMPLE}, "name"),
        ({"name": "A", "consent": "GOOD", "text": " \n"}, {"audio_sample": SAMPLE}, "text"),
        ({"name": "A", "prompt": "a deep voice", "type": "prompt"}, {}, "type"),
        ({"name": "A", "prompt": "a deep voice"}, {}, "prompt"),
        ({"name": "A", "consent": "GOOD", "model": "voice"}, {"audio_sample": SAMPLE}, "model"),
        ({"name": "A", "consent": "GOOD", "texts": "red"}, {"audio_sample": SAMPLE}, "texts"),
    ],
)
async def test_what_makes_no_voice_is_a_400_that_names_the_field_and_leaves_nothing(
    http: httpx.AsyncClient, data: dict[str, str], files: dict[str, bytes], param: str
) -> None:
    good = (await voice(http, "taken"))["consent"]
    data = {name: good if value == "GOOD" else value for name, value in data.items()}
    status, _, named = fault(await http.post("/v1/audio/voices", data=data, files=files))
    assert (status, named) == (400, param)
    stored = [each for each in (await http.get("/v1/audio/voices")).json()["data"] if each["type"] == "audio_sample"]
    assert [each["name"] for each in stored] == ["taken"]


@pytest.mark.parametrize(
    ("data", "recording", "param"),
    [
        ({"name": "A"}, SAMPLE, "language"),
        ({"name": "A", "language": "a language"}, SAMPLE, "language"),
        ({"name": "A", "language": "en"}, b"", "recording"),
        ({"name": "A", "language": "en"}, b"no sound", "recording"),
        ({"language": "en"}, SAMPLE, "name"),
    ],
)
async def test_what_is_no_consent_is_a_400_that_names_the_field(
    http: httpx.AsyncClient, data: dict[str, str], recording: bytes, param: str
) -> None:
    answer = await http.post("/v1/audio/voice_consents", data=data, files={"recording": ("a.mp3", recording)})
    assert (fault(answer)[0], fault(answer)[2]) == (400, param)


async def test_a_voice_belongs_to_the_key_that_made_it_and_admins_reach_all(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "bob-key") as bob, client(app, "root-key") as root:
        made = await voice(ann, "secret")
        url = f"/v1/audio/voices/{made['id']}"
        speech = {"model": "voice", "input": "hello", "voice": made["id"]}
        for own in (ann, root):
            assert (await own.get(url)).json() == made
            assert (await own.post("/v1/audio/speech", json=speech)).status_code == 200
        assert fault(await bob.get(url)) == fault(await bob.delete(url)) == (404, "NOT_FOUND", "voice_id")
        for named in (made["id"], "secret"):
            refused = await bob.post("/v1/audio/speech", json={**speech, "voice": named})
            assert fault(refused) == (400, "invalid_value", "voice")
        assert made["id"] not in (await bob.get("/v1/audio/voices")).text
        assert (await bob.get("/v1/audio/voice_consents")).json()["data"] == []
        theft = {"name": "mine", "consent": made["consent"]}
        stolen = await bob.post("/v1/audio/voices", data=theft, files={"audio_sample": SAMPLE})
        assert fault(stolen) == (400, "invalid_value", "consent")
        assert (await bob.post("/v1/audio/voice_consents/" + made["consent"], json={"name": "x"})).status_code == 404
        assert (await voice(bob, "secret"))["name"] == "secret"  # names are each caller's own
        assert (await root.delete(url)).status_code == 200


async def test_a_name_means_an_admins_own_voice_before_somebody_elses(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "root-key") as root:
        own = await voice(root, "narrator", sample=encoded(vowels(120)))
        anns = await voice(ann, "narrator")
        asked = {"model": "voice", "input": "Good morning to all of you.", "response_format": "wav"}
        for named, hertz in (("narrator", 120), (own["id"], 120), (anns["id"], 190)):
            spoken = await root.post("/v1/audio/speech", json={**asked, "voice": named})
            assert pitch(spoken.content) == pytest.approx(hertz, rel=0.06)
        await root.delete(f"/v1/audio/voices/{own['id']}")
        spoken = await root.post("/v1/audio/speech", json={**asked, "voice": "narrator"})
        assert pitch(spoken.content) == pytest.approx(190, rel=0.06)


async def test_of_two_voices_of_one_name_made_at_once_the_second_is_refused(http: httpx.AsyncClient) -> None:
    given = {"name": "Ann", "consent": (await consent(http))["id"]}
    answers = await asyncio.gather(
        *(http.post("/v1/audio/voices", data=given, files={"audio_sample": SAMPLE}) for _ in range(4))
    )
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [fault(answer) for answer in refused] == [(400, "invalid_value", "name")] * 3


async def test_a_consent_that_is_renamed_when_it_is_gone_is_a_404(tmp_path: Path) -> None:
    app, store = make_app(tmp_path)
    async with client(app) as http:
        made = await consent(http)
        url = f"/v1/audio/voice_consents/{made['id']}"
        answers = await asyncio.gather(http.delete(url), *(http.post(url, json={"name": "new"}) for _ in range(8)))
        assert answers[0].status_code == 200
        for answer in answers[1:]:
            assert answer.status_code == 200 or fault(answer) == (404, "NOT_FOUND", "consent_id")
        assert (await http.get("/v1/audio/voice_consents")).json()["data"] == []
    assert list(store.keys("voices/")) == []


async def test_who_made_and_who_used_a_voice_is_logged_without_their_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = make_app(tmp_path, KEYS)
    serves = logging.getLogger("ray.serve")  # whose handlers Serve has just set
    serves.addHandler(caplog.handler)
    async with client(app, "ann-key") as ann:
        made = await voice(ann)
        asked = {"model": "voice", "input": "hello", "voice": made["id"]}
        used = await ann.post("/v1/audio/speech", json=asked, headers={"x-request-id": "request-7"})
        assert used.status_code == 200
    lines = [record.getMessage() for record in caplog.records if made["id"] in record.getMessage()]
    assert any("was made by" in line for line in lines)
    assert any("speaks in request request-7" in line for line in lines)
    assert "ann-key" not in caplog.text
    serves.removeHandler(caplog.handler)


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


async def test_a_bucket_that_fails_is_a_502_and_nothing_is_said_to_be_kept(tmp_path: Path) -> None:
    with s3_server() as address:
        app, _ = make_app(tmp_path, new_bucket(address).environ)
    async with client(app) as http:
        voice_line = {"text": "Hello.", "voice": "nova"}
        for chosen in ({}, {"key": "AI/VOICE/mine.mp3"}):
            answer = await http.post("/v1/r2/voice/generate", json={**voice_line, **chosen})
            assert fault(answer)[:2] == (502, "R2_UPLOAD_FAILED")
        of_a_user = {"text": "Hello.", "user_id": "ann"}
        assert fault(await http.post("/v1/r2/voice/generate", json=of_a_user))[:2] == (502, "R2_DOWNLOAD_FAILED")


@pytest.mark.parametrize("marked", [True, False])
async def test_spoken_files_say_that_they_were_generated_unless_told_not_to(tmp_path: Path, marked: bool) -> None:
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
