"""What every route keeps: health, the list of models, the envelope, the description."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.api.conftest import fault
from tests.servers import Server

ALIASES = ["image-gen", "vlm-fast", "vlm-best", "gemma", "intern_vlm", "blip", "blip2", "clip", "voice", "listen"]


def test_the_server_is_healthy_and_ready(http: httpx.Client) -> None:
    health = http.get("/healthz").json()
    assert health["status"] == "ok"
    assert abs(health["timestamp"] - time.time()) < 60
    deadline = time.monotonic() + 120  # another test may have killed the ingress, whose next one has yet to look around
    while (ready := http.get("/readyz")).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ready.status_code == 200, ready.text
    assert ready.json()["ready"] is True
    assert set(ready.json()["models"]) == set(ALIASES)


def test_the_sdk_lists_every_alias_and_chat_models_first(sdk: OpenAI) -> None:
    listed = [model.id for model in sdk.models.list()]
    assert sorted(listed) == sorted(["atelier", *ALIASES])
    assert listed[:5] == ["atelier", "vlm-fast", "vlm-best", "gemma", "intern_vlm"]


def test_the_sdk_retrieves_a_model_by_any_name_that_a_request_may_use(sdk: OpenAI) -> None:
    assert sdk.models.retrieve("clip").id == "clip"
    assert sdk.models.retrieve("gpt-4o").id == "gpt-4o"
    assert sdk.models.retrieve("builtin:describer").id == "builtin:describer"


def test_a_response_has_one_request_id_and_only_a_sane_one_is_repeated(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"x-request-id": "my-id"}).headers.get_list("x-request-id") == ["my-id"]
    for headers in ({}, {"x-request-id": "<script>"}, {"x-request-id": "a" * 200}):
        (given,) = http.get("/healthz", headers=headers).headers.get_list("x-request-id")
        assert 20 < len(given) < 64


def test_an_unknown_model_is_404(http: httpx.Client) -> None:
    assert fault(http.get("/v1/models/org%2Fnothing")) == (404, "model_not_found", "model")


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", "/v1/vision/nowhere"])
def test_an_unknown_route_is_an_envelope(http: httpx.Client, path: str) -> None:
    assert fault(http.get(path)) == (404, None, None)


def test_a_wrong_method_is_an_envelope_that_names_the_right_one(http: httpx.Client) -> None:
    answer = http.get("/v1/images/generations")
    assert fault(answer) == (405, "method_not_supported", None)
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/models", "/v1/images", "/openapi.json", "/docs", "/metrics"]
)
def test_head_is_answered_like_get_without_the_body(http: httpx.Client, path: str) -> None:
    whole, head = http.get(path), http.head(path)
    assert head.status_code == 200
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert http.get("/healthz").json()["status"] == "ok", "the connection holds no body that nobody has read"


def test_head_of_what_takes_no_get_is_refused(http: httpx.Client) -> None:
    assert http.head("/v1/images/generations").status_code == 405
    assert http.head("/nowhere").status_code == 404


def test_families_carry_what_their_old_clients_read(http: httpx.Client) -> None:
    assert http.post("/v1/vision/analyze", json={}).json()["detail"]
    assert http.post("/v1/voice/generate", json={}).json()["error"]["detail"]
    assert "detail" not in http.post("/v1/chat/completions", json={}).json()


def test_the_description_names_every_route_and_its_fields(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert {"/healthz", "/v1/chat/completions", "/v1/projects/{project_id}/images/search"} <= set(document["paths"])
    body = document["paths"]["/v1/images/generations"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}
    assert "prompt" in body["application/json"]["schema"]["properties"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_its_pages_load_nothing_from_elsewhere(http: httpx.Client, page: str) -> None:
    text = http.get(page).raise_for_status().text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert {Path(name).suffix for name in loaded} >= {".js", ".png"}
    for name in loaded:
        assert name.startswith("/static/")
        assert http.get(name).raise_for_status().content


def test_a_request_is_in_the_log_at_once_with_its_id(http: httpx.Client, server: Server) -> None:
    given = http.get("/v1/models").headers["x-request-id"]

    def is_there() -> bool:
        logs = (server.home / "logs" / "serve").glob("replica_*ingress*.log")
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return any("GET /v1/models 200" in line and given in line for line in lines)

    deadline = time.monotonic() + 60  # the line is written once the answer is on its way
    while not is_there() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_there()


def test_a_page_of_this_machine_may_call_and_one_from_elsewhere_may_not(http: httpx.Client) -> None:
    def allowed(origin: str) -> str | None:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = http.options("/v1/chat/completions", headers=headers)
        return dict(answer.headers).get("access-control-allow-origin")

    assert allowed("http://localhost:3000") == "http://localhost:3000"
    assert allowed("https://evil.example") is None
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert fault(http.options("/v1/chat/completions", headers=headers)) == (403, "origin_not_allowed", None)


def test_the_server_shows_a_browser_its_studio_and_the_description_of_its_api(http: httpx.Client) -> None:
    assert "<title>Atelier Studio</title>" in http.get("/").text
    assert "<title>" in http.get("/docs").text
