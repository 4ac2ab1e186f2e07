"""`atelier pull` and a hub that flows, stalls, refuses or is not to be asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.environment import ROOT
from models.checkpoints import local_folder
from tests.hub import REVISION, Hub, running_hub

SNAPSHOT = Path("models--test--clip", "snapshots", REVISION)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = local_folder("builtin:clip")
    assert folder
    with running_hub(folder, tmp_path / "cache", monkeypatch) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The default configuration, but that the model of image search is on the hub, under two aliases."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    models = document["applications"][0]["args"]["models"]
    models["clip"] |= {"engine": "clip", "checkpoint": "test/clip"}
    models["again"] = models["clip"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def pull(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["pull", "--config", str(config), *arguments])


def test_what_a_configuration_needs_is_downloaded_once_and_then_only_looked_at(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    done = pull(config)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("clip, again: test/clip is here, ")
    weights = tmp_path / "cache" / SNAPSHOT / "open_clip_model.safetensors"
    assert weights.read_bytes() == hub.files()["open_clip_model.safetensors"].read_bytes()
    before = len(hub.asked)
    assert pull(config).stdout == done.stdout
    assert len(hub.asked) == before + 1


def test_a_damaged_file_is_downloaded_again(hub: Hub, config: Path, tmp_path: Path) -> None:
    pull(config)
    weights = tmp_path / "cache" / SNAPSHOT / "open_clip_model.safetensors"
    weights.resolve().write_bytes(b"cut short")
    assert pull(config).exit_code == 0
    assert weights.read_bytes() == hub.files()["open_clip_model.safetensors"].read_bytes()


def test_a_download_that_is_stopped_ends_at_once_and_the_next_one_makes_it_whole(
    hub: Hub, config: Path, tmp_path: Path
) -> None:
    hub.flows.clear()
    environ = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "cli", "pull", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert hub.stalled.wait(120)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "atelier: stopped; the same command goes on from here\n")
    hub.flows.set()
    assert pull(config).exit_code == 0


def test_a_licence_that_is_to_be_accepted_is_named_with_what_to_do(hub: Hub, config: Path) -> None:
    hub.is_gated = True
    refused = pull(config, "clip", "voice")
    assert refused.exit_code == 1
    assert refused.stdout == "voice: builtin:voice is not of the hub; nothing to download\n"
    assert f"its licence has to be accepted at {hub.url}/test/clip, by the account of `hf auth login`" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_every_failure_is_a_line_and_as_json_too(hub: Hub, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused = pull(config, "--json")
    assert refused.exit_code == 1
    said = json.loads(refused.stdout)
    assert (said["aliases"], said["checkpoint"], said["is_here"]) == (["clip", "again"], "test/clip", False)
    assert "HF_HUB_OFFLINE" in said["error"]
    assert hub.asked == []


def test_an_alias_that_is_not_there_is_a_mistake(config: Path) -> None:
    refused = pull(config, "nobody")
    assert refused.exit_code == 2
    assert "there is no model 'nobody'; there are: image-gen, " in refused.stderr
