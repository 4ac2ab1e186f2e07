"""The voice routes over the real app, store and built-in voice, in process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest

from tests.buckets import new_bucket, s3_server
from tests.deployments.apps import fault
from tests.deployments.ingress.routes.voices.speakers import KEYS, SAMPLE, client, consent, make_app, pitch, voice
from tests.models.sounds import encoded, sine, vowels


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
