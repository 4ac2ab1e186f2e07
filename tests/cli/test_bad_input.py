"""Every command with a server that is away, old or closed to it, a full disk, others' files, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from cli.__main__ import app
from cli.environment import ROOT, free_ports
from stores.api_keys import ApiKeyFile, Limits
from tests.cli.faults import (
    PICTURE,
    RECORD,
    full_disk,
    interrupting,
    refusing,
    without_permission,
    working,
)
from tests.cli.test_json import commands

ASKING: Mapping[str, Sequence[str]] = {
    "status": (),
    "models": (),
    "load": ("chat",),
    "evict": ("chat",),
    "generate": ("a cat", "-o", "cat.png"),
    "edit": ("picture.png", "a cat", "-o", "cat.png"),
    "caption": ("picture.png",),
    "describe": ("picture.png",),
    "chat": ("hello",),
    "say": ("hello", "--out", "said.mp3"),
    "listen": ("picture.png",),
    "search add": ("-p", "p", "picture.png"),
    "search query": ("-p", "p", "a cat"),
    "search export": ("-p", "p", "out"),
    "search import": ("-p", "p", "kept"),
    "search gc": (),
    "search backup": (),
    "search backups": (),
    "search restore": (),
}
"""The commands that ask a server, with what they need."""
LOCAL = {
    "up", "down", "restart", "logs", "check", "doctor", "pull", "config init", "keys add", "keys list", "keys move",
    "keys revoke",
    "service install", "service uninstall", "service start", "service stop", "service restart", "service status",
    "service logs", "upgrade",
}  # fmt: skip


def test_every_command_is_among_these() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert {name for name, _ in commands(group)} == LOCAL | set(ASKING)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: a picture, an export, and a file of keys with the key `phone`."""
    home, here = tmp_path / "home", tmp_path / "here"
    (here / "kept" / "images").mkdir(parents=True)
    (here / "picture.png").write_bytes(PICTURE)
    (here / "kept" / "images" / "picture.png").write_bytes(PICTURE)
    (here / "kept" / "manifest.jsonl").write_text(json.dumps(RECORD | {"file": "images/picture.png"}) + "\n")
    (here / "locked").mkdir()
    shutil.copy(ROOT / "serve_config.yaml", here)
    ApiKeyFile(home / "keys.json").add("phone", Limits())
    monkeypatch.chdir(here)
    for name, value in {"HOME": tmp_path, "ATELIER_HOME": home, "ATELIER_API_KEY": "atl-secret"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("XDG_CONFIG_HOME", "ATELIER_KEYS_FILE", "ATELIER_URL"):
        monkeypatch.delenv(name, raising=False)
    return here


def run(*arguments: str, url: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, env={} if url is None else {"ATELIER_URL": url})


def held(folder: Path) -> dict[str, bytes | None]:
    return {str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None for each in folder.rglob("*")}


def require_line(done: Result, status: int, said: str) -> None:
    assert (done.exit_code, done.stdout) == (status, ""), (done.output, done.exception)
    assert re.fullmatch(r"atelier: .*\n", done.stderr), done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("name", ASKING)
def test_whatever_the_server_is_it_is_one_line_and_nothing_is_left(name: str, folder: Path) -> None:
    before = held(folder)
    (port,) = free_ports(1)
    for option in ([], ["--json"]):
        asked = [*name.split(), *ASKING[name], *option]
        away = f"http://127.0.0.1:{port}"
        require_line(run(*asked, url=away), 1, rf"no server answers at {away} .*`make run`")
        with refusing(401, "an API key is needed", "invalid_api_key") as url:
            require_line(run(*asked, url=url), 2, "an API key is needed .*ATELIER_API_KEY")
        with refusing(404, "there is no such route", None) as url:
            status, said = (1, "serves no transcriptions") if name == "listen" else (2, "it is of another version")
            require_line(run(*asked, url=url), status, said)
        with interrupting("") as url:
            require_line(run(*asked, url=url), 130, "^atelier: stopped$")
    assert held(folder) == before


@pytest.mark.parametrize(
    ("name", "at"),
    [("generate", "/generations"), ("edit", "/edits"), ("say", "/speech"), ("search export", "/file")],
)
def test_ctrl_c_in_the_middle_of_an_answer_leaves_no_half_file(name: str, at: str, folder: Path) -> None:
    before = held(folder)
    with interrupting(at) as url:
        require_line(run(*name.split(), *ASKING[name], url=url), 130, "^atelier: stopped$")
    left = {"out", "out/images", "out/.export"} if name == "search export" else set()  # the next one goes on from there
    assert set(held(folder)) - set(before) == left


@pytest.mark.parametrize("name", ["generate", "edit", "say", "search add", "search import", "search export"])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(name: str, folder: Path) -> None:
    before = held(folder)
    with working() as url, full_disk():
        done = run(*name.split(), *ASKING[name], url=url)
    require_line(done, 1, "File too large|journal of uploads")
    left = {"out", "out/images", "out/.export"} if name == "search export" else set()
    assert set(held(folder)) - set(before) == left


@pytest.mark.parametrize("asked", ["config init --machine gpu:24 -o new.yaml", "keys add tablet", "keys revoke phone"])
def test_a_full_disk_changes_neither_keys_nor_configurations(asked: str, folder: Path) -> None:
    before = held(folder.parent)
    with full_disk():
        require_line(run(*asked.split()), 1, "cannot (be written|write new.yaml): File too large")
    assert {name for name in set(held(folder.parent)) - set(before) if not name.endswith(".lock")} == set()
    assert (folder.parent / "home" / "keys.json").read_bytes() == before["home/keys.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is of Linux")
@pytest.mark.parametrize(
    "asked",
    ["keys add tablet", "keys list", "check", "config init --print", "load chat", "search export -p p out"],
)
def test_what_nobody_can_be_shown_is_one_line_and_no_success(
    asked: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with working() as url, Path("/dev/full").open("w") as full:
        monkeypatch.setenv("ATELIER_URL", url)
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as ended:
            app(asked.split())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("atelier: ")]
    assert (ended.value.code, len(lines)) == (1, 1)
    assert lines[0].startswith("atelier: cannot write to stdout: No space left on device")
    assert [each.name for each in ApiKeyFile(folder.parent / "home" / "keys.json").read() or ()] == ["phone"]


@pytest.mark.parametrize("asked", ["keys list", "check", "config init --print"])
def test_who_reads_no_further_gets_nothing(
    asked: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with working() as url, os.fdopen(write, "w") as pipe:
        monkeypatch.setenv("ATELIER_URL", url)
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as ended:
            app(asked.split())
    assert ended.value.code == 1
    assert "atelier: " not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "status", "locked"),
    [
        ("generate cat -o locked/cat.png", 1, "locked"),
        ("edit picture.png cat -o cat.png", 2, "picture.png"),
        ("caption picture.png", 2, "picture.png"),
        ("describe picture.png", 2, "picture.png"),
        ("chat hello --image picture.png", 2, "picture.png"),
        ("say hello --out locked/said.mp3", 1, "locked"),
        ("say hello --ref-audio picture.png", 2, "picture.png"),
        ("listen picture.png", 2, "picture.png"),
        ("search query -p p --image picture.png", 2, "picture.png"),
        ("search export -p p locked/out", 1, "locked"),
        ("search import -p p kept", 2, "kept/manifest.jsonl"),
        ("keys list", 1, "../home/keys.json"),
        ("keys add tablet", 1, "../home"),
        ("keys revoke phone", 1, "../home"),
        ("config init --machine gpu:24 -o locked/new.yaml", 1, "locked"),
        ("check serve_config.yaml", 2, "serve_config.yaml"),
        ("pull --config serve_config.yaml", 2, "serve_config.yaml"),
        ("keys list --config serve_config.yaml", 2, "serve_config.yaml"),
    ],
)
def test_a_file_of_somebody_else_is_named_and_nothing_changes(
    asked: str, status: int, locked: str, folder: Path
) -> None:
    before = held(folder.parent)
    with working() as url, without_permission(folder / locked):
        require_line(run(*asked.split(), url=url), status, "Permission denied")
    assert {name for name in set(held(folder.parent)) - set(before) if not name.endswith(".lock")} == set()
    assert {name: each for name, each in held(folder.parent).items() if name in before} == before


def test_a_picture_of_somebody_else_is_refused_alone(folder: Path) -> None:
    with working() as url, without_permission(folder / "picture.png"):
        done = run("search", "add", "-p", "p", "picture.png", "kept/images/picture.png", url=url)
    assert (done.exit_code, done.stderr) == (1, "picture.png: Permission denied\n")
    assert "1 added, 0 already there, 0 skipped (sent before), 1 refused" in done.stdout
