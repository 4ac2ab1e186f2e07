"""Clients that leave in every state of a request: their work stops, and the server is at rest at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from bench.soak.leaving import ENDS, LONG_PICTURE, REAL_CLIENTS, ROUTES, Leaving, all_over_sockets
from bench.soak.rest import seconds_to_rest
from tests.api.node import Node
from tests.servers import Server


@pytest.fixture(autouse=True)
def _awake(http: httpx.Client) -> None:
    for path, sent in (
        ("/v1/images/generations", {"prompt": "a ring", "steps": 1}),
        ("/v1/chat/completions", {"model": "vlm-fast", "messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "Hello."}),
    ):
        http.post(path, json=sent).raise_for_status()


def rests(server: Server) -> None:
    """At rest at last, on a machine that may be busy with other tests: what turns in circles takes a whole core."""
    _, unrest = seconds_to_rest(server.url, server.processes(), patience=60, idle=0.3)
    assert not unrest


@pytest.mark.nightly
def test_every_way_to_leave_at_every_moment_leaves_nothing_behind(server: Server, http: httpx.Client) -> None:
    ways = all_over_sockets()
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda way: way.run(server.url, 0.3), ways))
    rests(server)
    assert http.post("/v1/images/generations", json={"prompt": "a ring", "steps": 1}).status_code == 200


@pytest.mark.nightly
def test_two_hundred_that_leave_at_once_leave_nothing_behind(server: Server) -> None:
    with ThreadPoolExecutor(200) as pool:
        ways = [
            Leaving(ROUTES[i % len(ROUTES)], "before an answer", ENDS[i // len(ROUTES) % 2], is_apart=i % 3 > 0)
            for i in range(200)
        ]
        list(pool.map(lambda way: way.run(server.url), ways))
    rests(server)


def test_clients_that_leave_while_a_model_is_loaded_leave_nothing_behind(server: Server, http: httpx.Client) -> None:
    http.post("/v1/system/evict/voice").raise_for_status()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda end: Leaving("speech", "before an answer", end, True).run(server.url, 0.2), ENDS * 5))
    rests(server)


@pytest.mark.parametrize("leave", REAL_CLIENTS, ids=lambda leave: leave.__name__)
def test_real_clients_that_give_up_leave_nothing_behind(server: Server, leave: object) -> None:
    assert callable(leave)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(leave, [server.url] * 4))
    rests(server)


@pytest.mark.nightly
def test_nodes_sdk_that_is_killed_leaves_nothing_behind(server: Server, node: Node) -> None:
    processes = [node.begin("images.generate", dict(LONG_PICTURE)) for _ in range(3)]
    for process in processes:
        try:
            process.wait(1.5)
        except Exception:  # noqa: BLE001 - it works, as it should
            process.kill()
        process.communicate()
    rests(server)
