"""What `/docs` shows of each route is what the route takes and answers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.ingress.openapi_examples import EXAMPLES, Example
from deployments.ingress.openapi_objects import PICTURE
from tests.api.test_voice import recording

ROUTES = [(method, path, example) for path, methods in EXAMPLES.items() for method, example in methods.items()]
FORMS = {"/process", "/process/raw", "/v1/voice/generate"}
FILES = {".png": base64.b64decode(PICTURE.partition(",")[2]), ".wav": recording()}
NEEDS_ANOTHER_MODEL = {"/v1/audio/translations"}  # the built-in one translates nothing
MAY_BE_ABSENT = {"duplicate", "preview"}


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def places(http: httpx.Client) -> dict[str, str]:
    """What stands in paths, for each parameter; all of it exists."""
    picture = base64.b64decode(PICTURE.partition(",")[2])
    kept = http.post("/v1/projects/examples/images", files={"file": ("square.png", picture)}).json()
    http.post("/v1/images", files={"file": ("square.png", picture)}).raise_for_status()
    made = http.post("/v1/images/generations", json={"prompt": "a", "steps": 1, "response_format": "url"})
    later = http.post("/v1/images/generations", json={"prompt": "a", "steps": 1}, headers={"Prefer": "respond-async"})
    http.get(f"{later.headers['location']}/events").raise_for_status()  # until it is done
    uploaded = http.post("/upload", files={"file": ("square.png", picture)}).json()["url"]
    sound = ("ann.wav", recording())
    consent = http.post(
        "/v1/audio/voice_consents", files={"recording": sound}, data={"name": "Bob agrees", "language": "en"}
    ).json()
    voice = http.post(
        "/v1/audio/voices", files={"audio_sample": sound}, data={"name": "Bob", "consent": consent["id"]}
    ).json()
    response = http.post("/v1/responses", json={"model": "vlm-fast", "input": "Hello"}).json()
    return {
        "response_id": response["id"],
        "consent_id": consent["id"],
        "voice_id": voice["id"],
        "name": "image-gen",
        "alias": "voice",
        "project_id": "examples",
        "image_id": kept["id"],
        "job_id": later.json()["id"],
        "fid": uploaded.removeprefix("/i/"),
        "key": made.json()["data"][0]["url"].partition("/files/")[2],
    }


def test_every_route_has_an_example(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(method, path) for method, path, _ in ROUTES}


def test_every_body_and_every_part_of_a_path_has_an_example(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            for content in operation.get("requestBody", {"content": {}})["content"].values():
                assert set(content["schema"].get("required", ())) <= content["example"].keys()
            for place in operation.get("parameters", ()):
                assert place["in"] != "path" or place["example"]


def test_every_operation_tells_of_the_errors_that_it_really_gives(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            assert "422" not in operation["responses"]
            assert "$ref" in operation["responses"]["default"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(
    ("method", "path", "example"), [r for r in ROUTES if r[0] != "DELETE" and r[1] not in NEEDS_ANOTHER_MODEL]
)
def test_an_example_is_answered_as_it_says(
    http: httpx.Client, places: dict[str, str], document: dict[str, Any], method: str, path: str, example: Example
) -> None:
    url = path
    if path.startswith("/v1/images/{image_id}"):  # of the default project
        url = url.replace("{image_id}", http.get("/v1/images").json()["images"][0]["id"])
    for name, value in places.items():
        url = url.replace(f"{{{name}}}", value)
    sent: dict[str, Any] = {}
    if example.files:
        sent["files"] = {name: (file, FILES[Path(file).suffix]) for name, file in example.files.items()}
        sent["data"] = dict(example.sent or {})
        if "consent" in sent["data"]:
            sent["data"]["consent"] = places["consent_id"]
    elif path in FORMS:
        sent["files"] = {name: (None, str(value)) for name, value in (example.sent or {}).items()}
    elif example.sent is not None:
        sent["json"] = example.sent
    answer = http.request(method, url, **sent)
    assert answer.status_code < 400, answer.text
    assert str(answer.status_code) in document["paths"][path][method.lower()]["responses"]
    if example.answer is not None:
        same_keys(answer.json(), example.answer)
    elif example.media_type is not None:
        assert answer.headers["content-type"].startswith(example.media_type.removesuffix("*"))


def same_keys(given: Any, shown: Any) -> None:
    """An answer has the fields of an example, and no others; of a list, the first item speaks for all."""
    assert isinstance(given, type(shown)) or given is None or shown is None
    if isinstance(shown, dict):
        if "image-gen" not in shown:  # names of models are not fields
            assert given.keys() - MAY_BE_ABSENT == shown.keys() - MAY_BE_ABSENT
        for key in shown.keys() & given.keys():
            same_keys(given[key], shown[key])
    elif isinstance(shown, list) and shown:
        assert bool(given) == bool(shown)
        if given:
            same_keys(given[0], shown[0])
