"""How the server behaves when models take turns and many ask at once: `python -m bench.fleet`.

Swaps of two built-in models that do not fit together, against cold starts; 200 clients for a minute; and requests per
second from ingress to model, against LitServe with the same echo, which is installed into an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from rich.console import Console
from rich.table import Table

from bench.overhead import ROOT, Server, running_server
from cli.environment import free_ports, serving_environment

ROUNDS = 5
CLIENTS = 200
SECONDS = 60
ECHO_CONNECTIONS = (1, 16, 64, 200)
ECHO_SECONDS = 5
QUIET_SECONDS = 2

_LITSERVE = """
import sys, litserve

class Echo(litserve.LitAPI):
    def setup(self, device): pass
    def decode_request(self, request): return request["input"]
    def predict(self, x): return x
    def encode_response(self, output): return {"output": output}

if __name__ == "__main__":
    litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
"""


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    console.print(swaps())
    with running_server() as server:
        console.print(asyncio.run(flood(server)))
    console.print(echoes())


def swaps() -> Table:
    """From a request to its answer: of a model that nobody is in the way of, and of one whose room another has."""
    table = Table("model", "cold start", "in another's place", "ratio")
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0]["args"] = {
        "image_search_enabled": False,
        "models": {
            "image-gen": document["applications"][0]["args"]["models"]["image-gen"],
            "vlm-fast": {"engine": "vlm", "checkpoint": "builtin:vlm", "threads": 1, "memory": 1_000_000_000},
        },
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump(document, config)
        config.flush()
        os.environ["ATELIER_MEMORY"] = "1_500_000_000"
        with running_server(Path(config.name)) as server:
            calls = {"image-gen": lambda: draw(server.client), "vlm-fast": lambda: ask(server.client)}
            for alias, other in (("image-gen", "vlm-fast"), ("vlm-fast", "image-gen")):
                cold = [after(server, calls[alias], is_evicted=True) for _ in range(ROUNDS)]
                swapped = []
                for _ in range(ROUNDS):
                    calls[other]()
                    swapped.append(after(server, calls[alias], is_evicted=False))
                middle, middle_swapped = statistics.median(cold), statistics.median(swapped)
                table.add_row(alias, f"{middle:.2f} s", f"{middle_swapped:.2f} s", f"{middle_swapped / middle:.2f}")
        del os.environ["ATELIER_MEMORY"]
    return table


def after(server: Server, call: Callable[[], object], *, is_evicted: bool) -> float:
    """Seconds of a call, once nobody has been asked for a while; with nobody loaded if `is_evicted`."""
    if is_evicted:
        for alias in server.client.get("/v1/system/status").json()["workers"]:
            server.client.post(f"/v1/system/evict/{alias}").raise_for_status()
    time.sleep(QUIET_SECONDS)
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def draw(client: httpx.Client) -> None:
    """A picture."""
    client.post("/v1/images/generations", json={"prompt": "a red circle"}).raise_for_status()


def ask(client: httpx.Client) -> None:
    """An answer."""
    body = {"model": "vlm-fast", "messages": [{"role": "user", "content": "What colour is the sky?"}], "max_tokens": 8}
    client.post("/v1/chat/completions", json=body).raise_for_status()


async def flood(server: Server) -> Table:
    """What 200 clients are answered, how quick health is meanwhile, and whether memory grows."""
    statuses: Counter[str] = Counter()
    sizes: list[int] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=str(server.client.base_url), timeout=120, limits=limits) as client:
        for path, body in bodies(0):  # loaded before anything is measured
            (await client.post(path, json=body)).raise_for_status()
        over = time.monotonic() + SECONDS

        async def use(number: int) -> None:
            while time.monotonic() < over:
                path, body = bodies(number)[number % len(bodies(number))]
                answer = await client.post(path, json=body)
                statuses[f"{answer.status_code // 100}xx" if answer.status_code != 429 else "429"] += 1
                if answer.status_code == 429:
                    await asyncio.sleep(float(answer.headers["retry-after"]))

        probing = [sys.executable, "-m", "bench.fleet", "health", str(server.client.base_url), str(SECONDS)]
        prober = await asyncio.create_subprocess_exec(*probing, cwd=ROOT, stdout=subprocess.PIPE)

        async def weigh() -> None:
            while time.monotonic() < over:
                sizes.append(await asyncio.to_thread(resident, server.process))
                await asyncio.sleep(5)

        await asyncio.gather(weigh(), *(use(number) for number in range(CLIENTS)))
        health, naps = json.loads((await prober.communicate())[0])
    table = Table(f"{CLIENTS} clients, {SECONDS} s", "value")
    for status, count in sorted(statuses.items()):
        table.add_row(f"answers {status}", str(count))
    for name, seconds in (("`GET /healthz`", health), ("a process that only sleeps, late by", naps)):
        cuts = statistics.quantiles(seconds, n=100)
        middle, tail, worst = (f"{x * 1e3:.0f} ms" for x in (cuts[49], cuts[98], max(seconds)))
        table.add_row(f"{name}, p50, p99, worst", f"{middle}, {tail}, {worst}")
    third = len(sizes) // 3
    table.add_row(
        "memory, first and last third",
        " -> ".join(f"{statistics.mean(s) / 1e6:.0f} MB" for s in (sizes[:third], sizes[-third:])),
    )
    return table


def resident(process: psutil.Process) -> int:
    """Bytes of the whole tree, shared pages counted for each: to count them once would hold the processes up."""
    found = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += one.memory_info().rss
    return found


def bodies(number: int) -> list[tuple[str, dict[str, Any]]]:
    """A request to each of four kinds of model."""
    question = {"role": "user", "content": f"What is {number}?"}
    return [
        ("/v1/embeddings", {"model": "clip", "input": f"a red circle {number}"}),
        ("/v1/chat/completions", {"model": "vlm-fast", "messages": [question], "max_tokens": 4}),
        ("/v1/audio/speech", {"model": "voice", "voice": "alloy", "input": f"This is number {number}."}),
        ("/v1/images/generations", {"prompt": f"a red circle {number}", "steps": 4}),
    ]


def probe(url: str, seconds: float) -> None:
    """Print how long health takes, asked twenty times a second, and how late the machine wakes who sleeps, as JSON."""
    times, naps = [], []
    gc.disable()  # its pauses are not the server's
    over = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=30) as client:
        client.get("/healthz")
        while time.monotonic() < over:
            begun = time.perf_counter()
            client.get("/healthz").raise_for_status()
            asleep = time.perf_counter()
            time.sleep(0.05)
            naps.append(time.perf_counter() - asleep - 0.05)
            times.append(asleep - begun)
    print(json.dumps([times, naps]))


def echoes() -> Table:
    """Requests per second through an ingress to a model in a process of its own, in turn with LitServe's."""
    table = Table("echo, connections", "Atelier's way", "LitServe", "ratio")
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="echo-") as folder,
        litserve(Path(folder)) as theirs,
        serve_echo(Path(folder)) as ours,
    ):
        for connections in ECHO_CONNECTIONS:
            found: dict[int, list[float]] = {ours: [], theirs: []}
            for port in (ours, theirs) * 3:
                found[port].append(asyncio.run(rate(port, connections)))
            a, b = (statistics.median(found[port]) for port in (ours, theirs))
            table.add_row(str(connections), f"{a:.0f}/s", f"{b:.0f}/s", f"{a / b:.2f}")
    return table


@contextmanager
def litserve(folder: Path) -> Iterator[int]:
    """LitServe's port, in an environment of its own."""
    uv = Path(sys.executable).with_name("uv")
    python = folder / "venv" / "bin" / "python"
    environment = dict(os.environ)
    for theirs, ours in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("UV_FIND_LINKS", "PIP_FIND_LINKS")):
        if ours in environment:
            environment.setdefault(theirs, environment[ours])
    for arguments in (["venv", "--python", sys.executable, str(folder / "venv")],
                      ["pip", "install", "--python", str(python), "litserve"]):  # fmt: skip
        subprocess.run([uv, *arguments], env=environment, check=True, capture_output=True)
    (folder / "echo.py").write_text(_LITSERVE)
    (port,) = free_ports(1)
    with running([str(python), str(folder / "echo.py"), str(port)], environment, port):
        yield port


@contextmanager
def serve_echo(folder: Path) -> Iterator[int]:
    """The port of the echo behind the proxies and settings that the server has."""
    (port,) = free_ports(1)
    (folder / "run").mkdir()
    environment = serving_environment("127.0.0.1", port, folder / "run", folder / "home")
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"enable_access_log": False},
        "applications": [{"name": "echo", "route_prefix": "/", "import_path": "bench.echo:app"}],
    }
    (folder / "echo.yaml").write_text(yaml.safe_dump(config))
    own = {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(folder)}
    command = [str(Path(sys.executable).with_name("serve")), "run", str(folder / "echo.yaml")]
    with running(command, {**environment, **own}, port):
        yield port


@contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    """A server that echoes, once it does."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while True:
            try:
                if httpx.post(f"http://127.0.0.1:{port}/predict", json={"input": 1}).status_code == httpx.codes.OK:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(2)
        process.wait(60)


async def rate(port: int, connections: int) -> float:
    """Answers per second on so many connections."""
    body = json.dumps({"input": 4.0}).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    over = time.monotonic() + ECHO_SECONDS
    done = 0

    async def use() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < over:
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:  # it takes so many on one connection only
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            done += 1
        writer.close()

    await asyncio.gather(*(use() for _ in range(connections)))
    return done / ECHO_SECONDS


if __name__ == "__main__":
    if sys.argv[1:2] == ["health"]:
        probe(sys.argv[2], float(sys.argv[3]))
    else:
        main()
