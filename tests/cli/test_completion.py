"""Completion by Tab: installed as a user does it, in the real shells, in a terminal."""

from __future__ import annotations

import os
import pty
import re
import selectors
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHELLS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-d", "-i"]}
_BIN = Path(sys.executable).parent
_SECONDS = 120.0
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A shell in a terminal, with a home of its own."""

    def __init__(self, shell: str, home: Path) -> None:
        self._here, there = pty.openpty()
        environ = {
            "HOME": str(home), "PATH": f"{_BIN}:{os.defpath}", "TERM": "xterm", "PS1": "ready> ", "LANG": "C.UTF-8",
        }  # fmt: skip
        (home / ".zshrc").touch()  # else zsh asks a new user what to write there
        command = [str(shutil.which(shell)), *SHELLS[shell]]
        self._process = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=environ, cwd=home, start_new_session=True
        )
        os.close(there)
        self._readable = selectors.DefaultSelector()
        self._readable.register(self._here, selectors.EVENT_READ)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._here, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Read until it has been shown, and forget what came before."""
        until = time.monotonic() + _SECONDS
        while not (found := re.search(pattern, self._seen)):
            left = max(0.0, until - time.monotonic())
            assert self._readable.select(left), f"no {pattern!r} in {self._seen!r}"
            read = os.read(self._here, 4096).decode(errors="replace")
            self._seen = _STYLE.sub("", self._seen + read)
        self._seen = self._seen[found.end() :]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._readable.close()
        os.close(self._here)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_commands_and_options(shell: str, tmp_path: Path) -> None:
    assert shutil.which(shell), f"there is no {shell}: deploy/packages.sh {shell}"
    terminal = Terminal(shell, tmp_path)
    try:
        terminal.wait_for("ready> ")
        terminal.type("atelier --install-completion; echo do''ne\n")
        terminal.wait_for(f"{shell} completion installed")
        terminal.wait_for("done")
        terminal.type(f"source ~/.{shell}rc; echo so''urced\n")
        terminal.wait_for("sourced")
        terminal.wait_for("ready> ")
        terminal.type("atelier gener\t")
        if shell == "zsh":  # which loads the function by the first Tab and rings; it completes by the second
            terminal.wait_for("\a")
            terminal.type("\t")
        terminal.wait_for("generate ?|ate ")
        terminal.type("--neg\t")
        terminal.wait_for("ative")
    finally:
        terminal.close()


def test_fish_completes_commands(tmp_path: Path) -> None:
    assert shutil.which("fish"), "there is no fish: deploy/packages.sh fish"
    environ = {"HOME": str(tmp_path), "PATH": f"{_BIN}:{os.defpath}", "LANG": "C.UTF-8", "TERM": "dumb"}

    def fish(script: str) -> str:
        done = subprocess.run(
            ["fish", "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    # with a command after it, fish stays the parent that the shell is known by
    assert "fish completion installed" in fish("atelier --install-completion; echo")
    assert fish('complete -C "atelier gener"').startswith("generate\t")
