"""A bucket, a Redis and a PostgreSQL that accept connections and say nothing: who needs them waits, nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.api.pictures import png
from tests.servers import Server, start_server
from tests.silent import silent_server

_ASKING = 100
"""More than any kind of waiting has threads."""


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose bucket, Redis and PostgreSQL say nothing."""
    with silent_server() as port:
        silent = {
            "R2_ENABLED": "1", "R2_ENDPOINT_URL": f"http://127.0.0.1:{port}", "R2_ACCESS_KEY_ID": "a",
            "R2_SECRET_ACCESS_KEY": "b", "R2_BUCKET_NAME": "c",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0", "SEARCH_DATABASE_URL": f"postgresql://a:b@127.0.0.1:{port}/c",
        }  # fmt: skip
        server = start_server(tmp_path_factory.mktemp("silent"), None, **silent)
        try:
            while not _answers(server):
                time.sleep(0.1)
            yield server
        finally:
            server.stop()


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, "it has ended"
    try:
        return httpx.get(f"{server.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.nightly
async def test_what_says_nothing_holds_up_only_those_who_need_it(silent: Server) -> None:
    unbounded = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=silent.url, timeout=None, limits=unbounded) as others,
        httpx.AsyncClient(base_url=silent.url, timeout=120) as http,
    ):
        waiting = [
            asyncio.ensure_future(others.post(path, files={"file": ("a.png", png())}))
            for path in ("/upload", "/v1/images")
            for _ in range(_ASKING)
        ]
        try:
            for _ in range(5):
                for path in ("/healthz", "/v1/models", "/v1/system/status", "/metrics"):
                    assert (await http.get(path)).status_code == 200
            assert not all(each.done() for each in waiting), "some still wait for the bucket"
            assert (await http.get("/readyz")).json()["image_search"] is False
            caption = await http.post("/api/caption-images?model=blip", files={"images": ("a.png", png())})
            assert caption.status_code == 200, "a cache that says nothing is done without"
            question = {"model": "vlm-fast", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello?"}]}
            assert (await http.post("/v1/chat/completions", json=question)).status_code == 200
            picture = {"prompt": "a star", "steps": 1}
            assert (await http.post("/v1/images/generations", json=picture)).status_code == 200
            assert (await http.post("/v1/embeddings", json={"model": "clip", "input": "a star"})).status_code == 200
        finally:
            for each in waiting:  # we do not wait for the bucket
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
