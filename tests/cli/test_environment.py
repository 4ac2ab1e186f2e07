"""Ports that a server chooses for itself, and what its processes import."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack

import pytest

from cli.environment import ROOT

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


def test_a_worker_does_not_import_pandas_for_ray_serve_and_may_import_it_later() -> None:
    program = """
import sys
from cli.ray_internals import listen_on_node_address
listen_on_node_address()
assert "ray.serve" in sys.modules
assert "pandas" not in sys.modules
import pandas
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_command_starts_without_what_only_the_server_needs() -> None:
    program = """
import sys
import cli.__main__
assert sys.modules.keys().isdisjoint({"fastapi", "numpy", "ray", "torch"})
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
