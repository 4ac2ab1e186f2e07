"""A running server whose keys come from its file: made, limited and revoked by the command, obeyed by the SDK."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AuthenticationError, OpenAI, RateLimitError

from cli.environment import ROOT
from stores.api_keys import ApiKeyFile
from tests.api.conftest import fault
from tests.api.pictures import png
from tests.servers import Server, environment, start_server, try_server

PICTURE = {"prompt": "a big red circle", "steps": 2}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that began open and was closed by its first key, `boss`."""
    off = {"IMAGE_SEARCH_ENABLED": "0", "VOICE_ENABLED": "0", "ATELIER_DASHBOARD": "0"}
    started = start_server(tmp_path_factory.mktemp("atelier"), None, **off)
    try:
        started.wait_until_ready()
        assert httpx.get(f"{started.url}/v1/models").status_code == 200
        keys(started, "add", "boss", "--admin")
        soon(lambda: httpx.get(f"{started.url}/v1/models").status_code == 401)
        yield started
    finally:
        started.stop()


def keys(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "keys", *arguments],
        env=environment(server.home),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def soon(happens: Callable[[], bool]) -> None:
    """Wait for what happens within a second on a machine that is not busy."""
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def client(server: Server, key: str, retries: int = 0) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=retries)


def works(server: Server, key: str) -> bool:
    return httpx.get(f"{server.url}/v1/models", headers={"X-API-Key": key}).status_code == 200


def logs(server: Server) -> str:
    return "".join(path.read_text() for path in (server.home / "logs" / "serve").glob("replica_*ingress*.log"))


def test_a_key_works_within_a_second_and_is_worthless_soon(closed: Server) -> None:
    key = keys(closed, "add", "visitor")
    soon(lambda: works(closed, key))
    with client(closed, key) as sdk:
        assert "image-gen" in [model.id for model in sdk.models.list()]
        assert httpx.post(f"{closed.url}/v1/system/load/blip", headers={"X-API-Key": key}).status_code == 403
        keys(closed, "revoke", "visitor")
        soon(lambda: not works(closed, key))
        with pytest.raises(AuthenticationError) as refused:
            sdk.models.list()
    assert refused.value.code == "invalid_api_key"
    assert key not in logs(closed)


@pytest.mark.nightly
def test_the_sdk_waits_as_long_as_the_answer_says_and_then_goes_on(closed: Server) -> None:
    key = keys(closed, "add", "steady", "--rate", "2 per 5 seconds")
    soon(lambda: works(closed, key))
    with client(closed, key) as hasty, client(closed, key, retries=1) as patient:
        with pytest.raises(RateLimitError) as refused:
            for _ in range(10):
                hasty.models.list()
        told = refused.value.response.headers
        assert refused.value.code == "rate_limit_exceeded"
        assert 1 <= int(told["retry-after"]) <= 5
        assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("2", "0")
        assert told["x-ratelimit-reset-requests"] == f"{told['retry-after']}s"
        # Left to itself the SDK would try once more after half a second, in vain, and give up.
        answer = patient.models.with_raw_response.list()
    assert answer.retries_taken == 1
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"


@pytest.mark.nightly
def test_a_stream_is_under_way_until_it_ends(closed: Server) -> None:
    key = keys(closed, "add", "narrow", "--concurrency", "1")
    soon(lambda: works(closed, key))
    headers = {"Authorization": f"Bearer {key}"}
    body = {"prompt": "a big red circle", "stream": True, "partial_images": 3, "steps": 50}
    with httpx.Client(base_url=closed.url, headers=headers, timeout=120) as http:
        with http.stream("POST", "/v1/images/generations", json=body) as events:
            pieces = events.iter_bytes()
            next(pieces)
            refused = http.post("/v1/images/generations", json=PICTURE)
            assert fault(refused) == (429, "rate_limit_exceeded", None)
            assert refused.headers["retry-after"] == "1"
            assert http.get("/v1/models").status_code == 200, "to look takes nobody's place"
            assert b"image_generation.completed" in b"".join(pieces)
        soon(lambda: http.post("/v1/images/generations", json=PICTURE).status_code == 200)


@pytest.mark.nightly
def test_a_caller_who_leaves_in_the_middle_makes_room_again(closed: Server) -> None:
    key = keys(closed, "add", "leaving", "--concurrency", "1")
    soon(lambda: works(closed, key))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=closed.url, headers=headers, timeout=120) as http:
        long = {"prompt": "a big red circle", "stream": True, "partial_images": 1, "steps": 150, "n": 10}
        with http.stream("POST", "/v1/images/generations", json=long) as events:
            pieces = events.iter_bytes()  # it leaves when nobody holds this any more
            next(pieces)
            assert http.post("/v1/images/generations", json=PICTURE).status_code == 429
        soon(lambda: http.post("/v1/images/generations", json=PICTURE).status_code == 200)


def test_a_refusal_reaches_who_is_still_sending_a_large_picture(closed: Server) -> None:
    """The answer comes before the body is read; a connection that were closed then would lose it."""
    key = keys(closed, "add", "large", "--rate", "1/hour")
    soon(lambda: works(closed, key))
    picture = png() + bytes(15 * 2**20)
    with client(closed, key) as sdk, client(closed, "wrong") as stranger:
        for each, status in ((sdk, 429), (stranger, 401)):
            with pytest.raises(APIStatusError) as refused:
                each.images.edit(image=("x.png", picture), prompt="make it blue")
            assert refused.value.status_code == status


def test_jobs_belong_to_the_key_of_the_file_that_began_them(closed: Server) -> None:
    one, two = keys(closed, "add", "one"), keys(closed, "add", "two", "--admin")
    other = keys(closed, "add", "other")
    soon(lambda: works(closed, other))
    made = httpx.post(
        f"{closed.url}/v1/images/generations", json=PICTURE, headers={"X-API-Key": one}, timeout=120
    ).raise_for_status()
    job = f"{closed.url}/v1/jobs/{made.headers['x-request-id']}"
    found = [httpx.get(job, headers={"X-API-Key": key}).status_code for key in (one, two, other)]
    assert found == [200, 200, 404]


def test_damage_to_the_file_is_logged_and_costs_nobody_a_key(closed: Server) -> None:
    key = keys(closed, "add", "survivor")
    soon(lambda: works(closed, key))
    path = closed.home / "keys.json"
    good = path.read_text()
    try:
        path.write_text(good[:-10])
        soon(lambda: works(closed, key) and "is damaged" in logs(closed))
        assert httpx.get(f"{closed.url}/v1/models").status_code == 401
    finally:
        path.write_text(good)


def test_a_server_does_not_start_with_a_damaged_file_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    refused = try_server(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"atelier: the file of API keys {tmp_path / 'keys.json'} is damaged (keys: Field required); "
        "mend it, or put an earlier copy in its place\n"
    )


def test_keys_that_are_made_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    def add(number: int) -> None:
        subprocess.run(
            [sys.executable, "-m", "cli", "keys", "add", f"key-{number}"],
            env=environment(tmp_path),
            cwd=ROOT,
            check=True,
            capture_output=True,
        )

    with ThreadPoolExecutor(2) as commands:
        list(commands.map(add, range(2)))
    assert {key.name for key in ApiKeyFile(tmp_path / "keys.json").read() or ()} == {f"key-{n}" for n in range(2)}


@pytest.mark.nightly
def test_a_result_is_the_keys_that_stored_it_and_what_is_remembered_is_for_all(closed: Server) -> None:
    ann, bob = keys(closed, "add", "ann"), keys(closed, "add", "bob")
    boss = keys(closed, "add", "second-boss", "--admin")
    soon(lambda: works(closed, boss))

    def post(key: str, path: str, **sent: Any) -> httpx.Response:
        return httpx.post(f"{closed.url}{path}", headers={"X-API-Key": key}, timeout=120, **sent)

    asked: dict[str, Any] = {"prompt": "a red circle", "num_inference_steps": 1, "seed": 1, "key": "pictures/ann.png"}
    assert post(ann, "/v1/r2/images/generate", json=asked).json() == {"key": asked["key"]}
    stored = closed.home / "files" / asked["key"]
    first = stored.read_bytes()
    refused = post(bob, "/v1/r2/images/generate", json={**asked, "seed": 2})
    assert fault(refused) == (403, "forbidden", "key")
    assert stored.read_bytes() == first
    assert post(boss, "/v1/r2/images/generate", json={**asked, "seed": 2}).status_code == 200
    assert stored.read_bytes() != first

    for key, is_remembered in ((ann, False), (bob, True)):
        answer = post(key, "/api/caption-images", files={"images": ("a.png", png())})
        assert answer.json()["results"][0]["cache"] is is_remembered
    assert post(bob, "/api/admin/reset-cache").status_code == 403
