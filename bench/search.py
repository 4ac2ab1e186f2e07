"""How image search scales, and how fast pictures get into it: `python -m bench.search [VECTORS …]`.

The index is measured with made-up vectors of 512 numbers, in a process of its own for each size: it is filled through
the same calls as the deployment makes, closed, opened again and asked. The vectors are of 2,000 kinds that differ in 32
ways, with noise and a common direction, as those of CLIP models have. Pictures go through HTTP into a server of their
own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import uvloop
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.overhead import running_server
from cli.environment import LARGE_PAGES, ROOT
from deployments.search.index_keeper import IndexKeeper
from models.catalog import create_engine
from models.embedding.engine import EmbeddingEngine
from models.entry import ModelEntry
from models.pictures import encode, open_picture
from stores.database import Vectors
from stores.index.index import ImageIndex
from stores.index.records import Embedder, NewImage, NewRecord, Reservation
from stores.sqlite import Sqlite
from training.world import random_scene, render

SIZES = (50_000, 1_000_000)
DIMENSION = 512
QUERIES = 500
LIMIT = 10
CALLERS = 16
_BATCH = 64


def main() -> None:
    """Measure and print."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    console = Console(width=160)
    console.print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    table = Table("vectors", "graph made", "opened again", "memory a vector", "p50", "p99", "recall@10", "20 beside")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            made = _in_a_process("make", folder, size)
            table.add_row(f"{size:,}", *made, *_in_a_process("ask", folder, size))
    console.print(table)
    console.print(ingest())


def _in_a_process(what: str, folder: str, size: int) -> list[str]:
    command = [sys.executable, "-m", "bench.search", what, folder, str(size)]
    as_a_server = {**os.environ, **LARGE_PAGES}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=as_a_server)
    return done.stdout.strip().splitlines()


def vectors(count: int, seed: int) -> Iterator[Vectors]:
    """Unit vectors in blocks, float32 [up to 50,000, 512]."""
    world = np.random.default_rng(7)
    kinds = world.standard_normal((2000, 32), np.float32)
    ways = world.standard_normal((32, DIMENSION), np.float32) / np.float32(32**0.5)
    common = 0.8 * world.standard_normal(DIMENSION, np.float32)
    rng = np.random.default_rng(seed)
    for begin in range(0, count, 50_000):
        some = min(50_000, count - begin)
        kind = kinds[rng.integers(0, len(kinds), some)] + 0.7 * rng.standard_normal((some, 32), np.float32)
        block = kind @ ways + common + 0.15 * rng.standard_normal((some, DIMENSION), np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def opened(folder: Path) -> ImageIndex:
    """The index of a benchmark's folder; nothing puts objects into it."""
    return ImageIndex(Sqlite(folder / "images.db"), Embedder("made up"))


def make(folder: Path, size: int) -> None:
    """Fill the index; prints how long the search graph took."""
    index = opened(folder)
    number = 0
    for project, count, seed in (("small", 20, 3), ("big", size, 1)):
        for block in vectors(count, seed):
            for begin in range(0, len(block), _BATCH):
                news = []
                for vector in block[begin : begin + _BATCH]:
                    image = NewImage(b"%d" % number, f"{number}", "image/png", ".png", 4, 3)
                    news.append(NewRecord(project, image, {"made up": vector}))
                    number += 1
                index.adding.complete([each for each in index.adding.reserve(news) if isinstance(each, Reservation)])
    index.search("big", next(vectors(1, 2))[0], LIMIT)
    begun = time.perf_counter()
    while index.needs_tending:
        index.tend()
    seconds = time.perf_counter() - begun
    index.close()
    print(f"{seconds:.0f} s, {seconds / size * 1e3:.2f} ms each")


def ask(folder: Path, size: int) -> None:
    """Open the index and search it; prints seconds, bytes a vector, milliseconds, recall and completeness."""
    import hnswlib  # noqa: F401 - takes some memory itself

    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()
    keeper = IndexKeeper(lambda: opened(folder))
    seconds = time.perf_counter() - begun
    memory = (psutil.Process().memory_info().rss - before) / size
    queries = next(vectors(QUERIES, 2))
    found, times = uvloop.run(_answers(keeper, queries))  # the loop of Serve's replicas
    small = uvloop.run(_answers(keeper, queries[:20], "small", 100))[0]
    truth = _exact(queries, size)
    recall = np.mean([len(set(names) & set(best)) / LIMIT for names, best in zip(found, truth, strict=True)])
    keeper.close()
    milliseconds = np.array(times) * 1e3
    print(f"{seconds:.1f} s\n{memory:.0f} B")
    print(f"{np.median(milliseconds):.2f} ms\n{np.quantile(milliseconds, 0.99):.2f} ms\n{recall:.4f}")
    print("complete" if all(len(names) == 20 for names in small) else "incomplete")


async def _answers(
    keeper: IndexKeeper, queries: Vectors, project: str = "big", limit: int = LIMIT
) -> tuple[list[list[int]], list[float]]:
    """The numbers of the vectors found for each query, and how long that took in seconds."""
    found, times = [], []
    for query in queries:
        begun = time.perf_counter()
        hits = await keeper.call(ImageIndex.search, project, query, limit)
        times.append(time.perf_counter() - begun)
        found.append([int(record.original_filename) for record, _ in hits])
    return found, times


def _exact(queries: Vectors, size: int) -> list[list[int]]:
    """The numbers of the best vectors for each query, compared one by one."""
    names = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    begin = 20
    for block in vectors(size, 1):
        names = np.hstack([names, np.broadcast_to(np.arange(begin, begin + len(block)), (len(queries), len(block)))])
        scores = np.hstack([scores, queries @ block.T])
        best = np.argsort(-scores, axis=1)[:, :LIMIT]
        names, scores = np.take_along_axis(names, best, 1), np.take_along_axis(scores, best, 1)
        begin += len(block)
    return [row.tolist() for row in names]


def ingest() -> Table:
    """Pictures a second: by the engine in process, in full batches, and through HTTP."""
    rng = np.random.default_rng(11)
    table = Table("pictures a second", "in process, batched", f"HTTP, {CALLERS} callers", "ratio")
    scenes = [encode(render(random_scene(rng))) for _ in range(600)]
    table.add_row("the built-in model, 64x64", *_rates("builtin:clip", scenes))
    with tempfile.TemporaryDirectory() as folder:
        write_vit(Path(folder))
        photos = [_photograph(rng) for _ in range(120)]
        table.add_row("a ViT-B/32 (untrained), JPEGs of 1024x768", *_rates(folder, photos))
    return table


def write_vit(folder: Path) -> None:
    """A checkpoint of the size of OpenAI's ViT-B/32, with weights that nobody trained."""
    import open_clip
    from safetensors.torch import save_file

    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {"size": [224, 224]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(open_clip.create_model("ViT-B-32").state_dict(), folder / "open_clip_model.safetensors")


def _photograph(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray((rng.random((24, 32, 3)) * 255).astype(np.uint8))
    return encode(coarse.resize((1024, 768), Image.Resampling.BICUBIC), "jpeg", 90)


def _rates(checkpoint: str, pictures: list[bytes]) -> list[str]:
    """What the engine does alone, what the server does, and their ratio; medians of three turns."""
    engine = create_engine(ModelEntry(engine="clip", checkpoint=checkpoint, threads=1))
    assert isinstance(engine, EmbeddingEngine)
    engine.load()
    engine.warm_up()
    alone, through = [], []
    with tempfile.TemporaryDirectory() as folder, running_server(_config(Path(folder), checkpoint)) as server:
        url = str(server.client.base_url)
        for turn in range(3):
            begun = time.perf_counter()
            engine.embed_images(open_picture(picture) for picture in pictures)
            alone.append(len(pictures) / (time.perf_counter() - begun))
            with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(CALLERS) as callers:

                def upload(picture: bytes, turn: int = turn, client: httpx.Client = client) -> None:
                    client.post(f"/v1/projects/p{turn}/images", files={"file": picture}).raise_for_status()

                if not turn:
                    upload(pictures[0])  # loads the model
                begun = time.perf_counter()
                list(callers.map(upload, pictures))
                through.append(len(pictures) / (time.perf_counter() - begun))
    best, served = statistics.median(alone), statistics.median(through)
    return [f"{best:.0f}", f"{served:.0f}", f"{served / best:.2f}"]


def _config(folder: Path, checkpoint: str) -> Path:
    """The default configuration with another embedder."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["applications"][0]["args"]["models"]["clip"] |= {"checkpoint": checkpoint, "memory": 0}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


if __name__ == "__main__":
    if sys.argv[1:2] in (["make"], ["ask"]):
        {"make": make, "ask": ask}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
