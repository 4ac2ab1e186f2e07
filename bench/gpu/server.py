"""The whole server on one GPU: what HTTP adds, models that take turns, memory that runs out."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bench.gpu import pictures
from bench.gpu.work import GB, Work
from bench.overhead import PROMPT, ROOT, Server, running_server, seconds

_HTTP: Final = 1.03
_MEMORY: Final = 8_000_000_000
"""What all models together may take of main memory in a tiny run, where it stands for the GPU."""
_ROUNDS: Final = 7


def run(work: Work) -> None:
    """Measure.

    Raises:
        RuntimeError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise RuntimeError("Ray is not installed: its wheel did not come along")
    folder = work.folder / "klein"
    if not pictures.write(work, "klein", folder):
        return
    config = configuration(folder, work.folder, tiny=work.tiny)
    if work.tiny:
        os.environ["ATELIER_MEMORY"] = str(_MEMORY)
    before = _gpu_memory(work)
    with running_server(config) as server:
        work.figure("start", server.seconds_to_ready, "s")
        if work.attempt("HTTP", lambda: _http(work, server), needs=30) is not None:
            held = _gpu_memory(work) - before
            if not work.tiny:
                promise = pictures.entry_of("klein", folder, tiny=False).gpus * pictures.CARD_GB
                work.figure("GPU memory of the replica", held / GB, "GB", target=promise)
        work.attempt("turns", lambda: _turns(work, server.client), needs=60)
        if not work.tiny:
            work.attempt("memory that runs out", lambda: _run_out(work, server.client), needs=15)


def configuration(checkpoint: Path, folder: Path, *, tiny: bool) -> Path:
    """serve_config.gpu.yaml with two picture models of random weights that do not fit side by side: klein and dev.

    Both have the checkpoint of klein; each keeps its own share. In a tiny run the shares are of main memory. The voice
    is the built-in one and the embedder too, so that nothing is downloaded.
    """
    document: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.gpu.yaml").read_text())
    default = yaml.safe_load((ROOT / "serve_config.yaml").read_text())["applications"][0]["args"]["models"]
    models = document["applications"][0]["args"]["models"]
    klein = pictures.entry_of("klein", checkpoint, tiny=tiny).model_dump(mode="json", exclude_defaults=True)
    shares = {alias: models[alias]["gpus"] for alias in ("klein", "dev")}
    for alias in ("z-image", "schnell", "kontext"):
        del models[alias]
    for alias, share in shares.items():
        models[alias] = {**klein, "gpus": share}
        if tiny:
            models[alias] |= {"gpus": 0, "memory": int(share * _MEMORY)}
    models |= {"clip": default["clip"], "voice": default["voice"]}
    for alias, entry in models.items():
        if tiny and alias not in shares and entry["engine"] != "omni":  # which has no weights of its own
            models[alias] = {**entry, "memory": 0}
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _http(work: Work, server: Server) -> bool:
    """A picture through HTTP, beside what the engine itself took for it."""
    rounds = 2 if work.tiny else _ROUNDS
    first = seconds(lambda: _picture(server.client, "klein", seed=0))
    work.figure("first picture, its model being loaded", first, "s")
    whole = [seconds(lambda: _picture(server.client, "klein", seed=1)) for _ in range(rounds)]
    alone = server.engine_seconds("klein")[-rounds:]
    work.figure("picture, HTTP", statistics.median(whole), "s", beside=statistics.median(alone))
    ratio = statistics.median(w / a for w, a in zip(whole, alone, strict=True))
    work.figure("HTTP, beside in process", ratio, "x", target=_HTTP)
    return True


def _turns(work: Work, client: httpx.Client) -> None:
    """Models that do not fit together, in turns.

    Raises:
        RuntimeError: both were there at once.
    """
    with _watched(client) as together:
        took = [
            seconds(lambda: _picture(client, alias, seed=2))  # noqa: B023
            for alias in ("dev", "klein", "dev", "klein")[: 2 if work.tiny else 4]
        ]
    if together:
        raise RuntimeError(f"klein and dev were loaded at once, {len(together)} times")
    work.figure("picture, another model in its way", statistics.median(took), "s")


@contextmanager
def _watched(client: httpx.Client) -> Iterator[list[str]]:
    """Meanwhile, notes each time that klein and dev are ready at once."""
    together: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=client.base_url, timeout=120) as own:
            while not ended.wait(0.2):
                models = own.get("/v1/models").raise_for_status().json()["data"]
                states = {model["id"]: model["state"] for model in models}
                if states["klein"] == states["dev"] == "ready":
                    together.append("both")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield together
    finally:
        ended.set()
        watcher.join()


def _run_out(work: Work, client: httpx.Client) -> None:
    """All but a gigabyte of the GPU is taken: a large picture gets one 503, and the next one is made.

    Raises:
        RuntimeError: another status.
    """
    import torch

    _picture(client, "klein", seed=3)
    free, _ = torch.cuda.mem_get_info()
    taken = [torch.empty(max(0, free - 10**9), dtype=torch.uint8, device="cuda")]
    body = {"model": "klein", "prompt": PROMPT, "seed": 4, "size": "2048x2048"}
    answer = client.post("/v1/images/generations", json=body)
    taken.clear()
    torch.cuda.empty_cache()
    if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        raise RuntimeError(f"{answer.status_code} instead of 503: {answer.text[:200]}")
    work.figure("the picture after that", seconds(lambda: _picture(client, "klein", seed=5)), "s")


def _picture(client: httpx.Client, model: str, seed: int) -> None:
    body = {"model": model, "prompt": PROMPT, "seed": seed}
    client.post("/v1/images/generations", json=body).raise_for_status()


def _gpu_memory(work: Work) -> float:
    """Bytes of the GPU that are in use, by any process."""
    if work.tiny:
        return 0.0
    import torch

    free, total = torch.cuda.mem_get_info()
    return float(total - free)
