"""`/metrics` of a running server, as a real Prometheus reads it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx
import yaml
from openai import OpenAI
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.api.pictures import png
from tests.prometheus_server import RULES, prometheus, promtool
from tests.servers import Server
from tests.test_monitoring import expressions


def counts(http: httpx.Client) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in their order."""
    page = http.get("/metrics").raise_for_status().text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_a_scrape_is_text_that_promtool_has_nothing_to_say_against(http: httpx.Client) -> None:
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    promtool("check", "metrics", given=answer.text)


def test_what_was_made_is_counted(http: httpx.Client, sdk: OpenAI) -> None:
    before = counts(http)
    sdk.images.generate(model="image-gen", prompt="a big red circle", n=2)
    said = sdk.chat.completions.create(model="vlm-fast", messages=[{"role": "user", "content": "Hello?"}])
    list(sdk.chat.completions.create(model="vlm-fast", messages=[{"role": "user", "content": "Hello?"}], stream=True))
    http.post(
        "/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Good morning."}
    ).raise_for_status()
    http.post("/v1/voice/generate", data={"text": "Good morning.", "voice": "alloy"}).raise_for_status()
    picture = png(Image.effect_noise((64, 64), 90))  # nobody has had this one captioned
    key = {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(2):
        http.post("/api/caption-images?model=blip", files={"images": ("a.png", picture)}).raise_for_status()
        http.post("/v1/images/generations", json={"prompt": "a star"}, headers=key).raise_for_status()
    after = counts(http)

    def more(*sample: str) -> float:
        return after.get(sample, 0) - before.get(sample, 0)

    assert more("atelier_images_total", "image-gen") == 3
    assert said.usage is not None
    assert more("atelier_tokens_total", "vlm-fast", "in") == 2 * said.usage.prompt_tokens
    assert more("atelier_tokens_total", "vlm-fast", "out") == 2 * said.usage.completion_tokens
    assert more("atelier_audio_seconds_total", "voice") > 1
    assert more("atelier_captions_total", "blip") == 1
    assert more("atelier_caption_cache_lookups_total", "hit") == 1
    assert more("atelier_caption_cache_lookups_total", "miss") == 1
    assert more("atelier_idempotent_replays_total", "/v1/images/generations") == 1
    assert more("atelier_model_calls_total", "image-gen", "ok") == 2
    assert more("atelier_model_first_piece_seconds_count", "vlm-fast") == 1
    assert more("atelier_http_requests_total", "POST", "/v1/images/generations", "2xx") == 3
    assert after["atelier_model_state", "image-gen", "ready"] == 1


def test_a_refused_call_counts_as_the_request_s_fault(http: httpx.Client) -> None:
    before = counts(http)
    asked = {"model": "clip", "input": "a circle", "dimensions": 1000}
    assert http.post("/v1/embeddings", json=asked).status_code == 400
    after = counts(http)
    refused = ("atelier_model_calls_total", "clip", "refused")
    assert after[refused] - before.get(refused, 0) == 1


def test_a_scrape_wakes_no_model(http: httpx.Client) -> None:
    def of_models(name: str) -> dict[tuple[str, ...], float]:
        return {sample: value for sample, value in counts(http).items() if sample[0] == name}

    http.post("/v1/embeddings", json={"model": "clip", "input": "a circle"}).raise_for_status()
    calls, states = of_models("atelier_model_calls_total"), of_models("atelier_model_state")
    assert states["atelier_model_state", "clip", "ready"] == 1
    for _ in range(3):
        assert of_models("atelier_model_calls_total") == calls
    assert {name for name, cold in of_models("atelier_model_state").items() if name[2] == "starting" and cold} == set()


def test_a_prometheus_reads_the_server_and_evaluates_every_rule_and_panel(
    server: Server, http: httpx.Client, tmp_path: Path
) -> None:
    http.get("/v1/models/none-of-this-name")
    with prometheus(f"127.0.0.1:{server.port}", tmp_path) as seen:

        def rules() -> list[dict[str, Any]]:
            return [rule for group in seen.ask("rules")["groups"] for rule in group["rules"]]

        seen.wait_for(lambda: seen.value('up{job="atelier"}') == 1)
        counted = 'atelier_http_requests_total{route="/v1/models/{name:path}",status="4xx"}'
        seen.wait_for(lambda: (seen.value(counted) or 0) >= 1)
        seen.wait_for(lambda: bool(rules()) and all(rule["health"] == "ok" for rule in rules()))
        assert {rule["name"] for rule in rules()} == {
            rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
        }
        assert not [alert for alert in seen.ask("alerts")["alerts"] if alert["state"] == "firing"]
        filled = {"$job": "atelier", "$instance": ".*", "$__rate_interval": "1m"}
        for expression in expressions():
            for name, value in filled.items():
                expression = expression.replace(name, value)
            if not expression.startswith("label_values"):
                seen.ask("query", query=expression)  # raises for one that Prometheus does not understand
