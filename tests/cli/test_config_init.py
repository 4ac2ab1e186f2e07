"""`atelier config init`: every machine of the table has a valid file, and the repository's are those of the table."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import settings
from cli.__main__ import app
from cli.config_files import written
from cli.config_init import for_gpu, for_mac
from cli.config_table import FILES, MACHINES
from cli.environment import ROOT


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", "init", *arguments])


@pytest.mark.parametrize(("machine", "name"), FILES.items())
def test_the_repositorys_file_is_the_one_of_the_table(machine: str, name: str) -> None:
    assert (ROOT / name).read_text() == written(machine, name), (
        f"write it with: atelier config init --machine {machine} --force -o {name}"
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_written_for_a_machine_passes_the_check_and_fits_there(machine: str, tmp_path: Path) -> None:
    path = tmp_path / "serve_config.yaml"
    assert init("--machine", machine, "-o", str(path)).exit_code == 0
    checked = CliRunner().invoke(app, ["check", str(path)])
    assert (checked.exit_code, checked.stderr) == (0, "")
    configured = settings.load(path, {})
    kind, _, size = machine.partition(":")
    if kind == "mac":
        assert all(0 < (entry.memory or 0) < 0.75 * int(size) * 1e9 for entry in configured.models.values())
    if kind == "gpu":
        clip = configured.models[configured.search.embedder].gpus
        assert all(0 <= entry.gpus <= 1 - clip for entry in configured.models.values())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("gib", "machine"), [(None, "cpu"), (11, "cpu"), (23.5, "gpu:24"), (32, "gpu:24"), (45, "gpu:48"), (79.6, "gpu:80")]
)
def test_a_gpu_is_given_the_largest_file_that_it_has_room_for(gib: float | None, machine: str) -> None:
    assert for_gpu(None if gib is None else int(gib * 2**30))[0] == machine


@pytest.mark.parametrize(
    ("gib", "machine"), [(8, "cpu"), (16, "mac:16"), (24, "mac:16"), (36, "mac:32"), (64, "mac:64")]
)
def test_a_mac_is_given_the_largest_file_that_it_has_room_for(gib: int, machine: str) -> None:
    assert for_mac(gib * 2**30)[0] == machine


def test_what_the_driver_says_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 81559\necho 24564\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    printed = init("--print")
    assert printed.stderr == "gpu:24: an NVIDIA GPU of 24 GB\n"
    assert printed.stdout == written("gpu:24", "serve_config.yaml")


def test_a_file_that_is_there_is_kept_unless_it_may_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    refused = init("--machine", "cpu", "-o", str(path))
    assert (refused.exit_code, refused.stdout, path.read_text()) == (2, "", "mine")
    assert refused.stderr == f"atelier: {path} is there already; --force writes over it, -o names another\n"
    assert init("--machine", "cpu", "-o", str(path), "--force").exit_code == 0
    assert path.read_text() == written("cpu", str(path))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--machine", "gpu:7"], 2, "--machine: 'gpu:7' is none of cpu, gpu:24, "),
        (["--machine", "cpu", "-o", "/nowhere/x.yaml"], 1, "cannot write /nowhere/x.yaml: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], status: int, said: str) -> None:
    refused = init(*arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (status, 1)
    assert refused.stderr.startswith(f"atelier: {said}")
