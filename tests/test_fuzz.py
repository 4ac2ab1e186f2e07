"""Two minutes of `bench.fuzz`: whatever is sent, nothing but a right answer comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(900)
def test_whatever_is_sent_the_answer_keeps_the_contract() -> None:
    command = [sys.executable, "-m", "bench.fuzz", "--seconds", "120", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
