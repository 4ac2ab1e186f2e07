"""What is counted, and how it is exposed."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments.imaging import FinishedImage, Progress
from deployments.ingress.errors import ApiError
from deployments.ingress.metrics import Metrics, ModelFacts
from deployments.states import ModelState
from deployments.vision import Answer
from deployments.voice import SpeechChunk
from models.tasks import ChatDelta, Usage
from tests.deployments.apps import client, make_app

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics.render({}, {})).get((name, frozenset(labels.items())))


async def test_requests_are_counted_by_the_template_of_their_route_and_never_by_their_path(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    metrics = app.state.atelier.metrics
    async with client(app) as http:
        for path in ("/v1/models/secret-one", "/v1/models/secret-two", "/secret-three", "/healthz"):
            await http.get(path)
        await http.request("SECRET", "/healthz")
        await http.head("/healthz")
    page = metrics.render({}, {}).decode()
    assert "secret" not in page.lower()
    by_route = {"method": "GET", "route": "/v1/models/{name:path}"}
    assert told(metrics, "atelier_http_requests_total", **by_route, status="4xx") == 2
    assert told(metrics, "atelier_http_request_seconds_count", **by_route) == 2
    assert told(metrics, "atelier_http_requests_total", method="GET", route="none", status="4xx") == 1
    assert told(metrics, "atelier_http_requests_total", method="GET", route="/healthz", status="2xx") == 1
    assert told(metrics, "atelier_http_requests_total", method="HEAD", route="/healthz", status="2xx") == 1
    assert told(metrics, "atelier_http_requests_total", method="other", route="none", status="4xx") == 1
    assert told(metrics, "atelier_http_requests_in_flight") == 0


async def test_who_is_refused_for_a_key_is_counted_where_they_wanted_to_go(tmp_path: Path) -> None:
    app = make_app(tmp_path, {"ATELIER_API_KEYS": "k"})
    async with client(app) as http:
        assert (await http.get("/metrics")).status_code == 401
    labels = {"method": "GET", "route": "/metrics", "status": "4xx"}
    assert told(app.state.atelier.metrics, "atelier_http_requests_total", **labels) == 1


async def test_two_applications_count_each_by_itself(tmp_path: Path) -> None:
    one, other = make_app(tmp_path), make_app(tmp_path)
    async with client(one) as http:
        await http.get("/healthz")
    labels = {"method": "GET", "route": "/healthz", "status": "2xx"}
    assert told(one.state.atelier.metrics, "atelier_http_requests_total", **labels) == 1
    assert told(other.state.atelier.metrics, "atelier_http_requests_total", **labels) is None


def test_a_429_and_a_replay_are_counted_apart() -> None:
    metrics = Metrics()
    metrics.answered("/v1/a", "POST", 429, 0.1, is_replay=False)
    metrics.answered("/v1/a", "POST", 200, 0.1, is_replay=True)
    metrics.answered("/v1/a", "POST", 0, 0.1, is_replay=False)
    assert told(metrics, "atelier_http_too_many_requests_total", route="/v1/a") == 1
    assert told(metrics, "atelier_idempotent_replays_total", route="/v1/a") == 1
    assert told(metrics, "atelier_http_requests_total", route="/v1/a", method="POST", status="none") == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiError(429, "full", code="rate_limit_exceeded"), "queue_full"),
        (ApiError(500, "broken", code="MODEL_LOAD_FAILED"), "load_failed"),
        (ApiError(400, "no", code="invalid_value"), "refused"),
        (ApiError(503, "later", code="model_starting"), "unavailable"),
        (ApiError(500, "broken", code="INFERENCE_FAILED"), "failed"),
        (GeneratorExit(), "cancelled"),
    ],
)
def test_a_call_counts_by_how_it_ended(error: BaseException, outcome: str) -> None:
    metrics = Metrics()
    with pytest.raises(type(error)), metrics.call("m"):
        raise error
    assert told(metrics, "atelier_model_calls_total", alias="m", outcome=outcome) == 1
    assert told(metrics, "atelier_model_call_seconds_count", alias="m") is None


def test_a_streamed_call_is_timed_to_its_first_piece_and_to_its_end() -> None:
    metrics = Metrics()
    with metrics.call("m") as call:
        call.piece()
        call.piece()
        call.end()
    for name in ("atelier_model_first_piece_seconds_count", "atelier_model_call_seconds_count"):
        assert told(metrics, name, alias="m") == 1


def test_what_models_make_is_counted_from_their_results() -> None:
    metrics = Metrics()
    for result in (
        Progress(1, 2), FinishedImage(b"", 1), FinishedImage(b"", 2), SpeechChunk(b"", 1.5), SpeechChunk(b"", 0.5),
        Answer("a", "stop", Usage(10, 3)), ChatDelta("a"), ChatDelta("", "stop", Usage(7, 2)),
    ):  # fmt: skip
        metrics.made("m", result)
    assert told(metrics, "atelier_images_total", alias="m") == 2
    assert told(metrics, "atelier_audio_seconds_total", alias="m") == 2
    assert told(metrics, "atelier_tokens_total", alias="m", direction="in") == 17
    assert told(metrics, "atelier_tokens_total", alias="m", direction="out") == 5


def test_facts_of_models_are_shown_as_far_as_they_are_known() -> None:
    facts = {
        "here": ModelFacts(ModelState.READY, running=8, waiting=2, resident_bytes=1000, loads=3, evictions=1),
        "there": ModelFacts(ModelState.COLD, running=0, waiting=0),
    }
    found = samples(Metrics().render(facts, {}))
    assert found["atelier_model_state", frozenset({("alias", "here"), ("state", "ready")})] == 1
    assert found["atelier_model_state", frozenset({("alias", "here"), ("state", "cold")})] == 0
    assert found["atelier_model_requests", frozenset({("alias", "here"), ("state", "waiting")})] == 2
    for name, value in (("resident_bytes", 1000), ("loads_total", 3), ("evictions_total", 1)):
        assert found[f"atelier_model_{name}", frozenset({("alias", "here")})] == value
        assert (f"atelier_model_{name}", frozenset({("alias", "there")})) not in found


def test_one_of_several_ingress_replicas_says_which_it_is_on_every_sample() -> None:
    metrics = Metrics()
    metrics.expect("m")
    for _, labels in samples(metrics.render({"m": ModelFacts(ModelState.COLD, 0, 0)}, {"ingress": "1"})):
        assert ("ingress", "1") in labels
