"""One server for the files of this folder, with all that the default one does without.

Two ingress replicas share a Redis, a PostgreSQL and a bucket, two search replicas an index. It sends its traces to a
collector and logs JSON, asks for keys, hands out no files, fetches pictures from one host, and has chat models with
upstreams. None of this is in the way of the rest, and each start would take half a minute with its models.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import httpx
import pytest
import yaml

from cli.environment import ROOT, free_ports
from tests.api.pictures import png, scene
from tests.buckets import new_bucket
from tests.collector import Collector, collector
from tests.postgres_server import new_database
from tests.redis_server import RedisServer, redis_server
from tests.servers import Server, start_server
from tests.upstreams import FINE, pretending, refusing

KEYS: Final = {"ATELIER_API_KEYS": "a-user's-secret", "API_KEY": "an-admin's-secret"}
ADMIN: Final = {"Authorization": f"Bearer {KEYS['API_KEY']}"}
PICTURE: Final = png(scene("square", "green"))
"""What the gallery shows to clients with the token."""
TOKEN: Final = "a-gallery's-secret"
AT_ONCE: Final = 6
"""The upstream of `together` answers only when so many ask at once."""


class _Gallery(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_right = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.send_response(200 if is_right else 401)
        self.end_headers()
        self.wfile.write(PICTURE if is_right else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="package")
def gallery() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gallery) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(scope="package")
def received() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="package")
def port() -> int:
    """Where the server will listen."""
    return free_ports(1)[0]


@pytest.fixture(scope="package")
def upstreams(port: int) -> Iterator[dict[str, object]]:
    """Chat models with an upstream: this server, one without the model, a closed port, and one that waits for all."""
    (closed,) = free_ports(1)
    together = threading.Barrier(AT_ONCE, timeout=120)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        FINE(handler)

    def upstream(url: str, model: str = "vlm-fast") -> dict[str, object]:
        return {
            "engine": "upstream",
            "checkpoint": model,
            "options": {"base_url": url, "api_key_env": "ATELIER_API_KEYS"},
        }

    with pretending(meet) as meeting, pretending(refusing(404, "there is no such model")) as empty:
        yield {
            "far": upstream(f"http://127.0.0.1:{port}/v1"),
            "down": upstream(f"http://127.0.0.1:{closed}/v1"),
            "unknown": upstream(empty.url),
            "together": upstream(meeting.url),
        }


@pytest.fixture(scope="package")
def attached(
    gallery: str,
    redis: RedisServer,
    postgres: str,
    s3: str,
    received: Collector,
    port: int,
    upstreams: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("attached")
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    arguments = document["applications"][0]["args"]
    arguments["search"] = {"replicas": 2}
    arguments["models"] |= upstreams
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document))
    environ = {
        **new_bucket(s3).environ,
        "ATELIER_ALLOW_REMOTE_IMAGES": "1",
        "ATELIER_DASHBOARD": "0",
        "ATELIER_INGRESS_REPLICAS": "2",
        "ATELIER_LOG_FORMAT": "json",
        "ATELIER_REMOTE_IMAGE_HOSTS": gallery,
        "ATELIER_TRACES": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
        "PORT": str(port),
        "PUBLIC_FILES": "0",
        "REDIS_URL": redis.url,
        "SEARCH_DATABASE_URL": new_database(postgres),
    }
    started = start_server(folder / "home", config, **environ, **KEYS)
    try:
        started.wait_until_ready()
        yield started
    finally:
        status = started.stop()
    assert status == 0


@pytest.fixture(scope="package")
def caller(attached: Server) -> Iterator[httpx.Client]:
    """A user with a key."""
    headers = {"Authorization": f"Bearer {KEYS['ATELIER_API_KEYS']}"}
    with httpx.Client(base_url=attached.url, headers=headers, timeout=120) as client:
        yield client
