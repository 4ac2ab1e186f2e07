"""What the server adds to its engines, and what it costs to start and to keep: `python -m bench.overhead`.

Starts a server of its own on a free port with an empty home, and loads the same engines in this process beside it.
Every figure is the median of several calls, one after the other on one connection. The engines are called in a thread
of their own, as replicas call them; requests are built beforehand and sent by the standard library's client, whose own
work is the least. What everything around an engine takes is counted on each request by itself, since two processes that
do the same may differ by more than that.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

import settings
from models.catalog import create_engine
from models.pictures import encode, open_picture
from models.tasks import ChatJob, ImageJob, ImagePart, Message, TextPart

ROOT = Path(__file__).parent.parent
PROMPT = "a big red circle on a blue background"
QUESTION = "What colour is the circle?"
TEXT = "Good morning to you all."
ROUNDS = 31
STAMP = b"/STAMP0/"
"""Behind a picture's last byte, where decoders do not look: a number of each call's own, so that nothing is kept of it.

It means as much in base64.
"""
_numbers = count(1)


@dataclass(frozen=True)
class Server:
    """A running server."""

    client: httpx.Client
    process: psutil.Process
    seconds_to_ready: float
    home: Path

    def engine_seconds(self, alias: str) -> list[float]:
        """How long the engine behind an alias took for each request so far, as its replica's log says."""
        runtime = Path(json.loads((self.home / "server.json").read_text())["folder"])
        logs = runtime.glob(f"ray/session_2*/logs/serve/replica_atelier_{alias}_*.log")
        told = re.findall(rf"{alias} worked ([0-9.]+) ms", "".join(log.read_text() for log in logs))
        return [float(milliseconds) / 1000 for milliseconds in told]


def main() -> None:
    """Measure and print."""
    console = Console(width=120)
    configured = settings.load(ROOT / "serve_config.yaml", {})
    table = Table("call", "cold, HTTP", "weights", "in process", "HTTP", "of it the engine", "the rest")
    with running_server() as server:
        idle = memory(server.process)
        picture = red_circle()
        through = http_calls(server.client, picture)
        cold = {name: seconds(call) for name, call in through.items()}
        loaded = memory(server.process)
        for name, (alias, engine_call) in engine_calls(picture).items():
            engine = create_engine(configured.models[alias])
            engine.load()  # imports the libraries
            engine.unload()
            engine.load()
            weights = engine.load_seconds
            engine.warm_up()
            with ThreadPoolExecutor(1) as thread:
                alone = statistics.median(times(lambda: thread.submit(engine_call, engine).result()))  # noqa: B023
            engine.unload()
            warm = times(through[name])
            worked = server.engine_seconds(alias)[-len(warm) :]
            rest = statistics.median(http - engine for http, engine in zip(warm, worked, strict=True))
            table.add_row(
                name,
                f"{cold[name]:.2f} s",
                f"{weights:.2f} s",
                f"{alone * 1000:.1f} ms",
                f"{statistics.median(warm) * 1000:.1f} ms",
                f"{statistics.median(worked) * 1000:.1f} ms",
                f"{rest * 1000:.1f} ms",
            )
        health = statistics.median(times(lambda: server.client.get("/healthz").raise_for_status(), rounds=100))
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    summary = Table("server", "value")
    summary.add_row("`make run` to ready, installed", f"{server.seconds_to_ready:.1f} s")
    summary.add_row("memory at rest, every model at zero", f"{idle / 1e6:.0f} MB")
    summary.add_row(f"memory with {len(through)} models loaded", f"{loaded / 1e6:.0f} MB")
    summary.add_row("GET /healthz, p50", f"{health * 1000:.1f} ms")
    console.print(summary)
    console.print(table)


def http_calls(client: httpx.Client, picture: bytes) -> dict[str, Callable[[], Any]]:
    """Each kind of model through HTTP, each on a connection of its own."""
    chat = {
        "model": "vlm-fast",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data_url(picture) + STAMP.decode()}},
                    {"type": "text", "text": QUESTION},
                ],
            }
        ],
    }
    reference = tone()
    return {
        name: built(client.build_request("POST", path, **content))
        for name, path, content in (
            ("picture, default size and steps", "/v1/images/generations", {"json": {"prompt": PROMPT, "seed": 1}}),
            ("question about a picture", "/v1/chat/completions", {"json": chat}),
            ("caption", "/api/caption-images", {"files": {"images": picture + STAMP}}),
            ("speech, one sentence", "/v1/voice/generate", {"files": {"ref_audio": reference}, "data": {"text": TEXT}}),
        )
    }


def built(request: httpx.Request) -> Callable[[], bytes]:
    """The request as a call on a connection of its own.

    Raises:
        RuntimeError: (the call) the answer is not 200.
    """
    connection = http.client.HTTPConnection(request.url.host, request.url.port or 80, timeout=120)
    content, headers = request.read(), dict(request.headers)

    def call() -> bytes:
        body = fresh(content)
        connection.request(request.method, request.url.raw_path.decode(), body, headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != httpx.codes.OK:
            raise RuntimeError(f"{request.url.path}: {answer.status} {told[:200]!r}")
        return told

    return call


def engine_calls(picture: bytes) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """The same work by the engine alone: its alias, and what the replica does with it."""
    from models.speech.audio_writing import write_audio
    from models.tasks import SpeechJob

    configured = settings.load(ROOT / "serve_config.yaml", {})
    defaults = configured.models["image-gen"].image
    job = ImageJob(PROMPT, defaults.width, defaults.height, defaults.steps, defaults.guidance, seed=1)

    def chat() -> ChatJob:
        return ChatJob((Message("user", (ImagePart(fresh(picture + STAMP)), TextPart(QUESTION))),))

    speech = SpeechJob(TEXT, reference=tone())
    return {
        "picture, default size and steps": (
            "image-gen",
            lambda e: [encode(p) for p in e.generate(job, lambda _step: None)],
        ),
        "question about a picture": ("vlm-fast", lambda e: list(e.stream(chat(), lambda: False))),
        "caption": ("blip", lambda e: e.caption([open_picture(picture)])),
        "speech, one sentence": ("voice", lambda e: write_audio(e.speak(speech), "mp3")),
    }


@contextmanager
def running_server(config: Path = ROOT / "serve_config.yaml") -> Iterator[Server]:
    """A server on a free port with an empty home, ended by SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PORT": str(port), "ATELIER_HOME": home}
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--config", str(config)], cwd=ROOT, env=environment
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                wait_for(client, process)
                yield Server(client, psutil.Process(process.pid), time.monotonic() - begun, Path(home))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Return once the server answers.

    Raises:
        RuntimeError: it ended instead.
    """
    while process.poll() is None:
        try:
            if client.get("/healthz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server ended with status {process.returncode}")


def memory(process: psutil.Process) -> int:
    """Bytes of the whole tree, shared pages counted once (PSS)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def times(call: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """The seconds of several calls after one that does not count."""
    call()
    return [seconds(call) for _ in range(rounds)]


def red_circle() -> bytes:
    """A picture of the built-in world, as PNG."""
    picture = Image.new("RGB", (64, 64), "blue")
    ImageDraw.Draw(picture).ellipse((14, 14, 50, 50), fill="red")
    return encode(picture)


def fresh(content: bytes) -> bytes:
    """The content with a new number in the place of each `STAMP`."""
    return content.replace(STAMP, b"/%06d/" % next(_numbers))


def data_url(picture: bytes) -> str:
    """The picture as chat clients send it; a `STAMP` may follow."""
    import base64

    whole = picture + bytes(-len(picture) % 3)
    return f"data:image/png;base64,{base64.b64encode(whole).decode()}"


def tone(pitch: float = 120.0, seconds: float = 1.0) -> bytes:
    """A voice-like tone of so many Hz, as WAV."""
    import numpy as np
    import soundfile

    t = np.arange(int(24_000 * seconds)) / 24_000
    wave = 0.1 * np.sum([np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 12)], axis=0)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), 24_000, format="WAV")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
