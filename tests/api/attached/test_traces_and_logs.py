"""One request's trace and log lines, from the ingress to the engine, on a server that has both switched on."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from tests.api.pictures import png, scene
from tests.collector import Collector, Span
from tests.servers import Server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CHAT = {"model": "vlm-fast", "messages": [{"role": "user", "content": "a confidential question"}]}


def lines_of(server: Server, request_id: str, replicas: int = 1) -> list[dict[str, Any]]:
    """What so many replicas, at least, have logged of a request; each line of each file is one JSON object."""
    until = time.monotonic() + 60
    while True:  # they write their lines when the caller has the answer already
        files = (server.home / "logs" / "serve").glob("replica_*.log")
        written = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        lines = [line for line in written if line.get("request_id") == request_id]
        if any("status" in line for line in lines) and len({line["deployment"] for line in lines}) >= replicas:
            return lines
        assert time.monotonic() < until, written
        time.sleep(0.05)


def above(span: Span, spans: list[Span]) -> list[Span]:
    """A span's ancestors, nearest first."""
    by_id = {each.id: each for each in spans}
    found = []
    while span.parent in by_id:
        span = by_id[span.parent]
        found.append(span)
    return found


def first_of(span: Span, spans: list[Span]) -> Span:
    """The first of a trace that this server sent; just after a start, HAProxy still asks Serve's proxy."""
    return [span, *above(span, spans)][-1]


def traces_of_requests(spans: list[Span]) -> set[str]:
    return {span.trace for span in spans if span.name.startswith(("GET ", "POST ", "proxy_http_request "))}


def test_a_caller_s_trace_goes_on_from_the_ingress_to_the_engine(caller: httpx.Client, received: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "traced-1"}
    caller.post("/v1/chat/completions", json=CHAT, headers=headers).raise_for_status()

    def ours(spans: list[Span]) -> dict[str, Span]:
        return {span.name: span for span in spans if span.trace == TRACE}

    names = {"POST /v1/chat/completions", "call vlm-fast", "vlm-fast queue", "vlm-fast work"}
    spans = received.wait_for(lambda spans: names <= set(ours(spans)))
    found = ours(spans)
    request = found["POST /v1/chat/completions"]
    assert first_of(request, spans).parent == PARENT
    assert request.attributes["request_id"] == "traced-1"
    assert request.attributes["atelier.model"] == "vlm-fast"
    assert found["call vlm-fast"].parent == request.id
    for name in ("vlm-fast queue", "vlm-fast work"):
        handled, routed, *rest = (span.name for span in above(found[name], spans))
        assert handled == "replica_handle_request vlm-fast chat"
        assert routed == "route_to_replica vlm-fast chat"
        assert rest[:2] == ["call vlm-fast", "POST /v1/chat/completions"]
    assert {span.service for span in spans} == {"atelier"}


def test_a_stream_and_a_caption_have_one_trace_each(caller: httpx.Client, received: Collector) -> None:
    star = {"prompt": "a star", "stream": True, "steps": 2}
    caller.post("/v1/images/generations", json=star, headers={"x-request-id": "drawn"}).raise_for_status()
    picture = {"images": ("a.png", png(scene("star", "red", "green")))}  # of which no cache knows
    told = caller.post("/api/caption-images?model=blip", files=picture, headers={"x-request-id": "told"})
    assert told.raise_for_status().json()["results"][0]["cache"] is False
    for request_id, route, work in (
        ("drawn", "/v1/images/generations", "image-gen work"),
        ("told", "/api/caption-images", "blip work"),
    ):

        def found(spans: list[Span], request_id: str = request_id, route: str = route) -> Span | None:
            named = (span for span in spans if span.name == f"POST {route}")
            return next((span for span in named if span.attributes["request_id"] == request_id), None)

        def works(spans: list[Span], work: str = work) -> list[Span]:
            return [span for span in spans if span.name == work and found(spans) in above(span, spans)]

        spans = received.wait_for(lambda spans: bool(works(spans)))
        (worked,) = works(spans)
        assert not first_of(worked, spans).parent


def test_a_trace_that_its_caller_does_not_sample_is_not_sent_in_parts(
    caller: httpx.Client, received: Collector
) -> None:
    before = {span.trace for span in received.spans}
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00", "x-request-id": "unsampled"}
    caller.post("/v1/chat/completions", json=CHAT, headers=headers).raise_for_status()
    caller.get("/v1/models", headers={"x-request-id": "afterwards"})
    spans = received.wait_for(lambda spans: any(s.attributes.get("request_id") == "afterwards" for s in spans))
    assert not [span for span in spans if span.attributes.get("request_id") == "unsampled"]
    assert not [span for span in spans if span.trace == "1" * 32]
    # and nothing was sent that belongs to no request
    received.wait_for(lambda spans: {span.trace for span in spans} - before == traces_of_requests(spans) - before)


def test_a_request_is_one_json_line_in_the_ingress_and_its_id_is_in_the_replica_s(
    caller: httpx.Client, attached: Server
) -> None:
    caller.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "logged-1"}).raise_for_status()
    lines = lines_of(attached, "logged-1", replicas=2)
    (told,) = (line for line in lines if "status" in line)
    assert (told["method"], told["route"], told["status"]) == ("POST", "/v1/chat/completions", 200)
    assert told["model"] == "vlm-fast"
    assert len(told["caller"]) == 32
    (worked,) = (line for line in lines if line["deployment"] == "atelier_vlm-fast")
    assert worked["model"] == "vlm-fast"
    # the replica's clock stops when its last piece is on its way, and the ingress may have answered by then
    assert 0 < worked["milliseconds"] <= told["milliseconds"] + 50


def test_a_caption_s_lines_have_the_id_of_who_asked(caller: httpx.Client, attached: Server) -> None:
    sent = {"images": ("a.png", png())}
    prompt = {"caption_prompt": "a picture of", "model": "blip"}
    caller.post(
        "/api/caption-images", params=prompt, files=sent, headers={"x-request-id": "logged-2"}
    ).raise_for_status()
    deployments = {line["deployment"] for line in lines_of(attached, "logged-2")}
    assert deployments == {"atelier_ingress", "atelier_blip"}


def test_nothing_secret_is_logged_or_traced(caller: httpx.Client, attached: Server, received: Collector) -> None:
    refused = {"Authorization": "Bearer not-a-key", "x-request-id": "refused-1"}
    assert caller.get("/metrics", headers=refused).status_code == 401
    (told,) = (line for line in lines_of(attached, "refused-1") if "status" in line)
    assert "caller" not in told
    spans = received.wait_for(lambda spans: any(s.attributes.get("request_id") == "refused-1" for s in spans))
    written = "".join(file.read_text() for file in (attached.home / "logs" / "serve").glob("*.log")) + repr(spans)
    for secret in ("secret", "not-a-key", "confidential"):
        assert secret not in written


def test_a_scrape_with_the_key_of_a_user_is_answered(caller: httpx.Client) -> None:
    assert "atelier_model_state" in caller.get("/metrics").raise_for_status().text
