"""Memory that really runs out: an engine in a process that may have only a little more than it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.models.conftest import Shelf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits a process's memory, and says how much"
)

PROGRAM = """
import ctypes, gc, json, os, resource, sys
from pathlib import Path
from models.catalog import create_engine
from models.entry import ModelEntry
from models.errors import ModelError
from models.tasks import ImageJob

def work(spare, side, n, files):
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # what the allocator has in hand would come on top of what is spare
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare * 2**20,) * 2)
    done, pictures, error = [], [], None
    job = ImageJob("a red circle", side, side, 1, 1.0, 7, n, images=tuple(Path(file).read_bytes() for file in files))
    try:
        pictures = engine.generate(job, lambda step: done.append(step.done))
    except ModelError as raised:
        error = type(raised).__name__
    as_before = engine.generate(small, lambda step: None) == before
    print(json.dumps({"error": error, "pictures": len(pictures), "done": done, "as_before": as_before}), flush=True)

engine = create_engine(ModelEntry(engine="diffusion", checkpoint=sys.argv[1], device="cpu", threads=1))
engine.load()
small = ImageJob("a red circle", 64, 64, steps=1, guidance=1.0, seed=7)
before = engine.generate(small, lambda step: None)
for line in sys.stdin:  # each job in a copy of this process, with a limit of its own
    if (child := os.fork()) == 0:
        work(*json.loads(line))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("null", flush=True)
"""

LittleMemory = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def with_little_memory(shelf: Shelf) -> Iterator[LittleMemory]:
    """What becomes of n square pictures for which there are `spare` MiB, and of a small one after them."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, shelf("flux").checkpoint],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # others reserve room beforehand
    ) as process:
        assert process.stdin
        assert process.stdout
        asked, told = process.stdin, process.stdout

        def work(spare: int, side: int, n: int, *originals: Path) -> dict[str, Any]:
            print(json.dumps([spare, side, n, [str(path) for path in originals]]), file=asked, flush=True)
            said: dict[str, Any] | None = json.loads(told.readline())
            assert said, "it ended; its last words are on stderr"
            return said

        yield work


def test_a_picture_that_cannot_be_allocated_is_refused_and_the_next_one_is_made(
    with_little_memory: LittleMemory,
) -> None:
    said = with_little_memory(spare=64, side=2048, n=1)
    assert said == {"error": "OutOfMemory", "pictures": 0, "done": [], "as_before": True}


@pytest.mark.nightly
def test_a_batch_that_cannot_be_allocated_is_made_in_smaller_ones(with_little_memory: LittleMemory) -> None:
    said = with_little_memory(spare=50, side=256, n=8)  # one takes some 20 MiB, all together 80
    assert (said["error"], said["pictures"], said["as_before"]) == (None, 8, True)
    assert len(said["done"]) > 1
    assert said["done"][-1] == 8


def test_an_original_that_cannot_be_decoded_for_want_of_memory_is_not_called_damaged(
    with_little_memory: LittleMemory, tmp_path: Path
) -> None:
    Image.new("RGB", (6000, 6000), "red").save(tmp_path / "large.png")
    said = with_little_memory(64, 64, 1, tmp_path / "large.png")
    assert said == {"error": "OutOfMemory", "pictures": 0, "done": [], "as_before": True}
