"""Callers who leave, and processes that die."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import httpx
import psutil
import pytest

from tests.api.pictures import many_scenes, png
from tests.servers import Server

LONG = {"prompt": "a red circle", "steps": 150, "n": 10, "seed": 1}
SHORT = {**LONG, "steps": 1, "n": 1}


def replica(server: Server, name: str) -> psutil.Process:
    """The process of a deployment's replica."""
    (found,) = [p for p in server.processes() if "".join(p.cmdline()).startswith(f"ray::ServeReplica:atelier:{name}")]
    return found


def draw(http: httpx.Client, job: dict[str, Any]) -> httpx.Response:
    return http.post("/v1/images/generations", json=job)


def answered_again(http: httpx.Client, path: str, seconds: float) -> list[httpx.Response]:
    """Every response of a route until it is 200; each one before must be an error in the envelope."""
    answers: list[httpx.Response] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answers.append(http.get(path))
        except httpx.RemoteProtocolError:  # it died with our connection open, which no server can word
            continue
        if answers[-1].status_code == 200:
            return answers
        assert answers[-1].json()["error"]["type"] == "server_error"
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come back within {seconds} s")


def test_the_work_of_a_caller_who_leaves_stops(server: Server, http: httpx.Client) -> None:
    draw(http, SHORT).raise_for_status()  # the model is loaded when time is taken
    begun = time.monotonic()
    draw(http, {**LONG, "n": 1, "steps": 30}).raise_for_status()
    one = time.monotonic() - begun
    body = json.dumps(LONG).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(head.encode() + body)
        time.sleep(1.0)
    begun = time.monotonic()
    draw(http, SHORT).raise_for_status()
    assert time.monotonic() - begun < max(10.0, 50 * one / 4)


@pytest.mark.nightly
def test_health_is_answered_while_pictures_are_made(http: httpx.Client) -> None:
    made: list[int] = []
    work = {**LONG, "n": 2}
    maker = threading.Thread(target=lambda: made.append(draw(http, work).status_code), daemon=True)
    maker.start()
    answered = 0
    while maker.is_alive():
        assert http.get("/healthz").status_code == 200
        answered += 1
        time.sleep(0.05)
    assert made == [200]
    assert answered > 5


def test_a_killed_model_costs_no_request_and_changes_no_picture(server: Server, http: httpx.Client) -> None:
    jobs = [{**SHORT, "steps": 12, "seed": seed} for seed in range(10)]
    expected = [draw(http, job).json()["data"] for job in jobs]
    process = replica(server, "image-gen")
    with ThreadPoolExecutor(5) as callers:
        answers = [callers.submit(draw, http, job) for job in jobs]
        answers[2].result()
        process.kill()
        assert not all(answer.done() for answer in answers), "it was killed at rest"
        assert [answer.result().status_code for answer in answers] == [200] * 10
        assert [answer.result().json()["data"] for answer in answers] == expected


@pytest.mark.nightly
def test_a_model_that_is_killed_twice_fails_its_request_in_words_and_comes_back(http: httpx.Client) -> None:
    draw(http, SHORT).raise_for_status()
    answers: list[Any] = []
    maker = threading.Thread(target=lambda: answers.append(draw(http, LONG)))
    maker.start()
    killed: set[int] = set()
    while maker.is_alive():
        time.sleep(0.5)
        worker = http.get("/v1/system/status").json()["workers"].get("image-gen", {"pid": 0, "state": "cold"})
        if worker["state"] == "ready" and worker["idle_seconds"] == 0 and worker["pid"] not in killed:
            psutil.Process(worker["pid"]).kill()
            killed.add(worker["pid"])
    maker.join()
    assert 2 <= len(killed) <= 4  # one that dies before the request has reached it does not count
    (answer,) = answers
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_restarting"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert draw(http, SHORT).status_code == 200


def test_a_killed_ingress_comes_back_and_says_so_meanwhile(server: Server, http: httpx.Client) -> None:
    replica(server, "ingress").kill()
    answered_again(http, "/healthz", 120)
    answered_again(http, "/v1/models", 60)


def test_stored_pictures_outlive_the_search_process(server: Server, http: httpx.Client) -> None:
    stored = http.get("/v1/images").json()["images"]
    replica(server, "search").kill()
    answers = answered_again(http, "/v1/images", 120)
    assert answers[-1].json()["images"] == stored


def test_a_search_process_killed_in_the_middle_of_uploads_loses_nothing_acknowledged_and_keeps_nothing_half(
    server: Server, http: httpx.Client
) -> None:
    pictures = [png(each) for each in many_scenes(24)]
    told: list[str] = []

    def upload(picture: bytes) -> None:
        try:
            answer = http.post("/v1/projects/killed/images", files={"file": picture})
        except httpx.TransportError:  # it died with our connection open
            return
        if answer.is_success:
            told.append(answer.json()["id"])

    upload(pictures[0])
    process = replica(server, "search")
    with ThreadPoolExecutor(8) as callers:
        uploads = [callers.submit(upload, picture) for picture in pictures[1:]]
        while len(told) < 6:
            time.sleep(0.01)
        process.kill()
        wait(uploads)
    answers = answered_again(http, "/v1/projects/killed/images", 120)
    kept = {record["id"] for record in answers[-1].json()["images"]}
    assert set(told) <= kept
    for picture in pictures:  # whatever was not told may be sent again
        http.post("/v1/projects/killed/images", files={"file": picture}).raise_for_status()
    records = http.get("/v1/projects/killed/images").json()["images"]
    assert len({record["sha256"] for record in records}) == len(records) == len(pictures)
    found = http.post("/v1/projects/killed/images/search", json={"query": "a circle", "limit": 100}).json()["results"]
    assert {result["id"] for result in found} == {record["id"] for record in records}
    strays = http.post("/api/admin/search/gc", json={}).json()
    assert not [key for key in strays["orphans"] if "/killed/" in key]
    assert not strays["missing"]


@pytest.mark.nightly
def test_half_open_connections_and_slow_readers_cost_nobody_an_answer(server: Server, http: httpx.Client) -> None:
    speech = json.dumps({"model": "voice", "voice": "alloy", "input": "This goes on. " * 250, "response_format": "wav"})
    asking = (
        "POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(speech)}\r\n\r\n{speech}"
    )
    with contextlib.ExitStack() as connections:
        for sent in [
            b"",
            b"GET /healthz HT",
            b"POST /v1/images HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
        ] * 20:
            connections.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(sent)
        for _ in range(4):  # never read
            connections.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(asking.encode())
        time.sleep(1)
        assert http.get("/healthz").status_code == 200
        spoken = http.post("/v1/audio/speech", json={"model": "voice", "voice": "alloy", "input": "Hello."})
        assert spoken.status_code == 200
        assert draw(http, SHORT).status_code == 200
    assert http.get("/readyz").status_code == 200


@pytest.mark.nightly
def test_a_control_plane_that_stops_or_crashes_holds_up_no_answer(server: Server, http: httpx.Client) -> None:
    def controller() -> psutil.Process:
        (found,) = [p for p in server.processes() if "".join(p.cmdline()).startswith("ray::ServeController")]
        return found

    def known_seconds_ago() -> float:
        seconds: float = http.get("/v1/system/status", timeout=60).raise_for_status().json()["known_seconds_ago"]
        return seconds

    draw(http, SHORT).raise_for_status()  # it is loaded; what is not loaded needs the controller
    stopped = controller()
    stopped.suspend()
    try:
        with ThreadPoolExecutor(1) as caller:
            making = caller.submit(draw, http, {**LONG, "n": 3})
            while not making.done():
                for path in ("/healthz", "/v1/models", "/v1/system/status", "/readyz"):
                    assert http.get(path, timeout=60).status_code == 200
            assert making.result().status_code == 200
        while known_seconds_ago() < 2:
            time.sleep(0.1)
        assert http.get("/v1/models/image-gen", timeout=60).json()["state"] == "ready"
    finally:
        stopped.kill()
    assert draw(http, SHORT).status_code == 200
    deadline = time.monotonic() + 60
    while known_seconds_ago() > 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
