"""What HTTP adds to pictures, and how the server behaves while it makes them: `python -m bench.pictures`.

Starts a server of its own whose built-in model draws at the size asked for, so that a picture takes long enough to be
compared, and loads the same engine in this process beside it. Calls of the two take turns, so that what else the
machine does meets both.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table

import settings
from bench.overhead import PROMPT, ROOT, running_server, seconds
from models.catalog import create_engine
from models.pictures import encode
from models.tasks import ImageJob

SIDE = 256
STEPS = 4
ROUNDS = 11
LONG = {"prompt": PROMPT, "steps": 150, "n": 10, "seed": 1, "size": "128x128"}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        config = drawing_any_size(Path(folder))
        entry = settings.load(config, {}).models["image-gen"]
        engine = create_engine(entry)
        engine.load()
        engine.warm_up()
        table = Table("what", "in process, or n=4", "HTTP, or four calls", "ratio")
        with running_server(config) as server:
            client = server.client
            for name, side, steps in ((f"{SIDE}x{SIDE}, {STEPS} steps", SIDE, STEPS), ("128x128, 12 steps", 128, 12)):
                alone, through = in_turns(client, engine, entry.image.guidance, side, steps)
                table.add_row(name, *milliseconds(alone, through), f"{through / alone:.3f}")
            single, four = batches(client)
            table.add_row(
                "128x128, 12 steps: n=4 and four calls", *milliseconds(four, 4 * single), f"{four / single / 4:.2f}"
            )
            busy, p99 = health_while_busy(client)
            freed, step = cancelled(client)
        console = Console(width=110)
        console.print(table)
        table = Table("while pictures are made", "value")
        table.add_row("GET /healthz, p50", f"{busy * 1000:.1f} ms")
        table.add_row("GET /healthz, p99", f"{p99 * 1000:.1f} ms")
        table.add_row("one step of a batch of four", f"{step * 1000:.1f} ms")
        table.add_row("from DELETE of the job until the next picture begins", f"{freed * 1000:.1f} ms")
        console.print(table)


def drawing_any_size(folder: Path) -> Path:
    """The default configuration with an image model that draws each size as it is asked for."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    del document["applications"][0]["args"]["models"]["image-gen"]["options"]["native_pixels"]
    path = folder / "any_size.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def in_turns(client: httpx.Client, engine: Any, guidance: float, side: int, steps: int) -> tuple[float, float]:
    """The medians of the engine alone and of HTTP, in seconds."""
    job = ImageJob(PROMPT, side, side, steps, guidance, seed=1)
    body = {"prompt": PROMPT, "size": f"{side}x{side}", "steps": steps, "seed": 1}

    def alone() -> list[bytes]:
        return [encode(picture) for picture in engine.generate(job, lambda _step: None)]

    def through() -> httpx.Response:
        return client.post("/v1/images/generations", json=body).raise_for_status()

    alone()
    through()
    pairs = [(seconds(alone), seconds(through)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in pairs), statistics.median(t for _, t in pairs)


def batches(client: httpx.Client) -> tuple[float, float]:
    """The medians of one picture and of four in one call, in seconds."""

    def make(n: int) -> float:
        body = {"prompt": PROMPT, "n": n, "size": "128x128", "seed": 1}
        return seconds(lambda: client.post("/v1/images/generations", json=body).raise_for_status())

    make(4)
    pairs = [(make(1), make(4)) for _ in range(ROUNDS)]
    return statistics.median(one for one, _ in pairs), statistics.median(four for _, four in pairs)


def health_while_busy(client: httpx.Client) -> tuple[float, float]:
    """p50 and p99 of the health route while one caller makes pictures without a pause, in seconds."""
    busy = threading.Event()
    busy.set()

    def make() -> None:
        with httpx.Client(base_url=client.base_url, timeout=120) as other:
            while busy.is_set():
                other.post("/v1/images/generations", json={"prompt": PROMPT, "size": "128x128"}).raise_for_status()

    maker = threading.Thread(target=make)
    maker.start()
    time.sleep(0.5)
    took = sorted(seconds(lambda: client.get("/healthz").raise_for_status()) for _ in range(500))
    busy.clear()
    maker.join()
    return took[len(took) // 2], took[int(len(took) * 0.99)]


def cancelled(client: httpx.Client) -> tuple[float, float]:
    """How long a cancelled job holds the model still, and how long a step takes, in seconds (medians)."""
    tiny = {"prompt": PROMPT, "size": "128x128", "steps": 1, "seed": 1}
    free = statistics.median(
        seconds(lambda: client.post("/v1/images/generations", json=tiny).raise_for_status()) for _ in range(ROUNDS)
    )
    held, steps = [], []
    for _ in range(ROUNDS):
        job = uuid.uuid4().hex
        maker = threading.Thread(target=begin, args=(client, job))
        maker.start()
        first = progress(client, job, 0)
        began = time.perf_counter()
        second = progress(client, job, first + 40)
        steps.append((time.perf_counter() - began) / (second - first) * 4)
        client.delete(f"/v1/jobs/{job}").raise_for_status()
        held.append(seconds(lambda: client.post("/v1/images/generations", json=tiny).raise_for_status()) - free)
        maker.join()
    return max(0.0, statistics.median(held)), statistics.median(steps)


def begin(client: httpx.Client, job: str) -> None:
    """Begin long work under an id; its answer is the cancellation's."""
    with httpx.Client(base_url=client.base_url, timeout=120) as other:
        other.post("/v1/images/generations", json=LONG, headers={"x-request-id": job})


def progress(client: httpx.Client, job: str, beyond: int) -> int:
    """The job's step count once it is larger than `beyond`."""
    while True:
        answer = client.get(f"/v1/jobs/{job}")
        if answer.status_code == httpx.codes.OK and answer.json()["step"] > beyond:
            return int(answer.json()["step"])
        time.sleep(0.01)


def milliseconds(*values: float) -> list[str]:
    """For the table."""
    return [f"{value * 1000:.1f} ms" for value in values]


if __name__ == "__main__":
    main()
