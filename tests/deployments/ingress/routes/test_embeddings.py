"""The embeddings route where image search, and with it the model, is switched off."""

from __future__ import annotations

from pathlib import Path

from tests.deployments.apps import client, fault, make_app


async def test_without_image_search_there_are_no_embeddings(tmp_path: Path) -> None:
    async with client(make_app(tmp_path)) as http:
        answer = await http.post("/v1/embeddings", json={"input": "a red circle"})
        assert fault(answer) == (404, "feature_disabled", None)
        assert "IMAGE_SEARCH_ENABLED" in answer.json()["error"]["message"]
