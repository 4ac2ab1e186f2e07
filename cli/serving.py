"""The process that starts Ray and deploys a Serve configuration, the way `serve run CONFIG` does.

    python -m cli.serving CONFIG HOST PORT URL FOLDER [ADDRESS]

With the address of a Ray cluster, Ray runs already, and goes on running. It says when the server is ready, ends
gracefully on SIGTERM, and leaves whatever does not end to its parent.
"""

import contextlib
import logging
import math
import os
import re
import secrets
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TextIO

import ray
from ray import serve
from ray.serve.schema import ServeDeploySchema

import settings
from cli import cluster, ray_internals
from cli.configuration import serve_configuration
from cli.environment import LOG, MISTAKE, READY
from cli.readiness import ServiceManager

OBJECT_STORE_BYTES = 200 * 2**20
"""Pictures travel between deployments in gRPC messages; only very large ones pass through the object store."""

NOTICE_SECONDS = 30
DOOR_SECONDS = 60
"""From when every application runs until the front door must answer."""
WATCH_SECONDS = 1


class DeployError(Exception):
    """The configuration could not be deployed; `str(error)` is one line."""


def main(config_path: Path, host: str, port: int, url: str, folder: Path, address: str = "") -> None:
    """Start, serve until SIGTERM, stop.

    Raises:
        DeployError: Serve or an application did not start, or nothing answers.
        ClusterError: the cluster at the address cannot run it.
        ConfigurationError: the configuration has a mistake.
    """
    stop = threading.Event()
    manager = ServiceManager()
    terminal = keep_terminal(folder / LOG)
    config = read_config(config_path, host, port)
    if address:
        cluster.connect(address)
        for line in cluster.prepare(config):
            print(f"atelier: {line}", file=terminal)
        url = cluster.front_url(config)
    else:
        memory = settings.memory_for_models(settings.load(config_path).models)
        if dashboard := start_ray(folder, memory):
            print(f"Ray's dashboard: {dashboard} (its token: `ray get-auth-token`)", file=terminal)
        threading.Thread(target=end_with_ray, args=(stop,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    client = start_serve(config)
    client.deploy_apps(config, _blocking=False)
    wait_until_ready(url, stop, terminal)
    if not stop.is_set():
        print(f"{READY}{url} (docs at /docs)", file=terminal)
        manager.notify("READY=1")
        stop.wait()
    manager.notify("STOPPING=1")
    ray_internals.shut_down_serve(client)
    if not address:
        # Only Ray's own processes are left. They would take seconds to end in order; the parent kills them at once.
        for each in (sys.stdout, sys.stderr):
            each.flush()
        os._exit(0)


def keep_terminal(log: Path) -> TextIO:
    """Send everything that this process prints to a file, Ray's warnings included; returns the terminal."""
    terminal = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return terminal


def read_config(path: Path, host: str, port: int) -> ServeDeploySchema:
    """The Serve configuration, listening at the given place.

    With HAProxy, Serve itself stays on loopback and `haproxy.sh` opens the front door on `host`.
    """
    config = serve_configuration(path)
    config.http_options.host = "127.0.0.1" if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else host
    config.http_options.port = port
    return config


def start_ray(folder: Path, memory: int | None) -> str:
    """A Ray cluster of this machine alone, with its session in `folder`; returns the dashboard's address.

    `memory` is what models may take, in bytes; None: what Ray finds free.
    """
    make_auth_token()
    context = ray_internals.init(
        address="local",
        namespace="serve",
        include_dashboard=os.environ.get("ATELIER_DASHBOARD", "1") != "0",
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _memory=memory,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder / "ray"),
    )
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return f"http://{context.dashboard_url}" if context.dashboard_url else ""


def end_with_ray(stop: threading.Event) -> None:
    """End this process, with a line that says why, when a process ends without which Ray starts no replica.

    Ray itself never notices the end of its raylet: replicas that run go on answering, and every request that needs
    another one waits for ever. The end of its GCS it notices after a minute.
    """
    while not stop.wait(WATCH_SECONDS):
        if (ended := ray_internals.ended_ray_processes()) and not stop.is_set():
            print(f"Ray's {' and '.join(ended)} ended unexpectedly", file=sys.stderr, flush=True)
            os._exit(1)


def start_serve(config: ServeDeploySchema) -> Any:
    """Serve's controller and HAProxy, without applications; returns the client.

    Raises:
        DeployError: HAProxy cannot listen.
    """
    try:
        return ray_internals.start_serve(config)
    except ray.exceptions.RayTaskError as error:
        if said := re.search(r"cannot bind socket .*", str(error)):
            raise DeployError(f"HAProxy {said[0]}") from None
        raise


def make_auth_token() -> None:
    """The token that Ray's own services ask for, where Ray's tools look for it; made once per user."""
    path = Path.home() / ".ray" / "auth_token"
    if path.exists() or "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = secrets.token_hex(32)
    draft = path.with_name(f"auth_token.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(token)
        # Two servers that start at once must agree: the second link fails.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    except OSError:
        # A service account may have no home; this server then keeps its token to itself.
        os.environ["RAY_AUTH_TOKEN"] = token


def wait_until_ready(url: str, stop: threading.Event, terminal: TextIO) -> None:
    """Wait until every application runs and answers through the front door, or until `stop` is set.

    Raises:
        DeployError: an application failed, or nothing answers although all run.
    """
    notice = time.monotonic() + NOTICE_SECONDS
    door_deadline = math.inf
    while not stop.wait(0.1):
        applications: dict[str, Any] = serve.status().applications
        for name, application in applications.items():
            if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise DeployError(f"{name} failed to start: {cause(application)}")
        if applications and all(application.status == "RUNNING" for application in applications.values()):
            if answers(f"{url}/-/healthz"):
                return
            door_deadline = min(door_deadline, time.monotonic() + DOOR_SECONDS)
            if time.monotonic() > door_deadline:
                raise DeployError(f"everything runs, but {url} has not answered for {DOOR_SECONDS} s")
        elif time.monotonic() > notice:
            notice += NOTICE_SECONDS
            for application in applications.values():
                for name, deployment in application.deployments.items():
                    if deployment.status != "HEALTHY":
                        print(f"Still starting {name}: {last_line(deployment.message)}", file=terminal)


def cause(application: Any) -> str:
    """The last line of what went wrong: of the first deployment that failed, else of the application."""
    for name, deployment in application.deployments.items():
        if deployment.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            return f"{name}: {last_line(deployment.message)}"
    return last_line(application.message)


def last_line(message: str) -> str:
    """A traceback says it in its last line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def answers(url: str) -> bool:
    """Whether the address answers 200."""
    # Whatever http_proxy says: a proxy of the network does not reach this machine's loopback.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


if __name__ == "__main__":
    try:
        config, host, port, url, folder, *address = sys.argv[1:]
        main(Path(config), host, int(port), url, Path(folder), *address)
    except (DeployError, cluster.ClusterError, settings.ConfigurationError) as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(MISTAKE if isinstance(error, settings.ConfigurationError) else 1)
    except Exception:
        # Its last line is what the parent shows; leaving at once keeps it the last.
        logging.getLogger(__name__).exception("The server could not be started.")
        os._exit(1)
