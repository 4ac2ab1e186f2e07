"""Objects under keys that clients choose belong to the API key that stored them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.apps import fault
from tests.deployments.ingress.routes.voices.speakers import KEYS, SAMPLE, client, make_app

URL = "/v1/r2/voice/generate"
LINE = {"text": "Good morning to all of you.", "voice": "nova"}


def spoken_as(key: str) -> dict[str, str]:
    return {"text": "Hello.", "ref_audio_key": key, "ref_text": "hello"}


async def test_a_recording_speaks_for_the_key_that_stored_it_and_for_admins(
    tmp_path: Path, store_environment: dict[str, str]
) -> None:
    app, _ = make_app(tmp_path, {**KEYS, **store_environment})
    async with client(app, "ann-key") as ann, client(app, "bob-key") as bob, client(app, "root-key") as root:
        key = (await ann.post(URL, json={**LINE, "key": "AI/VOICE/ann.mp3"})).raise_for_status().json()["key"]
        for own in (ann, root):
            assert (await own.post(URL, json=spoken_as(key))).status_code == 200
        refused = await bob.post(URL, json=spoken_as(key))
        assert fault(refused) == (404, "R2_KEY_NOT_FOUND", "ref_audio_key")
        none = await bob.post(URL, json=spoken_as("AI/VOICE/no1.mp3"))
        assert refused.text.replace("ann", "no1") == none.text, "nobody finds out whose recordings there are"


async def test_speech_that_was_stored_without_a_key_is_its_callers_own(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "bob-key") as bob:
        key = (await ann.post(URL, json=LINE)).raise_for_status().json()["key"]
        assert (await ann.post(URL, json=spoken_as(key))).status_code == 200
        assert fault(await bob.post(URL, json=spoken_as(key)))[0] == 404


async def test_what_another_key_stored_is_not_overwritten(tmp_path: Path) -> None:
    app, store = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "bob-key") as bob, client(app, "root-key") as root:
        asked = {**LINE, "key": "voice/refs/ann.mp3"}
        (await ann.post(URL, json=asked)).raise_for_status()
        first = store.get(asked["key"])
        assert fault(await bob.post(URL, json={**asked, "text": "Good bye."})) == (403, "forbidden", "key")
        assert store.get(asked["key"]) == first
        assert (await root.post(URL, json={**asked, "text": "Good bye."})).status_code == 200
        assert store.get(asked["key"]) != first
        assert fault(await bob.post(URL, json=asked))[0] == 403
        assert (await ann.post(URL, json=asked)).status_code == 200, "it is still the key's that stored it first"


@pytest.mark.parametrize("shared", [False, True])
async def test_recordings_from_elsewhere_are_for_admins_unless_they_are_shared(tmp_path: Path, shared: bool) -> None:
    app, store = make_app(tmp_path, {**KEYS, "VOICE_SHARED": str(int(shared))})
    store.put("AI/VOICE/alice.mp3", SAMPLE)
    store.put("AI/VOICE/alice.txt", b"what Alice says")
    async with client(app, "ann-key") as ann, client(app, "root-key") as root:
        for speaker in ({"text": "Hello.", "user_id": "alice"}, spoken_as("AI/VOICE/alice.mp3")):
            assert (await root.post(URL, json=speaker)).status_code == 200
            answer = await ann.post(URL, json=speaker)
            assert answer.status_code == (200 if shared else 404), answer.text
            assert shared or "VOICE_SHARED" in answer.json()["error"]["message"]
        unknown = await ann.post(URL, json={"text": "Hello.", "user_id": "nobody"})
        assert fault(unknown) == (404, "R2_KEY_NOT_FOUND", "user_id")
        assert fault(await ann.post(URL, json={**LINE, "key": "AI/VOICE/alice.mp3"})) == (403, "forbidden", "key")
    assert store.get("AI/VOICE/alice.mp3") == SAMPLE


async def test_what_was_stored_while_the_server_was_open_is_everybodys(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path)
    async with client(app) as anybody:
        asked = {**LINE, "key": "voice/generated/hello.mp3"}
        for _ in range(2):
            (await anybody.post(URL, json=asked)).raise_for_status()
    closed, _ = make_app(tmp_path, KEYS)
    async with client(closed, "ann-key") as ann, client(closed, "bob-key") as bob:
        assert (await ann.post(URL, json=asked)).status_code == 200
        assert (await bob.post(URL, json=spoken_as(asked["key"]))).status_code == 200


async def test_a_recording_may_lie_where_older_clients_keep_it(tmp_path: Path) -> None:
    app, store = make_app(tmp_path)
    store.put("voice/refs/ref.mp3", SAMPLE)
    async with client(app) as http:
        asked = {**spoken_as("voice/refs/ref.mp3"), "key": "voice/generated/hello.mp3"}
        answer = await http.post(URL, json=asked)
        assert (answer.status_code, answer.json()) == (200, {"key": asked["key"]})
    assert store.exists(asked["key"])


async def test_of_two_keys_that_choose_one_free_object_at_once_one_gets_it(tmp_path: Path) -> None:
    app, _ = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "bob-key") as bob:
        asked = {**LINE, "key": "voice/refs/new.mp3"}

        async def store(http: httpx.AsyncClient) -> httpx.Response:
            return await http.post(URL, json=asked)

        answers = await asyncio.gather(store(ann), store(bob))
        assert sorted(answer.status_code for answer in answers) == [200, 403]
        winner, loser = (ann, bob) if answers[0].status_code == 200 else (bob, ann)
        assert (await winner.post(URL, json=spoken_as(asked["key"]))).status_code == 200
        assert (await loser.post(URL, json=spoken_as(asked["key"]))).status_code == 404


async def test_an_owners_record_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    app, store = make_app(tmp_path, KEYS)
    async with client(app, "ann-key") as ann, client(app, "root-key") as root:
        asked: dict[str, Any] = {**LINE, "key": "voice/refs/ann.mp3"}
        (await ann.post(URL, json=asked)).raise_for_status()
        store.put(f".owners/{asked['key']}", b"{")
        assert fault(await ann.post(URL, json=asked))[0] == 403
        assert (await root.post(URL, json=asked)).status_code == 200
