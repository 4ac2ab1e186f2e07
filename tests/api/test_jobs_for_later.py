"""`Prefer: respond-async`: pictures whose work goes on without the connection that asked for them."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.api.conftest import fault
from tests.api.pictures import png

ASYNC = {"Prefer": "respond-async"}
ASKED: dict[str, Any] = {"prompt": "a big red circle on a blue background", "seed": 5, "steps": 3}
LONG: dict[str, Any] = {**ASKED, "steps": 150, "n": 10, "partial_images": 3}


def begun(http: httpx.Client, sent: dict[str, Any], **headers: str) -> str:
    """The path of a job that was accepted."""
    answer = http.post("/v1/images/generations", json=sent, headers={**ASYNC, **headers})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    job = answer.json()
    assert job["object"] == "job"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["id"] == answer.headers["x-request-id"]
    return answer.headers["location"]


@contextmanager
def attached(http: httpx.Client, job: str) -> Iterator[Iterator[dict[str, Any]]]:
    with http.stream("GET", f"{job}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def all_events(http: httpx.Client, job: str) -> list[dict[str, Any]]:
    with attached(http, job) as events:
        return list(events)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].rpartition(".")[2] for event in events]


def test_the_job_has_the_body_that_the_answer_would_have_had(http: httpx.Client) -> None:
    job = begun(http, {**ASKED, "n": 2})
    completed = all_events(http, job)
    assert kinds(completed) == ["completed", "completed"]
    told = http.get(job).json()
    assert (told["state"], told["progress"]) == ("done", 1.0)
    waited_for = http.post("/v1/images/generations", json={**ASKED, "n": 2}).json()
    result = told["result"]
    assert result.keys() == waited_for.keys()
    changing = ("created", "usage")
    assert {k: v for k, v in result.items() if k not in changing} == {
        k: v for k, v in waited_for.items() if k not in changing
    }
    assert [each["b64_json"] for each in completed] == [each["b64_json"] for each in result["data"]]
    again = all_events(http, job)  # as often as one likes
    assert [event | {"created_at": 0} for event in again] == [event | {"created_at": 0} for event in completed]


@pytest.mark.nightly
def test_who_attaches_in_the_middle_sees_the_latest_and_what_follows_and_leaving_ends_nothing(
    http: httpx.Client,
) -> None:
    job = begun(http, {**ASKED, "steps": 60, "n": 6, "partial_images": 3})
    with attached(http, job) as events:
        first = next(events)
        assert first["type"] == "image_generation.partial_image"
    seen = all_events(http, job)
    done = [event["image_index"] for event in seen if event["type"].endswith("completed")]
    assert done == [0, 1, 2, 3, 4, 5]
    assert kinds(seen)[-1] == "completed"
    assert http.get(job).json()["state"] == "done"


def test_a_stopped_job_tells_so_on_every_way(http: httpx.Client) -> None:
    job = begun(http, LONG)
    with attached(http, job) as events:
        next(events)
        assert http.delete(job).json()["state"] == "cancelled"
        last = list(events)[-1]
    assert (last["type"], last["error"]["code"]) == ("error", "cancelled")
    told = http.get(job).json()
    assert (told["state"], told["error"]["code"]) == ("cancelled", "cancelled")
    assert "result" not in told
    assert kinds(all_events(http, job))[-1] == "error"


def test_edits_and_variations_are_made_for_later_too_and_urls_are_in_the_result(http: httpx.Client) -> None:
    for path, sent in (("edits", {"prompt": "make the circle green"}), ("variations", {})):
        data = {**sent, "seed": "1", "response_format": "url"}
        answer = http.post(f"/v1/images/{path}", data=data, files={"image": ("a.png", png())}, headers=ASYNC)
        assert answer.status_code == 202
        (completed,) = all_events(http, answer.headers["location"])
        assert completed["type"] == "image_edit.completed"
        (item,) = http.get(answer.headers["location"]).json()["result"]["data"]
        assert "b64_json" not in item
        assert httpx.get(item["url"]).content == base64.b64decode(completed["b64_json"])


def test_a_request_that_cannot_be_made_is_refused_at_once(http: httpx.Client) -> None:
    answer = http.post("/v1/images/generations", json={**ASKED, "size": "1x1"}, headers=ASYNC)
    assert fault(answer) == (400, "invalid_value", "size")
    assert "preference-applied" not in answer.headers


def test_a_picture_that_the_model_cannot_read_is_found_at_the_job(http: httpx.Client) -> None:
    broken = png()[:-30] + png()[-12:]  # whole by its looks
    answer = http.post("/v1/images/variations", files={"image": ("a.png", broken)}, headers=ASYNC)
    if answer.status_code == 202:
        told = all_events(http, answer.headers["location"])[-1]["error"]
        assert http.get(answer.headers["location"]).json()["state"] == "failed"
    else:  # it was found within the first moment
        told = answer.json()["error"]
    assert told["code"] == "invalid_image"


def test_a_repetition_with_the_same_key_finds_the_same_job(http: httpx.Client) -> None:
    name = uuid.uuid4().hex
    headers = {"x-request-id": f"job-{name}", "Idempotency-Key": name}
    job = begun(http, LONG, **headers)
    again = http.post("/v1/images/generations", json=LONG, headers={**ASYNC, **headers})
    assert (again.status_code, again.headers["location"]) == (202, job)
    assert again.headers["idempotent-replayed"] == "true"
    clash = http.post("/v1/images/generations", json=LONG, headers={**ASYNC, "x-request-id": f"job-{name}"})
    assert fault(clash) == (409, "job_exists", None)
    assert http.get(job).json()["state"] in ("queued", "running")
    http.delete(job)


def test_a_job_of_a_request_that_waits_for_its_answer_has_no_events(http: httpx.Client) -> None:
    made = http.post("/v1/images/generations", json=ASKED)
    assert fault(http.get(f"/v1/jobs/{made.headers['x-request-id']}/events")) == (409, "job_not_kept", None)
    assert fault(http.get("/v1/jobs/none-such/events")) == (404, "job_not_found", None)


def test_the_sdk_passes_it_on(sdk: OpenAI, http: httpx.Client) -> None:
    answer = sdk.images.with_raw_response.generate(prompt="a", extra_headers=ASYNC, extra_body={"seed": 1, "steps": 1})
    assert answer.status_code == 202
    assert kinds(all_events(http, answer.headers["location"])) == ["completed"]
