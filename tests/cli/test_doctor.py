"""`atelier doctor`: what it finds on this machine, and in configurations that want what is not here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

import settings
from cli.__main__ import app
from cli.environment import ROOT, as_typed, free_ports
from cli.examination import Finding, hub, machine, server
from models.checkpoints import local_folder
from tests.cli.test_server import answer, saying
from tests.hub import Hub, running_hub


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = local_folder("builtin:clip")
    assert folder
    with running_hub(folder, tmp_path / "cache", monkeypatch) as found:
        yield found


@pytest.fixture(autouse=True)
def _own_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PORT", str(free_ports(1)[0]))
    for name in ("HOST", "ATELIER_API_KEYS", "ATELIER_ADMIN_KEYS", "ATELIER_KEYS_FILE", "GATEWAY_API_KEY", "API_KEY"):
        monkeypatch.delenv(name, raising=False)


def changed(folder: Path, alias: str, **values: Any) -> Path:
    """The default configuration with another entry of a model."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0]["args"]["models"][alias] |= values
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def problems(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.about, each.what) for each in found if each.verdict == "problem"]


def test_a_machine_that_can_serve_the_default_configuration_has_no_problem(running: Hub) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0, done.stdout
    about = {each["about"] for each in found}
    assert {"configuration", "torch", "GPU", "memory", "ATELIER_HOME", "HAProxy", "address", "keys", "hub"} <= about
    assert all(each["mend"] for each in found if each["verdict"] != "ok")
    assert not (settings.load(ROOT / "serve_config.yaml").folder).exists(), "nothing is made"


def test_nothing_can_be_found_wrong_without_what_mends_it() -> None:
    assert Finding("ok", "GPU", "none, and none is needed").mend == ""
    for verdict in ("warning", "problem"):
        with pytest.raises(ValueError, match="what mends it is missing"):
            Finding(verdict, "GPU", "broken")


def test_a_program_is_named_by_its_path_where_a_shell_would_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert as_typed("hf") == "hf"
    monkeypatch.setenv("PATH", "/nowhere")
    assert as_typed("hf") == str(Path(sys.executable).with_name("hf"))
    assert Path(as_typed("hf")).exists()


def test_a_mistake_in_the_configuration_is_a_problem_with_the_command_that_shows_it(tmp_path: Path) -> None:
    path = changed(tmp_path, "clip", engine="nothing")
    done = CliRunner().invoke(app, ["doctor", "--config", str(path)])
    assert done.exit_code == 1
    assert "there is no such engine" in done.stdout
    assert f"→ {as_typed('atelier')} check {path}" in done.stdout


def test_a_model_that_needs_more_memory_than_there_is_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, "clip", memory=10**15)
    ((about, what),) = problems(machine.memory(settings.load(path), path))
    assert about == "memory"
    assert what.startswith("clip takes 1.0 PB of the ")


def test_a_program_that_does_not_start_is_a_problem_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'\nexit 9\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = ROOT / "serve_config.yaml"
    assert ("GPU", "nvidia-smi fails: NVIDIA-SMI has failed: no driver") in problems(
        machine.gpu(settings.load(path), path)
    )


def test_a_folder_that_cannot_be_written_to_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_HOME", "/proc/atelier")
    path = ROOT / "serve_config.yaml"
    ((about, what),) = problems(machine.disks(settings.load(path), path))
    assert (about, what.partition(":")[0]) == ("ATELIER_HOME", "cannot write to /proc")


def test_a_port_of_another_program_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "serve_config.yaml"
    with saying(lambda handler, _: answer(handler, 404)) as (url, _):
        port = httpx.URL(url).port
        monkeypatch.setenv("PORT", str(port))
        ((about, what),) = problems(server.address(settings.load(path), path))
        assert (about, what) == ("address", f"port {port} is already in use; choose another with PORT=…")
        assert server.health(settings.load(path), path) == []


@pytest.mark.parametrize(("status", "verdict"), [(200, "ok"), (503, "problem")])
def test_a_server_that_runs_is_asked_whether_it_is_ready(
    status: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "serve_config.yaml"
    with saying(lambda handler, _: answer(handler, status)) as (url, _):
        monkeypatch.setenv("PORT", str(httpx.URL(url).port))
        assert server.address(settings.load(path), path) == []
        (found,) = server.health(settings.load(path), path)
        assert found.verdict == verdict


@pytest.mark.parametrize(
    ("host", "key", "verdict"),
    [("127.0.0.1", "", "ok"), ("::1", "", "ok"), ("0.0.0.0", "", "problem"), ("0.0.0.0", "k" * 40, "ok")],
)
def test_an_open_server_is_a_problem_where_others_reach_it(
    host: str, key: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "serve_config.yaml"
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("ATELIER_API_KEYS", key)
    (found,) = server.keys(settings.load(path), path)
    assert found.verdict == verdict


def test_a_licence_that_is_not_accepted_is_a_problem_with_its_page(running: Hub, tmp_path: Path) -> None:
    path = changed(tmp_path, "clip", engine="clip", checkpoint="test/clip")
    assert problems(hub.access(settings.load(path), path)) == []
    running.is_gated = True
    (found,) = [each for each in hub.access(settings.load(path), path) if each.verdict == "problem"]
    assert found.about == "licence"
    assert found.mend == f"accept it at {running.url}/test/clip, then: {as_typed('hf')} auth login"


def test_a_hub_that_does_not_answer_is_a_problem_only_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    needing, default = changed(tmp_path, "clip", engine="clip", checkpoint="test/clip"), ROOT / "serve_config.yaml"
    (needed,) = hub.access(settings.load(needing), needing)
    (spared,) = hub.access(settings.load(default), default)
    assert (needed.verdict, spared.verdict) == ("problem", "warning")


def test_a_clock_that_is_wrong_is_found_by_the_hubs_own() -> None:
    said = httpx.Response(200, headers={"date": "Thu, 01 Jan 1970 01:00:00 GMT"})
    (ahead,) = hub._clock(said, 4200.0)
    (right,) = hub._clock(said, 3601.0)
    assert (ahead.verdict, ahead.what, right.verdict) == ("warning", "is 600 s ahead of the hub's", "ok")
