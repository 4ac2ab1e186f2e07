"""Pictures as they come into being: partial pictures, progress, and stopping."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from typing import Any

import httpx
import numpy as np
from openai import OpenAI
from PIL import Image

from tests.api.conftest import fault
from tests.api.pictures import png

PROMPT = "a big red circle on a blue background"


def pixels(b64: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64))).convert("RGB"), int)


def events(http: httpx.Client, path: str = "/v1/images/generations", **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose names are checked on the way."""
    found: list[dict[str, Any]] = []
    name = ""
    with http.stream("POST", path, json={"prompt": PROMPT, "stream": True, **fields}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            kind, _, value = line.partition(": ")
            if kind == "event":
                name = value
            elif kind == "data":
                found.append(json.loads(value))
                assert found[-1]["type"] == name
    return found


def test_the_sdk_sees_the_picture_come_into_being(sdk: OpenAI) -> None:
    stream = sdk.images.generate(prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 4})
    seen = list(stream)
    assert [event.type for event in seen] == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    assert [getattr(event, "partial_image_index", None) for event in seen] == [0, 1, 2, None]
    result = pixels(seen[-1].b64_json)
    away = [np.abs(pixels(event.b64_json) - result).mean() for event in seen[:-1]]
    assert away[-1] < away[0]
    assert away[-1] < 25


def test_the_streamed_picture_is_the_whole_one(http: httpx.Client) -> None:
    (completed,) = events(http, seed=9)
    whole = http.post("/v1/images/generations", json={"prompt": PROMPT, "seed": 9}).json()
    assert completed["type"] == "image_generation.completed"
    assert completed["b64_json"] == whole["data"][0]["b64_json"]
    assert completed["usage"]["total_tokens"] == 0
    assert {completed[name] for name in ("size", "quality", "background", "output_format")} == {
        "128x128",
        "medium",
        "opaque",
        "png",
    }


def test_each_of_n_pictures_is_shown_midway_and_completed_once(http: httpx.Client) -> None:
    seen = events(http, n=6, partial_images=1, seed=5, output_format="jpeg")
    told = [(event["type"].rpartition(".")[2], event["image_index"]) for event in seen]
    first, second = range(4), range(4, 6)  # as many at once as the configuration says
    assert told == [
        *(("partial_image", i) for i in first),
        *(("completed", i) for i in first),
        *(("partial_image", i) for i in second),
        *(("completed", i) for i in second),
    ]
    assert [event["seed"] for event in seen if "seed" in event] == [5, 6, 7, 8, 9, 10]


def test_an_edit_is_streamed_too(sdk: OpenAI) -> None:
    stream = sdk.images.edit(image=png(), prompt="make the circle green", stream=True, partial_images=1)
    assert [event.type for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


def test_a_refusal_of_a_stream_is_a_status_and_not_an_event(http: httpx.Client) -> None:
    body = {"prompt": PROMPT, "stream": True, "size": "1x1"}
    assert fault(http.post("/v1/images/generations", json=body)) == (400, "invalid_value", "size")


def begin(http: httpx.Client, job: str, answers: list[httpx.Response], **fields: Any) -> threading.Thread:
    """Begin making pictures for long, under the id `job`."""
    body = {"prompt": PROMPT, "steps": 150, "n": 10, "seed": 1, **fields}

    def post() -> None:
        answers.append(http.post("/v1/images/generations", json=body, headers={"x-request-id": job}))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def state(http: httpx.Client, job: str) -> dict[str, Any]:
    """The job once it runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = http.get(f"/v1/jobs/{job}")
        if answer.status_code == 200 and answer.json()["step"] > 0:
            told: dict[str, Any] = answer.json()
            return told
        time.sleep(0.05)
    raise AssertionError(f"{job} never ran")


def test_a_job_tells_how_far_it_is_and_can_be_stopped(http: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    thread = begin(http, "job-to-stop", answers)
    told = state(http, "job-to-stop")
    assert told["state"] == "running"
    assert told["steps"] == 1500
    assert 0 < told["progress"] == round(told["step"] / 1500, 4) < 1
    stopped = http.delete("/v1/jobs/job-to-stop").json()
    assert stopped["state"] == "cancelled"
    thread.join(timeout=120)
    assert fault(answers[0]) == (400, "cancelled", None)
    http.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 1}).raise_for_status()
    assert http.get("/v1/jobs/job-to-stop").json()["state"] == "cancelled"


def test_a_finished_job_is_known_for_a_while(http: httpx.Client) -> None:
    made = http.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 1}).raise_for_status()
    told = http.get(f"/v1/jobs/{made.headers['x-request-id']}").json()
    assert (told["state"], told["progress"], told["step"]) == ("done", 1.0, told["steps"])
    assert http.delete(f"/v1/jobs/{told['id']}").json()["state"] == "done"


def test_long_work_shows_a_preview(http: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    thread = begin(http, "job-to-watch", answers)
    state(http, "job-to-watch")
    deadline = time.monotonic() + 60
    preview = None
    while preview is None and time.monotonic() < deadline:
        preview = http.get("/v1/jobs/job-to-watch").json().get("preview")
        time.sleep(0.1)
    http.delete("/v1/jobs/job-to-watch")
    thread.join(timeout=120)
    assert preview is not None
    head, _, b64 = preview.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(b64))).size == (128, 128)


def test_a_job_that_never_was_is_a_404(http: httpx.Client) -> None:
    assert fault(http.get("/v1/jobs/none-such")) == (404, "job_not_found", None)
    assert fault(http.delete("/v1/jobs/none-such")) == (404, "job_not_found", None)
