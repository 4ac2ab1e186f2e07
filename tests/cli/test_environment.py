"""Ports that a server chooses for itself."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack

import pytest

_CHOOSE = """
import json, random
from cli.environment import free_ports
random.seed(1)
print(json.dumps(free_ports(5)), flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing but listening reserves a port")
def test_two_servers_that_start_at_once_choose_different_ports() -> None:
    chosen = []
    with ExitStack() as running:
        for _ in range(2):
            command = [sys.executable, "-c", _CHOOSE]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            assert process.stdout is not None
            chosen.append(json.loads(process.stdout.readline()))
    assert len({*chosen[0], *chosen[1]}) == 10
