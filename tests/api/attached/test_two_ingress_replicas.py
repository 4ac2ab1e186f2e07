"""Two ingress replicas behind one port: whichever a request reaches, it knows what the other one knows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.api.attached.conftest import ADMIN, KEYS
from tests.servers import Server, try_server

USER = {"Authorization": f"Bearer {KEYS['ATELIER_API_KEYS']}"}
DRAW = {"prompt": "a big red circle", "steps": 2}
LATER = {"Prefer": "respond-async"}


def ask(server: Server, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """A request on a connection of its own, which may reach either replica."""
    return httpx.request(method, f"{server.url}{path}", headers={**USER, **(headers or {})}, timeout=120, **more)


def soon(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.1)


def is_answered_by(server: Server, number: int) -> bool:
    return bool(ask(server, "GET", "/v1/system/requests").json()["ingress"] == number)


def test_a_start_without_what_they_share_is_refused_in_one_line(tmp_path: Path) -> None:
    refused = try_server(tmp_path, ATELIER_INGRESS_REPLICAS="2", REDIS_URL="redis://127.0.0.1:9/0")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.endswith(
        "ingress.replicas: 2 ingress replicas share what they know, for which there is no SEARCH_DATABASE_URL "
        "(search.database_url), no R2_ENABLED=1 (r2.enabled); allowed without: 1"
    )


def test_both_replicas_answer(attached: Server) -> None:
    for number in (0, 1):
        soon(partial(is_answered_by, attached, number))


def test_the_same_request_sent_many_times_at_once_is_executed_once(attached: Server) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(ask, attached, "POST", "/v1/images/generations", key, json=DRAW) for _ in range(8)]
        answers = [each.result() for each in sent]
    assert {each.status_code for each in answers} == {200}
    assert len({each.content for each in answers}) == 1
    assert [each.headers.get("idempotent-replayed") for each in answers].count(None) == 1
    other = ask(attached, "POST", "/v1/images/generations", key, json={**DRAW, "seed": 1})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


@pytest.mark.nightly
def test_a_job_is_known_to_both_and_outlives_them(attached: Server) -> None:
    def job(name: str) -> dict[str, Any]:
        found: dict[str, Any] = ask(attached, "GET", f"/v1/jobs/{name}").raise_for_status().json()
        return found

    def is_lost(name: str) -> bool:
        answer = ask(attached, "GET", f"/v1/jobs/{name}")  # 503 while its replica counts as alive, and does not answer
        return answer.is_success and answer.json().get("error", {}).get("code") == "job_lost"

    made, lost = f"made-{uuid.uuid4().hex}", f"lost-{uuid.uuid4().hex}"
    sent = ask(attached, "POST", "/v1/images/generations", {**LATER, "x-request-id": made}, json=DRAW)
    assert sent.status_code == 202
    soon(lambda: job(made)["state"] == "done")
    answers = [job(made) for _ in range(8)]
    assert all(each == answers[0] for each in answers)
    assert answers[0]["result"]["data"][0]["b64_json"]

    long = {**DRAW, "steps": 150, "n": 10}
    assert ask(attached, "POST", "/v1/images/generations", {**LATER, "x-request-id": lost}, json=long).is_success
    for process in ingress_replicas(attached):
        process.kill()
    soon(lambda: is_answered(attached))
    soon(lambda: is_lost(lost))
    assert job(lost)["state"] == "failed"
    assert job(made) == answers[0]
    assert ask(attached, "DELETE", f"/v1/jobs/{lost}").json()["state"] == "failed"
    test_both_replicas_answer(attached)


def ingress_replicas(server: Server) -> list[psutil.Process]:
    found = [each for each in server.processes() if "ServeReplica:atelier:ingress" in " ".join(each.cmdline())]
    assert len(found) == 2
    return found


def is_answered(server: Server) -> bool:
    try:
        return ask(server, "GET", "/v1/models", ADMIN).is_success
    except httpx.TransportError:
        return False
