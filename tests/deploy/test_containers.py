"""The image's Dockerfile and the compose files. tests/fresh/image.sh builds the image and runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

import settings
from cli.environment import ROOT, free_ports
from tests.fresh import dockerfile
from tests.prometheus_server import RULES, promtool, started

FOLDER = ROOT / "deploy" / "container"
COMPOSE = sorted(FOLDER.glob("compose*.yaml"))
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / name).read_text())["services"]
    return found


def test_there_are_compose_files_for_a_cpu_a_gpu_and_the_whole() -> None:
    assert [each.name for each in COMPOSE] == ["compose.full.yaml", "compose.gpu.yaml", "compose.yaml"]
    assert set(services("compose.full.yaml")) == {"atelier", "redis", "postgres", "s3", "prometheus", "grafana"}


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_a_compose_file_is_one_by_the_specification(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    Draft7Validator(SCHEMA).validate(document)
    document["services"]["atelier"]["enviroment"] = {}
    assert any("enviroment" in error.message for error in Draft7Validator(SCHEMA).iter_errors(document))


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_what_compose_mounts_is_there_and_its_volumes_are_declared(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    for service in document["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), mount
            else:
                assert source in document["volumes"], mount


def test_compose_sets_variables_that_the_server_knows() -> None:
    described = (ROOT / "docs" / "configuration.md").read_text()
    for file in COMPOSE:
        for name in services(file.name)["atelier"].get("environment", {}):
            assert f"`{name}`" in described or name == "HF_TOKEN", name


def test_no_password_has_a_default() -> None:
    text = (FOLDER / "compose.full.yaml").read_text()
    for name in ("POSTGRES_PASSWORD", "S3_SECRET", "GRAFANA_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}[^}}]*\}}", text)) == {f"${{{name}:?choose one}}"}


def test_the_server_of_compose_has_no_privileges_and_is_published_on_this_machine_only() -> None:
    server = services("compose.yaml")["atelier"]
    assert server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert server["ports"] == ["${PUBLISH:-127.0.0.1}:${PORT:-8000}:8000"]


def test_the_dockerfile_has_both_targets_a_user_a_health_check_and_tini() -> None:
    lines = dockerfile.instructions()
    stages = [rest.split()[-1] for name, rest in lines if name == "FROM"]
    assert stages[-2:] == ["cpu", "cuda"]
    assert dockerfile.ancestry("cpu") == {"system", "build", "build-cpu", "server", "cpu"}
    assert [rest for name, rest in lines if name == "USER"] == ["atelier", "atelier"]
    assert ("ENTRYPOINT", '["tini", "--", "/opt/atelier/.venv/bin/atelier"]') in lines
    assert any(name == "HEALTHCHECK" and "health.py" in rest for name, rest in lines)
    for name, rest in lines:
        if name == "RUN":  # the work is in files, which can be carried out without Docker
            assert rest.startswith("sh "), rest


def test_the_image_for_gpus_has_the_packages_of_the_engines_that_compose_starts_there() -> None:
    _, *options, config = services("compose.gpu.yaml")["atelier"]["command"]
    assert options == ["--config"]
    wanted = settings.load(ROOT / config, {}).environments
    lines = dockerfile.instructions()
    stage = lines[lines.index(("FROM", "build AS build-cuda")) :]
    assert stage[1] == ("ARG", f"ENVIRONMENTS={' '.join(wanted)}")
    assert {f"requirements.{name}.lock" for name in wanted} <= set(dockerfile.committed())


def test_the_image_has_all_that_serves_and_nothing_else() -> None:
    files = set(dockerfile.committed())
    assert {"graph.py", "cli/__main__.py", "serve_config.yaml", "studio/index.html", "requirements.lock"} <= files
    assert "models/builtin/image/model_index.json" in files
    assert not [
        each for each in files if each.startswith(("tests/", "training/", "bench/", "docs/", ".", "deploy/kuberay"))
    ]
    assert dockerfile.is_ignored("cli/__pycache__/up.pyc", ["*", "!cli", "**/__pycache__"])
    assert not dockerfile.is_ignored("cli/up.py", ["*", "!cli", "**/__pycache__"])


def test_the_health_check_fails_where_nothing_listens() -> None:
    (port,) = free_ports(1)
    done = subprocess.run(
        ["python3", str(FOLDER / "health.py")], env={"PORT": str(port), "PATH": "/usr/local/bin:/usr/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


@pytest.mark.nightly
def test_the_prometheus_of_compose_reads_its_files_and_looks_at_the_server(tmp_path: Path) -> None:
    """A real one, with the two files where compose mounts them."""
    shutil.copy(FOLDER / "prometheus" / "prometheus.yml", tmp_path / "prometheus.yml")
    shutil.copy(RULES, tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yml")
    with started(tmp_path / "prometheus.yml", tmp_path) as server:
        server.wait_for(lambda: server.ask("targets", state="active")["activeTargets"] != [])
        (target,) = server.ask("targets", state="active")["activeTargets"]
        assert target["scrapeUrl"] == "http://atelier:8000/metrics"
        assert [each["name"] for each in server.ask("rules")["groups"]] == ["atelier"]


def test_grafana_is_given_the_dashboard_and_the_prometheus_of_compose() -> None:
    """By the files' own words: neither Debian nor a wheel has a Grafana that could be started."""
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "atelier.yml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services("compose.full.yaml")
    mounted = dict(each.split(":")[:2] for each in services("compose.full.yaml")["grafana"]["volumes"])
    assert mounted["../grafana/provisioning"] == "/etc/grafana/provisioning"
    assert Path(mounted["../grafana/atelier.json"]).parent == Path(provider["options"]["path"])
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "atelier.json").read_text())
    (variable,) = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    assert variable["query"] == source["type"]  # so its only one is chosen
    assert source["isDefault"] is True
