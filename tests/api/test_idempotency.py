"""`Idempotency-Key` through the running server."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.api.conftest import fault
from tests.api.pictures import data_url, png, scene

PICTURE = {"prompt": "a big red circle", "steps": 2}


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def is_replayed(answer: httpx.Response) -> bool:
    return "true" in answer.headers.get_list("idempotent-replayed")


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/generate"])
def test_the_same_picture_comes_twice_although_its_seed_is_chosen_each_time(http: httpx.Client, path: str) -> None:
    body = PICTURE if path.endswith("generations") else {"prompt": PICTURE["prompt"]}
    headers = keyed()
    first, second = (http.post(path, json=body, headers=headers).raise_for_status() for _ in range(2))
    assert second.content == first.content
    assert (is_replayed(first), is_replayed(second)) == (False, True)
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers.get("x-seed") == first.headers.get("x-seed")
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


def test_another_body_is_422_and_without_a_key_a_new_picture_is_made(http: httpx.Client) -> None:
    headers = keyed()
    first = http.post("/v1/images/generations", json=PICTURE, headers=headers).raise_for_status()
    other = http.post("/v1/images/generations", json={**PICTURE, "prompt": "a star"}, headers=headers)
    assert fault(other) == (422, "idempotency_key_reused", "Idempotency-Key")
    repeated = http.post("/v1/images/generations", json=PICTURE).raise_for_status()
    assert repeated.json()["usage"]["seed"] != first.json()["usage"]["seed"]


def test_two_at_the_same_time_are_one_generation(http: httpx.Client) -> None:
    headers = keyed()
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(http.post, "/v1/images/generations", json={**PICTURE, "n": 3}, headers=headers)
            for _ in range(2)
        ]
        first, second = (call.result().raise_for_status() for call in calls)
    assert first.json()["usage"]["seed"] == second.json()["usage"]["seed"]
    assert first.content == second.content
    assert sorted([is_replayed(first), is_replayed(second)]) == [False, True]


def test_a_mistake_leaves_the_key_free_for_the_mended_body(http: httpx.Client) -> None:
    headers = keyed()
    assert fault(http.post("/v1/images/generations", json={**PICTURE, "n": 99}, headers=headers))[0] == 400
    assert not is_replayed(http.post("/v1/images/generations", json=PICTURE, headers=headers).raise_for_status())


def test_a_key_with_a_space_is_refused_by_name(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json=PICTURE, headers={"Idempotency-Key": "a b"})
    assert fault(answer) == (400, "invalid_value", "Idempotency-Key")


def test_an_upload_sent_again_as_a_new_form_is_stored_once(http: httpx.Client) -> None:
    headers, path = keyed(), f"/v1/projects/{uuid.uuid4().hex}/images"
    picture = png(scene("star", "yellow", "blue"))
    first, second = (
        http.post(path, files={"file": ("a.png", picture)}, headers=headers).raise_for_status() for _ in range(2)
    )
    assert second.json() == first.json(), "not the record with `duplicate`, which a new upload would get"
    assert is_replayed(second)


def test_a_streamed_answer_comes_again_event_by_event(http: httpx.Client) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url()}}
    body: dict[str, Any] = {"model": "vlm-fast", "messages": [{"role": "user", "content": [part]}], "stream": True}
    headers = keyed()
    first, second = (http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status() for _ in range(2))
    assert first.text.rstrip().endswith("data: [DONE]")
    assert second.content == first.content
    assert is_replayed(second)


def test_the_sdks_own_header_of_a_call_is_enough(sdk: OpenAI) -> None:
    headers = keyed()
    first, second = (
        sdk.images.generate(prompt="a star", extra_headers=headers, extra_body={"steps": 1}) for _ in range(2)
    )
    assert first == second


def test_pages_may_read_that_an_answer_is_a_replay(http: httpx.Client) -> None:
    headers = {**keyed(), "Origin": "http://localhost:3000"}
    answer = http.post("/v1/images/generations", json=PICTURE, headers=headers)
    assert "idempotent-replayed" in answer.headers["access-control-expose-headers"].lower()


def test_the_documentation_names_the_header_where_it_counts(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    with_key = {
        (method, path)
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "Idempotency-Key" in [parameter["name"] for parameter in operation.get("parameters", [])]
    }
    assert {method for method, _ in with_key} == {"post"}
    made = {path for _, path in with_key}
    assert {"/v1/images/generations", "/v1/images", "/v1/chat/completions", "/api/caption-images"} <= made
    assert not made & {"/v1/images/search", "/v1/projects/{project_id}/images/search"}
