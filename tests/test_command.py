"""The `atelier` command, as `deploy/venv.sh` installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("atelier")


def test_the_command_works_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Usage: atelier" in done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("nothing: 1\n")
    refused = subprocess.run([COMMAND, "check", str(wrong)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines() or refused.stdout.splitlines()) == 1
