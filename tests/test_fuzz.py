"""`bench.fuzz`: whatever is sent, nothing but a right answer comes back. Half a minute of it, and in the night more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("seconds", "seed"), [(25, 11), pytest.param(180, 7, marks=pytest.mark.nightly)])
def test_whatever_is_sent_the_answer_keeps_the_contract(seconds: int, seed: int) -> None:
    command = [sys.executable, "-m", "bench.fuzz", "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
