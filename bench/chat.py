"""Chat about a picture against other servers of the same checkpoint: `python -m bench.chat`.

Atelier, `transformers serve` and, where it is installed, mlx-vlm's own server answer the same questions on this
machine, one server after the other: on one connection and on eight, whole and until the first streamed token, about a
new picture each time and about one that was seen before. The engine in this process answers beside them.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import settings
from bench.overhead import ROOT, ROUNDS, STAMP, built, data_url, fresh, red_circle, running_server, times
from cli.environment import free_ports
from models.catalog import create_engine
from models.chat.engine import ChatEngine
from models.tasks import ChatJob, ImagePart, Message, TextPart

CHECKPOINT = ROOT / "models" / "builtin" / "vlm"
QUESTIONS = {"short": ("What colour is the circle?", 16), "long": ("Describe this image in detail.", 160)}
CONNECTIONS, REQUESTS = 8, 96


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    table = Table(
        "server",
        "answer",
        "one connection",
        "picture seen before",
        "first token",
        f"{CONNECTIONS} connections, answers/s",
        "tokens",
    )
    for name, serving in SERVERS.items():
        with serving() as (address, model), httpx.Client(base_url=address, timeout=120) as client:
            for kind in QUESTIONS:
                body = asked(kind, model)
                ask = built(client.build_request("POST", "/v1/chat/completions", json=body))
                one = statistics.median(times(ask))
                again = built(client.build_request("POST", "/v1/chat/completions", json=asked(kind, model, again=True)))
                seen = statistics.median(times(again))
                first = statistics.median(seconds_to_first_token(client, body) for _ in range(ROUNDS))
                written = client.post("/v1/chat/completions", json=body).raise_for_status().json()["usage"]
                rate = answers_a_second(client, body)
                table.add_row(
                    name,
                    kind,
                    f"{one * 1000:.1f} ms",
                    f"{seen * 1000:.1f} ms",
                    f"{first * 1000:.1f} ms",
                    f"{rate:.1f}",
                    str(written["completion_tokens"]),
                )
    for kind in QUESTIONS:
        told = [f"{seconds * 1000:.1f} ms" for seconds in in_process(kind)]
        table.add_row("the engine, in process", kind, *told, "", "")
    console.print(table)


def asked(kind: str, model: str, *, again: bool = False) -> dict[str, Any]:
    """The request; `again` asks about the same picture each time that it is sent."""
    question, most = QUESTIONS[kind]
    url = data_url(red_circle()) + ("" if again else STAMP.decode())
    picture = {"type": "image_url", "image_url": {"url": url}}
    content = [picture, {"type": "text", "text": question}]
    return {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": most, "temperature": 0}


def seconds_to_first_token(client: httpx.Client, body: dict[str, Any]) -> float:
    """From the request to the first piece of text, on a connection of its own; the rest of the answer is read too."""
    request = client.build_request("POST", "/v1/chat/completions", json={**body, "stream": True})
    content = fresh(request.read())
    connection = http.client.HTTPConnection(request.url.host, request.url.port or 80, timeout=120)
    connection.connect()
    begun = time.perf_counter()
    connection.request("POST", request.url.path, content, dict(request.headers))
    answer = connection.getresponse()
    took = 0.0
    while line := answer.readline():
        if not took and b'"content":' in line and b'"content":""' not in line.replace(b" ", b""):
            took = time.perf_counter() - begun
    connection.close()
    return took


def answers_a_second(client: httpx.Client, body: dict[str, Any]) -> float:
    """How many whole answers come in a second on several connections, each about a new picture."""
    asks = [built(client.build_request("POST", "/v1/chat/completions", json=body)) for _ in range(CONNECTIONS)]

    def work(ask: Callable[[], bytes]) -> None:
        for _ in range(REQUESTS // CONNECTIONS):
            ask()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda ask: ask(), asks))
        begun = time.perf_counter()
        list(pool.map(work, asks))
        return REQUESTS / (time.perf_counter() - begun)


def in_process(kind: str) -> tuple[float, float, float]:
    """By the engine alone, in seconds: an answer, one about a picture seen before, and the first piece of one."""
    entry = settings.load(ROOT / "serve_config.yaml", {}).models["vlm-fast"]
    engine = create_engine(entry)
    assert isinstance(engine, ChatEngine)
    engine.load()
    engine.warm_up()
    question, most = QUESTIONS[kind]
    circle = red_circle()

    def job(*, again: bool = False) -> ChatJob:
        picture = circle if again else fresh(circle + STAMP)
        return ChatJob((Message("user", (ImagePart(picture), TextPart(question))),), max_tokens=most)

    with ThreadPoolExecutor(1) as thread:
        whole = times(lambda: thread.submit(lambda: list(engine.stream(job(), lambda: False))).result())
        seen = times(lambda: thread.submit(lambda: list(engine.stream(job(again=True), lambda: False))).result())
        first = times(lambda: thread.submit(lambda: next(engine.stream(job(), lambda: False))).result())
    return statistics.median(whole), statistics.median(seen), statistics.median(first)


@contextlib.contextmanager
def atelier() -> Iterator[tuple[str, str]]:
    """This server."""
    with running_server() as server:
        yield str(server.client.base_url), "vlm-fast"


@contextlib.contextmanager
def transformers(**environment: str) -> Iterator[tuple[str, str]]:
    """`transformers serve`, as it comes but for the environment."""
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(CHECKPOINT), "--port", str(port)]
    with other(command, port, "/health", **environment):
        yield f"http://127.0.0.1:{port}", str(CHECKPOINT)


@contextlib.contextmanager
def mlx() -> Iterator[tuple[str, str]]:
    """mlx-vlm's own server, as it comes."""
    if find_spec("mlx_vlm") is None:
        raise SystemExit("mlx-vlm is not installed")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlx_vlm.server", "--model", str(CHECKPOINT), "--port", str(port)]
    with other(command, port, "/health"):
        yield f"http://127.0.0.1:{port}", str(CHECKPOINT)


@contextlib.contextmanager
def other(command: list[str], port: int, health: str, **environment: str) -> Iterator[None]:
    """A server of somebody else, from when it answers until it is ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}{health}").status_code == httpx.codes.OK:
                    break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[str, str]]]] = {
    "Atelier": atelier,
    "transformers serve": transformers,
    "transformers serve, one thread": lambda: transformers(OMP_NUM_THREADS="1"),
    "mlx-vlm": mlx,
}


if __name__ == "__main__":
    main()
