"""Errors of Anthropic's dialect, wherever in the ingress they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.ingress.errors import ApiError, envelope
from tests.deployments.apps import client, make_app

BODY = {"model": "vlm", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/"])
async def test_a_missing_key_is_an_error_of_the_dialect(tmp_path: Path, path: str) -> None:
    async with client(make_app(tmp_path, {"ATELIER_API_KEYS": "right"})) as http:
        refused = await http.post(path, json=BODY, headers={"x-api-key": "wrong"})
        told = refused.json()
        assert (refused.status_code, told["type"], told["error"]["type"]) == (401, "error", "authentication_error")
        assert told["request_id"] == refused.headers["request-id"] == refused.headers["x-request-id"]
        for headers in ({"x-api-key": "right"}, {"authorization": "Bearer right"}):
            answer = await http.post(path, json=BODY, headers=headers)
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


async def test_a_caller_over_the_limit_is_refused_in_the_dialect(tmp_path: Path) -> None:
    async with client(make_app(tmp_path, {"ATELIER_RATE": "1/minute"})) as http:
        await http.post("/v1/messages", json=BODY)
        refused = await http.post("/v1/messages", json=BODY)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert refused.headers["retry-after"]


async def test_what_is_no_json_and_another_method_are_errors_of_the_dialect(tmp_path: Path) -> None:
    async with client(make_app(tmp_path)) as http:
        broken = await http.post("/v1/messages", content=b"{", headers={"content-type": "application/json"})
        got = await http.get("/v1/messages")
        other = await http.post("/v1/models", json=BODY)
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
    assert broken.json()["type"] == "error"
    assert (got.status_code, got.json()["error"]["type"]) == (405, "invalid_request_error")
    assert "type" not in other.json()
    assert "request-id" not in other.headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_each_status_has_the_dialects_own_type(status: int, kind: str) -> None:
    told = envelope(ApiError(status, "why", code="because", param="field"), "anthropic", "an-id")
    assert told == {
        "type": "error",
        "error": {"message": "why", "type": kind, "param": "field", "code": "because"},
        "request_id": "an-id",
    }
