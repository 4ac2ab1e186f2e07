"""The files for Prometheus and Grafana, held against what the server really tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cli.environment import ROOT, serving_environment
from deployments.ingress.metrics import Metrics
from tests.prometheus_server import CONFIG, RULES, promtool

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "atelier.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
DOCUMENT = (ROOT / "docs" / "observability.md").read_text()
ALERTS = Path(__file__).with_name("alerts.yml")


def exported() -> dict[str, str]:
    """Every name that an expression may use, with the family's own."""
    names: dict[str, str] = {}
    endings = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
    for family in text_string_to_metric_families(Metrics().render({}, {}).decode()):
        names |= {family.name + ending: family.name for ending in endings.get(family.type, ("",))}
    return names


def used(text: str) -> set[str]:
    return set(re.findall(r"\batelier_\w+", text))


def expressions() -> list[str]:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    queries = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
    variables = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    return [*(rule["expr"] for rule in rules), *queries, *variables]


def test_every_metric_in_a_rule_or_panel_is_one_that_the_server_exports() -> None:
    assert len(expressions()) > 30
    for expression in expressions():
        assert used(expression) <= set(exported()), expression


def test_every_metric_is_described_and_every_described_one_exists() -> None:
    families = {name.removesuffix("_total") for name in exported().values()}
    described = {name.removesuffix("_total") for name in re.findall(r"^\| `(atelier_\w+)", DOCUMENT, re.MULTILINE)}
    process = {name for name in families if name.startswith("atelier_process_")}
    assert described == families - process | {"atelier_process_"}


def test_every_metric_but_those_of_the_process_is_in_the_dashboard_or_an_alert() -> None:
    seen = {exported()[name] for expression in expressions() for name in used(expression)}
    assert {name for name in exported().values() if not name.startswith("atelier_process_")} == seen - {
        "atelier_process_resident_memory_bytes"
    }


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    (source,) = (each for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource")
    assert source["query"] == "prometheus"
    assert "id" not in DASHBOARD  # one of another Grafana would be overwritten
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == [
        "Overview", "Models", "Pictures, voice and vision", "Queue and refusals", "Cache and store", "Process memory",
    ]  # fmt: skip
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", CONFIG)


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    document = yaml.safe_load(ALERTS.read_text())
    document["rule_files"] = [str(RULES)]
    file = tmp_path / "alerts.yml"
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", file)
    fired = {case["alertname"] for test in document["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}


TRACED = {"ATELIER_TRACES": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("set_to", "ratio"),
    [
        ({}, None),
        ({"ATELIER_TRACES": "1"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, None),
        (TRACED, "1"),
        (
            {
                "ATELIER_TRACES": "1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/v1/traces",
                "OTEL_TRACES_SAMPLER_ARG": "0.1",
            },
            "0.1",
        ),
        ({**TRACED, "OTEL_SDK_DISABLED": "true"}, None),
        ({**TRACED, "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_traces_are_made_only_where_they_are_wanted_and_an_endpoint_is_named(
    set_to: dict[str, str], ratio: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "ATELIER_TRACES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_TRACES_SAMPLER_ARG",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    environ = serving_environment("127.0.0.1", 8000, tmp_path, tmp_path)
    assert environ.get("RAY_SERVE_TRACING_SAMPLING_RATIO") == ratio
    assert ("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH" in environ) == (ratio is not None)
