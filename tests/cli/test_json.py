"""`--json`: every command has it, and what it prints is one object with the facts of the words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import settings
from cli.__main__ import app
from cli.environment import ROOT
from stores.api_keys import ApiKeyFile
from tests.api.test_cli_pictures import Shell
from tests.cli.test_home import hold

WITHOUT: Mapping[str, str] = {
    "up": "it is the server, whose output is its log",
    "restart": "without a service it becomes the server",
    "logs": "the lines of a log are what they are",
    "service logs": "as above",
}


def commands(group: TyperGroup, above: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from commands(each, f"{above}{name} ")
        else:
            assert isinstance(each, TyperCommand)
            yield f"{above}{name}", each


def test_every_command_has_it_but_those_that_print_a_log() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    found = dict(commands(group))
    without = {name for name, each in found.items() if not any("--json" in param.opts for param in each.params)}
    assert without == set(WITHOUT)
    assert len(found) > 30


def run(*arguments: object, status: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(each) for each in (*arguments, "--json")])
    assert done.exit_code == status, done.output
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "atelier"))
    for name in ("XDG_CONFIG_HOME", "ATELIER_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    file = str(tmp_path / "atelier" / "keys.json")
    assert run("keys", "list") == {"file": file, "exists": False, "keys": []}
    made = run("keys", "add", "phone", "--rate", "60/minute")
    assert (made["name"], made["admin"], made["file"]) == ("phone", False, file)
    (listed,) = run("keys", "list")["keys"]
    (kept,) = ApiKeyFile(Path(file)).read() or ()
    assert listed == {
        "name": "phone", "admin": False, "created_at": kept.created_at,
        "limits": {"rate": "60/minute", "concurrency": None},
    }  # fmt: skip
    assert made["key"] not in json.dumps(listed)
    assert run("keys", "revoke", "phone") == {"name": "phone", "left": 0}


def test_a_checked_file_is_named_with_its_models() -> None:
    config = ROOT / "serve_config.yaml"
    assert run("check", config) == {"config": str(config), "models": list(settings.load(config, {}).models)}


def test_a_written_configuration_is_named_and_a_printed_one_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "serve_config.yaml"
    asked = ("config", "init", "--machine", "gpu:24", "-o", file)
    assert run(*asked) == {"machine": "gpu:24", "reason": None, "file": str(file)}
    assert run(*asked, "--print")["configuration"] == file.read_text()
    here = run("config", "init", "--print")
    assert here["reason"]


def test_down_says_what_has_ended(tmp_path: Path) -> None:
    shell, home = Shell("", tmp_path), tmp_path / "home"
    process = hold(tmp_path, home)
    assert json.loads(shell.run("down", "--json")) == {"ended": "server", "url": "http://127.0.0.1:1"}
    process.communicate()
    assert json.loads(shell.run("down", "--json")) == {"ended": None, "home": str(home)}


def test_the_state_of_the_service_is_reported_with_its_exit_status() -> None:
    said = run("service", "status", status=3)
    assert (said["installed"], said["active"]) == (False, "inactive")
