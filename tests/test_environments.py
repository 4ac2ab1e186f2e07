"""deploy/environment.sh, with a stand-in for uv that can be watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import settings
from cli.environment import ROOT
from cli.up import StartError, install_environments

SCRIPT = ROOT / "deploy" / "environment.sh"
UV = """#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2"
echo package > "$2/package"
sleep "$SECONDS_IT_TAKES" &
trap 'kill $!; exit 1' TERM
echo begin >> "$LOG"  # from here on it can be stopped: what it started would keep the lock
wait $!
echo end >> "$LOG"
"""


class Machine:
    """A virtual environment of its own, in which uv installs nothing but takes its time."""

    def __init__(self, folder: Path, seconds: float) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.environments = folder / "venv" / "environments"
        self.log = folder / "log"
        (folder / "bin").mkdir()
        (folder / "bin" / "uv").write_text(UV)
        (folder / "bin" / "uv").chmod(0o755)
        self.environ = {
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": str(folder / "venv" / "bin" / "python"),
            "LOG": str(self.log),
            "SECONDS_IT_TAKES": str(seconds),
        }

    def install(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", SCRIPT, "qwen_tts"],
            env=self.environ,
            stderr=subprocess.DEVNULL,
            # whatever started the tests in the background may have made them deaf to it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_until_installing(self) -> None:
        until = time.monotonic() + 60
        while not self.log.exists():
            assert time.monotonic() < until
            time.sleep(0.01)

    def has_environment(self) -> bool:
        """Whether the environment is there, whole and nothing beside it."""
        found = {str(each.relative_to(self.environments)) for each in self.environments.rglob("*")}
        return found == {"qwen_tts", "qwen_tts/package", "qwen_tts/installed"}


def test_of_two_who_install_at_once_one_waits_and_finds_it_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path, seconds=1)
    both = [machine.install() for _ in range(2)]
    assert [each.wait(120) for each in both] == [0, 0]
    assert machine.log.read_text().split() == ["begin", "end"]
    assert machine.has_environment()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_one_who_is_stopped_leaves_nothing_and_the_next_begins_again(tmp_path: Path, signum: int) -> None:
    machine = Machine(tmp_path, seconds=600)
    stopped = machine.install()
    machine.wait_until_installing()
    stopped.send_signal(signum)
    assert stopped.wait(120) != 0
    assert list(machine.environments.iterdir()) == []
    machine.environ["SECONDS_IT_TAKES"] = "0"
    assert machine.install().wait(120) == 0
    assert machine.has_environment()


def test_what_one_who_was_killed_left_is_cleared_away(tmp_path: Path) -> None:
    machine = Machine(tmp_path, seconds=0)
    (machine.environments / "qwen_tts.new" / "half").mkdir(parents=True)
    assert machine.install().wait(120) == 0
    assert machine.has_environment()


def test_a_script_that_cannot_be_run_ends_the_start_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = {"engine": "qwen_tts", "checkpoint": "Qwen/Qwen3-TTS-12Hz-1.7B-Base"}
    configured = settings.validate({"models": {"voice": voice}, "image_search_enabled": False}, {})
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError, match=r"cannot run sh .*/deploy/environment.sh: No such file"):
        install_environments(configured)


def test_a_start_that_is_stopped_while_it_installs_leaves_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, seconds=600)
    started = "import sys; from pathlib import Path; from cli.up import _run_script; sys.executable = sys.argv[1]; "
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{started} _run_script(Path(sys.argv[2]), 'qwen_tts')",
            machine.environ["PYTHON"],
            SCRIPT,
        ],
        env=machine.environ,
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    machine.wait_until_installing()
    process.send_signal(signal.SIGINT)
    assert process.wait(120) != 0
    assert list(machine.environments.iterdir()) == []
