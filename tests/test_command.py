"""The `atelier` command, as `deploy/venv.sh` installs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from cli.__main__ import app

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).with_name("atelier")


def test_the_command_works_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Usage: atelier" in done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("nothing: 1\n")
    refused = subprocess.run([COMMAND, "check", str(wrong)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines() or refused.stdout.splitlines()) == 1


def test_the_table_of_commands_has_each_of_them_and_options_that_exist() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = group.commands
    rows = re.findall(r"^\| (`[a-z`, ]+`) \|.*\| `(.*)` \|$", (ROOT / "docs" / "command.md").read_text(), re.MULTILINE)
    assert {name for names, _ in rows for name in re.findall(r"[a-z]+", names)} == set(commands)
    for names, example in rows:
        name, *rest = example.rpartition("atelier ")[2].split()
        assert f"`{name}`" in names
        command = commands[name]
        if isinstance(command, TyperGroup):
            command = command.commands[rest[0]]
        known = {option for each in command.params for option in each.opts}
        assert {word for word in rest if re.fullmatch(r"--?[a-z]+", word)} <= known, example
