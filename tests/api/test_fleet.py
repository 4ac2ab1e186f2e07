"""Models that do not fit together, on a running server: who is loaded, and what everybody who waits is answered."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openai import OpenAI

from cli.environment import ROOT
from tests.api.conftest import fault
from tests.api.speakers import ask_a, ask_b, asking_on, at_once, loads, new_text, speak, wait_until, workers
from tests.api.test_voice import recording
from tests.servers import Server, environment, start_server

MEMORY = 2_000_000_000
IDLE = 5
"""Seconds after which a model that nobody asks leaves."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models of which one fits at a time, and one that is kept beside either."""
    folder = tmp_path_factory.mktemp("fleet")
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0]["args"] = {
        "image_search_enabled": False,
        "image_enabled": False,
        "idle_timeout": IDLE,
        "residency": {"patience": 5, "min_residence": 2},
        "models": {
            "a": {"engine": "espeak", "checkpoint": "builtin:voice", "memory": 1_200_000_000},
            "b": {
                "engine": "espeak",
                "checkpoint": "builtin:voice",
                "memory": 1_200_000_000,
                "max_ongoing": 2,
                "max_queued": 30,
            },
            "kept": {"engine": "espeak", "checkpoint": "builtin:voice", "memory": 100_000_000, "keep": True},
            "early": {"engine": "espeak", "checkpoint": "builtin:voice", "memory": 100_000_000, "preload": True},
            "twice": {
                "engine": "espeak",
                "checkpoint": "builtin:voice",
                "memory": 150_000_000,
                "max_ongoing": 2,
                "replicas": {"max": 2, "target_ongoing": 1},
            },
            "pair": {
                "engine": "espeak",
                "checkpoint": "builtin:voice",
                "memory": 100_000_000,
                "replicas": {"min": 2, "max": 2},
            },
            "beside": {"engine": "espeak", "checkpoint": "builtin:voice", "memory": 1_950_000_000},
        },
        "default_models": {"voice": "b"},
    }
    config = folder / "fleet.yaml"
    config.write_text(yaml.safe_dump(document))
    started = start_server(folder / "home", config, ATELIER_MEMORY=str(MEMORY), ATELIER_TRUSTED_PROXIES="127.0.0.1")
    try:
        (folder / "printed").write_text("".join(started.wait_until_ready()))
        yield started
    finally:
        status = started.stop()
    assert status == 0


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def test_a_kept_model_is_there_when_the_server_is_ready(http: httpx.Client) -> None:
    assert http.get("/v1/models/kept").json()["state"] == "ready"


def test_a_preloaded_model_is_there_at_first_and_leaves_like_any_other(http: httpx.Client) -> None:
    counted = re.compile(r'atelier_model_loads_total\{alias="early"\} 1\.0')
    wait_until(lambda: counted.search(http.get("/metrics").text) is not None)
    wait_until(lambda: "early" not in workers(http))
    assert workers(http)["kept"]["evictions"] == {}


@pytest.mark.nightly
def test_twenty_requests_each_for_two_models_in_turn_are_all_answered_with_one_load_each_turn(
    http: httpx.Client,
) -> None:
    for turn in range(4):  # each of them comes back once
        ask, alias, other = (ask_a, "a", "b") if turn % 2 == 0 else (ask_b, "b", "a")
        assert at_once(ask, http) == [200] * 20
        assert other not in workers(http)
        wait_until(lambda: loads(http, alias) > turn // 2)  # noqa: B023
        assert loads(http, alias) == turn // 2 + 1
    assert "kept" in workers(http)


def test_requests_for_both_at_once_are_all_answered(http: httpx.Client) -> None:
    before = loads(http, "a") + loads(http, "b")
    with ThreadPoolExecutor(2) as both:
        first, second = both.submit(at_once, ask_a, http), both.submit(at_once, ask_b, http)
        assert first.result() + second.result() == [200] * 40
    assert loads(http, "a") + loads(http, "b") <= before + 3


@pytest.mark.nightly
def test_a_flood_is_refused_in_words_and_who_obeys_retry_after_is_answered(server: Server, http: httpx.Client) -> None:
    def ask(_: int) -> httpx.Response:
        return ask_b(http, 3)

    ask_b(http).raise_for_status()
    with ThreadPoolExecutor(50) as callers:  # of whom 32 are taken
        answers = list(callers.map(ask, range(50)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert fault(answer) == (429, "rate_limit_exceeded", None)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=10) as sdk, ThreadPoolExecutor(50) as callers:
        spoken = callers.map(
            lambda n: sdk.audio.speech.create(model="b", voice="alloy", input=f"Number {n}."), range(50)
        )
        assert all(each.content for each in spoken)


@pytest.mark.nightly
def test_who_asks_once_does_not_wait_for_all_that_another_has_asked(http: httpx.Client) -> None:
    order: list[str] = []

    def ask(who: str) -> None:
        body = {"model": "b", "input": new_text(6), "voice": "alloy"}
        http.post("/v1/audio/speech", json=body, headers={"X-Forwarded-For": who}).raise_for_status()
        order.append(who)

    ask_b(http).raise_for_status()
    with ThreadPoolExecutor(31) as callers:
        flood = [callers.submit(ask, "192.0.2.1") for _ in range(30)]
        wait_until(lambda: workers(http)["b"]["queue"] > 20)
        lone = callers.submit(ask, "192.0.2.2")
        for each in (*flood, lone):
            each.result()
    assert order.index("192.0.2.2") < 20


@pytest.mark.nightly
def test_a_model_in_use_all_the_time_makes_room_for_another_after_its_patience(http: httpx.Client) -> None:
    ask_b(http).raise_for_status()
    with asking_on([partial(ask_b, http, sentences=20)] * 3) as answers:
        assert ask_a(http).status_code == 200
    assert set(answers) == {200}


def test_a_busy_model_that_is_evicted_ends_its_work_first(http: httpx.Client) -> None:
    ask_b(http).raise_for_status()
    with ThreadPoolExecutor(1) as other:
        speaking = other.submit(ask_b, http, 60)
        wait_until(lambda: workers(http)["b"]["queue"] > 0 or workers(http)["b"]["idle_seconds"] == 0)
        evicted = http.post("/v1/system/evict/b")
        assert evicted.json() == {"status": "evicted", "alias": "b"}
        assert speaking.result().status_code == 200
    assert "b" not in workers(http)


@pytest.mark.nightly
def test_a_model_in_demand_gets_a_second_replica_which_leaves_when_the_demand_has_gone(
    server: Server, http: httpx.Client, tmp_path: Path
) -> None:
    def ready() -> list[dict[str, Any]]:
        replicas: list[dict[str, Any]] = workers(http).get("twice", {}).get("replicas", [])
        return [each for each in replicas if each["state"] == "ready"]

    one = partial(speak, http, "twice", sentences=8)
    with asking_on([one]) as answers:
        with asking_on([one] * 3) as more:
            wait_until(lambda: len(ready()) == 2 and all(each["request_count"] > 2 for each in ready()))
            assert len({each["pid"] for each in ready()}) == 2
            wait_until(lambda: 'atelier_model_replicas{alias="twice"} 2.0' in http.get("/metrics").text)
            assert re.search(r"^twice +voice +ready x2 ", atelier(server, tmp_path, "models"), re.MULTILINE)
        wait_until(lambda: len(workers(http)["twice"]["replicas"]) == 1)
        before = len(answers)
        wait_until(lambda: len(answers) > before + 2)  # who is left goes on being answered
    assert {*answers, *more} == {200}
    assert workers(http)["twice"]["evictions"] == {"idle": 1}


def of_the_pair(http: httpx.Client) -> dict[int, int]:
    """The requests that each replica of `pair` has worked on, by process."""
    replicas = workers(http).get("pair", {}).get("replicas", [])
    return {each["pid"]: each["request_count"] for each in replicas if each["state"] == "ready"}


@pytest.mark.nightly
def test_a_stored_voice_goes_on_speaking_where_it_was_heard(http: httpx.Client) -> None:
    sample = {"recording": ("sample.wav", recording())}
    consent = http.post("/v1/audio/voice_consents", data={"name": "mine", "language": "en-US"}, files=sample)
    form = {"name": "mine", "consent": consent.raise_for_status().json()["id"], "text": "hello"}
    http.post("/v1/audio/voices", data=form, files={"audio_sample": sample["recording"]}).raise_for_status()
    speak(http, "pair").raise_for_status()
    wait_until(lambda: sorted(of_the_pair(http).values()) == [0, 1])
    before = of_the_pair(http)
    for _ in range(8):
        speak(http, "pair", voice="mine").raise_for_status()
    wait_until(lambda: sum(of_the_pair(http).values()) == 9)
    assert sorted(count - before[pid] for pid, count in of_the_pair(http).items()) == [0, 8]


@pytest.mark.nightly
def test_all_replicas_of_a_model_are_evicted_together(http: httpx.Client) -> None:
    speak(http, "pair").raise_for_status()
    wait_until(lambda: len(of_the_pair(http)) == 2)
    assert http.post("/v1/system/evict/pair").json() == {"status": "evicted", "alias": "pair"}
    assert "pair" not in workers(http)


def test_a_model_is_loaded_by_hand_and_unloaded_by_hand(http: httpx.Client) -> None:
    loaded = http.post("/v1/system/load/b").raise_for_status().json()
    assert (loaded["status"], loaded["alias"]) == ("ready", "b")
    assert loaded["seconds"] > 0
    worker = workers(http)["b"]
    assert worker["state"] == "ready"
    assert worker["memory_gb"] > 0.05
    assert worker["request_count"] == 0
    assert http.post("/v1/system/evict/b").json() == {"status": "evicted", "alias": "b"}
    assert fault(http.post("/v1/system/evict/b")) == (404, "model_not_loaded", None)


def test_what_cannot_be_evicted_or_loaded_is_said(http: httpx.Client) -> None:
    assert fault(http.post("/v1/system/evict/none")) == (404, "model_not_found", "alias")
    assert fault(http.post("/v1/system/load/none")) == (404, "model_not_found", "alias")
    assert fault(http.post("/v1/system/evict/kept")) == (409, "model_kept", None)


def test_a_model_that_does_not_fit_beside_the_kept_ones_is_refused_at_once(http: httpx.Client) -> None:
    speech = {"model": "beside", "input": "Hello.", "voice": "alloy"}
    assert fault(http.post("/v1/audio/speech", json=speech)) == (503, "model_too_large", None)
    assert "kept" in workers(http)


def test_looking_at_a_model_neither_wakes_it_nor_keeps_it(http: httpx.Client) -> None:
    ask_b(http).raise_for_status()
    idle = [workers(http)["b"]["idle_seconds"]]

    def has_left() -> bool:
        for path in ("/readyz", "/v1/models", "/v1/models/b", "/healthz"):
            http.get(path)
        there = workers(http)
        if "b" in there:
            idle.append(there["b"]["idle_seconds"])
        return "b" not in there

    wait_until(has_left)
    idle = [seconds for seconds in idle if seconds > 2]  # the state may be a second old
    assert idle == sorted(idle)
    assert idle[-1] > IDLE / 2
    time.sleep(2)
    assert not {"a", "b"} & workers(http).keys()
    assert "kept" in workers(http)


def run(server: Server, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as it ended."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=environment(home, ATELIER_URL=server.url),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def atelier(server: Server, home: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints, where it fails as it should."""
    ended = run(server, home, *arguments)
    assert ended.returncode == status, ended.stderr
    return ended.stdout if status == 0 else ended.stderr


@pytest.mark.nightly
def test_the_command_lists_loads_and_unloads_models(server: Server, tmp_path: Path) -> None:
    command = partial(atelier, server, tmp_path)
    assert re.fullmatch(r"b is ready, after \d+\.\d s\n", command("load", "b"))
    listed = {line.split()[0]: line.split()[1:] for line in command("models").splitlines()}
    assert (listed["b"][0], listed["b"][-1]) == ("voice", "builtin:voice")
    assert listed["a"] == ["voice", "cold", "builtin:voice"]
    assert listed["kept"][1] == "ready"
    gone = run(server, tmp_path, "evict", "b")
    while gone.returncode:  # on a busy machine it leaves by itself before the command has started
        assert "the model 'b' is not loaded" in gone.stderr
        command("load", "b")
        gone = run(server, tmp_path, "evict", "b")
    assert gone.stdout == "b is unloaded\n"
    assert "the model 'b' is not loaded" in command("evict", "b", status=2)
    assert "there is no model 'none'" in command("load", "none", status=2)
    assert "keep: true" in command("evict", "kept", status=2)


def test_the_status_counts_memory_and_says_what_is_configured(http: httpx.Client) -> None:
    status = http.get("/v1/system/status").json()
    memory, config = status["memory"], status["config"]
    assert memory["used_gb"] + memory["available_gb"] == pytest.approx(memory["total_gb"], abs=0.01)
    assert memory["models_loaded_gb"] == pytest.approx(
        sum(w["memory_gb"] for w in status["workers"].values()), abs=0.01
    )
    assert config["idle_timeout_seconds"] == IDLE
    assert config["max_requests_before_restart"] == 0
    assert config["safety_margin_gb"] == pytest.approx(memory["total_gb"] - MEMORY / 1e9, abs=0.01)


@pytest.mark.nightly
def test_deploying_a_changed_configuration_loses_no_request(server: Server, http: httpx.Client, tmp_path: Path) -> None:
    ask_b(http).raise_for_status()
    folder = server.home.parent
    document = yaml.safe_load((folder / "fleet.yaml").read_text())
    document["http_options"]["port"] = server.port
    document["applications"][0]["args"]["idle_timeout"] = IDLE + 1
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    users = [partial(ask_b, http), partial(ask_b, http, 20), partial(http.get, "/healthz")]
    with asking_on(users) as answers:
        subprocess.run(
            [Path(sys.executable).with_name("serve"), "deploy", changed, "--address", dashboard(folder)],
            env={**environment(tmp_path), "RAY_AUTH_MODE": "token"},
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        wait_until(lambda: http.get("/v1/system/status").json()["config"]["idle_timeout_seconds"] == IDLE + 1)
        wait_until(lambda: "b" in workers(http))
        time.sleep(5)  # the old ones end what they have
    assert set(answers) == {200}


def dashboard(folder: Path) -> str:
    """Where Ray's dashboard is, as the server said at its start."""
    found = re.search(r"dashboard: (http://\S+)", (folder / "printed").read_text())
    assert found
    return found[1]
