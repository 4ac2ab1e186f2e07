"""Paths with slashes too many are answered in place, with and without a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.ingress.middleware.paths import plain
from tests.deployments.apps import client, fault, make_app


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("/v1/models", "", "/v1/models"),
        ("/v1/models/", "", "/v1/models"),
        ("//v1///models//", "", "/v1/models"),
        ("/", "", "/"),
        ("//", "", "/"),
        ("/api/v1/models/", "/api", "/api/v1/models"),
        ("/api/", "/api", "/api/"),
        ("/api", "/api", "/api/"),
    ],
)
def test_a_path_loses_its_slashes_too_many(path: str, root: str, wanted: str) -> None:
    assert plain(path, root) == wanted


async def test_such_paths_are_answered_in_place_and_need_the_keys_of_their_route(tmp_path: Path) -> None:
    async with client(make_app(tmp_path, {"ATELIER_API_KEYS": "user"})) as http:
        for path in ("//healthz", "/healthz/", "///healthz//"):
            assert (await http.get(f"http://atelier.test{path}")).json()["status"] == "ok"
        assert fault(await http.get("http://atelier.test//v1/models/")) == (401, "invalid_api_key", None)
        headers = {"Authorization": "Bearer user"}
        whole = await http.get("/v1/models", headers=headers)
        for path in ("/v1/models/", "//v1/models", "//v1//models//"):
            answer = await http.get(f"http://atelier.test{path}", headers=headers)
            assert (answer.status_code, answer.json()) == (200, whole.json())
        sent = {"model": "nobody", "messages": [{"role": "user", "content": "a"}]}
        answer = await http.post("http://atelier.test//v1/chat/completions/", json=sent, headers=headers)
        assert fault(answer) == (404, "model_not_found", "model")
        for path in ("/v1/system/evict/clip/", "//v1/system//evict/clip"):
            assert fault(await http.post(f"http://atelier.test{path}", headers=headers)) == (403, "forbidden", None)
