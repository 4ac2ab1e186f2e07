"""How the server starts, what it leaves open, how it ends, and how it refuses."""

from __future__ import annotations

import os
import socket
import stat
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from cli.environment import ROOT, free_ports
from tests.api.pictures import png
from tests.servers import Server, start_server, try_server

SPELT_WRONG = {"engine": "espeak", "checkpoint": "builtin:voice", "chekpoint": "builtin:voice"}
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def configuration(folder: Path, http_options: object = None, **application: object) -> Path:
    """The default configuration with its application's fields changed, or with other `http_options`."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0].update(application)
    document["http_options"] = http_options or document["http_options"]
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_started_server_answers(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert (server.home / "logs").is_dir()


def test_only_the_port_is_open_and_only_on_loopback(server: Server) -> None:
    listening = server.listening()
    assert ("127.0.0.1", server.port) in listening
    assert [where for where in listening if where[0] not in LOOPBACK] == []


@pytest.mark.nightly
def test_a_second_server_runs_beside_the_first_and_ends_alone_when_its_raylet_dies(
    server: Server, tmp_path: Path
) -> None:
    (files_port,) = free_ports(1)
    second = start_server(
        tmp_path / "home",
        HOST="0.0.0.0",
        FILE_SERVER_PORT=str(files_port),
        ATELIER_TRUSTED_PROXIES="127.0.0.1",
        http_proxy="http://127.0.0.1:9",  # of the network, and of no use for this machine
    )
    try:
        second.wait_until_ready()
        assert httpx.get(f"{second.url}/healthz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{files_port}/healthz").status_code == 200
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        picture = {"file": ("circle.png", png())}
        kept = httpx.post(f"http://127.0.0.1:{files_port}/upload", files=picture).json()["url"]
        assert httpx.get(f"{second.url}{kept}").content == png()
        assert httpx.get(f"http://127.0.0.1:{files_port}/latest").json()["url"].endswith(f":{files_port}{kept}")
        asked = {"X-Forwarded-Host": "pictures.example", "X-Forwarded-Proto": "https"}
        assert httpx.get(f"{second.url}/latest", headers=asked).json()["url"] == f"https://pictures.example{kept}"
        open_to_all = {port for ip, port in second.listening() if ip not in LOOPBACK}
        assert open_to_all == {second.port, files_port}
        (raylet,) = (each for each in second.processes() if each.name() == "raylet")
        raylet.kill()
        second.process.communicate(timeout=120)
    finally:
        status = second.stop()
    assert status == 1
    assert second.processes() == []
    assert "Ray's raylet ended unexpectedly" in (tmp_path / "home" / "logs" / "atelier.log").read_text()
    assert (tmp_path / "home" / "logs" / "dashboard.log").exists()
    for private in (tmp_path / "home", tmp_path / "home" / "logs"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_sigterm_in_the_middle_of_the_start_ends_every_process(tmp_path: Path) -> None:
    started = start_server(tmp_path / "home")
    while not (tmp_path / "home" / "logs" / "dashboard.log").exists():
        assert started.process.poll() is None
        time.sleep(0.1)
    assert started.stop() == 0
    assert started.processes() == []


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = try_server(tmp_path / "home", PORT=str(port))
    assert refused.returncode == 1
    assert refused.stderr == f"atelier: port {port} is already in use; choose another with PORT=…\n"


@pytest.mark.parametrize(
    ("change", "environ", "said"),
    [
        ({"args": {"models": {"voice": SPELT_WRONG}}}, {}, "models.voice.chekpoint: unknown key; allowed here: engine"),
        ({}, {"IDLE_TIMEOUT": "soon"}, "idle_timeout (from IDLE_TIMEOUT): 'soon': "),
        ({}, {"PORT": "80000"}, "PORT: '80000': a port number from 1 to 65535 is needed"),
        ({}, {"PORT": "8123", "FILE_SERVER_PORT": "8123"}, "FILE_SERVER_PORT: '8123': is PORT already"),
        ({"http_options": 8000}, {}, "http_options: 8000: a mapping with host and port is needed"),
        (
            {"deployments": ["x"]},
            {},
            "applications.0.deployments.0: 'x': a mapping is needed; its keys may be name, num_",
        ),
        ({}, {"ATELIER_HOME": "~nosuchuser/x"}, "home (from ATELIER_HOME): '~nosuchuser/x': whose home ~ stands for"),
        ({}, {"R2_ENABLED": "1"}, "r2: with R2_ENABLED=1 these are needed too: endpoint_url (R2_ENDPOINT_URL) or"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(
    change: dict[str, object], environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    refused = try_server(tmp_path / "home", configuration(tmp_path, **change), **environ)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("not a folder")
    refused = try_server(home)
    assert refused.returncode == 1
    assert refused.stderr == f"atelier: cannot write to ATELIER_HOME {home}: {os.strerror(17)}\n"


def test_a_full_home_is_named(tmp_path: Path) -> None:
    refused = try_server(tmp_path, ATELIER_LEAST_FREE_BYTES=str(2**60))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"atelier: ATELIER_HOME {tmp_path} is full: ")
    assert refused.stderr.endswith(f" MiB free, {2**40} MiB are needed\n")


@pytest.mark.parametrize(
    ("variable", "place", "folder"),
    [
        ("IMAGE_SEARCH_DB_PATH", "a file/search/index.db", "a file/search"),
        ("IMAGE_SEARCH_FILES_DIR", "a file", "a file"),
    ],
)
def test_a_place_for_files_that_cannot_be_written_to_is_named(
    variable: str, place: str, folder: str, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    refused = try_server(tmp_path / "home", None, **{variable: str(tmp_path / place)})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"atelier: cannot write to {tmp_path / folder}: ")
    assert refused.stderr.endswith(f"choose another with {variable}=…\n")


def test_a_home_belongs_to_one_server(server: Server) -> None:
    refused = try_server(server.home)
    assert refused.returncode == 1
    assert refused.stderr == f"atelier: another server runs in ATELIER_HOME {server.home}; choose another folder\n"


@pytest.mark.nightly
def test_a_port_that_haproxy_cannot_have_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = try_server(tmp_path / "home", RAY_SERVE_HAPROXY_METRICS_PORT=str(port), ATELIER_DASHBOARD="0")
    assert refused.returncode == 1
    assert f"HAProxy cannot bind socket (Address already in use) for [127.0.0.1:{port}]" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_chosen_ports_are_none_that_an_outgoing_connection_may_get() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, ExitStack() as stack:
        outgoing = [stack.enter_context(socket.create_connection(door.getsockname())) for _ in range(20)]
        chosen = free_ports(200)
        assert len(set(chosen)) == 200
        assert max(chosen) < min(connection.getsockname()[1] for connection in outgoing)


@pytest.mark.nightly
def test_an_application_that_cannot_be_built_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    refused = try_server(tmp_path / "home", configuration(tmp_path, import_path="graph:nothing"), ATELIER_DASHBOARD="0")
    assert refused.returncode == 1
    assert "AttributeError: module 'graph' has no attribute 'nothing'" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stdout
