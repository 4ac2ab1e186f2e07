"""The configuration started by Ray Serve's own command."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import yaml

from cli.environment import ROOT, free_ports
from tests.servers import Server, environment


def start_serve_run(folder: Path, sockets: str) -> Server:
    """`serve run` on a free port, in a Ray cluster of its own."""
    (port,) = free_ports(1)
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["http_options"]["port"] = port
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    mark = uuid.uuid4().hex
    own = {"RAY_ADDRESS": "local", "RAY_TMPDIR": sockets, "ATELIER_TEST_MARK": mark}
    own["RAY_worker_niceness"] = "0"  # Ray's 15 would let everything else on the machine go first
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("serve"), "run", folder / "config.yaml"],
            env=environment(folder / "home", **own, VOICE_ENABLED="0"),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            # whatever started the tests in the background may have made them deaf to it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    return Server(process, f"http://127.0.0.1:{port}", port, folder / "home", mark)


def test_serve_run_starts_the_same_server_with_what_is_switched_off_left_out(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="serve-") as sockets:  # their paths may have 107 bytes
        server = start_serve_run(tmp_path, sockets)
        try:
            deadline = time.monotonic() + 120
            while not is_up(server):
                assert server.process.poll() is None, (tmp_path / "output").read_text()
                assert time.monotonic() < deadline, (tmp_path / "output").read_text()
                time.sleep(0.2)
            with httpx.Client(base_url=server.url, timeout=120) as http:
                made = http.post("/v1/images/generations", json={"prompt": "a big red circle"})
                assert made.raise_for_status().json()["data"][0]["b64_json"]
                refused = http.post("/v1/voice/generate", data={"text": "Hello."})
                assert refused.json()["error"]["code"] == "feature_disabled"
                assert "voice" not in http.get("/readyz").raise_for_status().json()["models"]
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(120) == 0
            deadline = time.monotonic() + 60
            while server.processes() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert server.processes() == []
        finally:
            for each in server.processes():
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            server.process.wait()


def is_up(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False
