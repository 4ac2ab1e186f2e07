"""Memory that really runs out: an engine in a process that may have only a little more than it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.models.conftest import Shelf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits a process's memory, and says how much"
)

PROGRAM = """
import ctypes, gc, json, resource, sys
from pathlib import Path
from models.catalog import ModelEntry, create_engine
from models.errors import ModelError
from models.tasks import ImageJob

checkpoint, spare, side, n = sys.argv[1], *map(int, sys.argv[2:5])
originals = tuple(Path(file).read_bytes() for file in sys.argv[5:])
engine = create_engine(ModelEntry(engine="diffusion", checkpoint=checkpoint, device="cpu", threads=1))
engine.load()
small = ImageJob("a red circle", 64, 64, steps=1, guidance=1.0, seed=7)
before = engine.generate(small, lambda step: None)
gc.collect()
if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
    libc.malloc_trim(0)  # what the allocator has in hand would come on top of what is spare
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare * 2**20,) * 2)
done, pictures, error = [], [], None
job = ImageJob("a red circle", side, side, 1, 1.0, 7, n, images=originals)
try:
    pictures = engine.generate(job, lambda step: done.append(step.done))
except ModelError as raised:
    error = type(raised).__name__
as_before = engine.generate(small, lambda step: None) == before
print(json.dumps({"error": error, "pictures": len(pictures), "done": done, "as_before": as_before}))
"""


def with_little_memory(shelf: Shelf, spare: int, side: int, n: int, *originals: Path) -> dict[str, Any]:
    """What becomes of n square pictures for which there are `spare` MiB, and of a small one after them."""
    command = [sys.executable, "-c", PROGRAM, shelf("flux").checkpoint, *map(str, (spare, side, n, *originals))]
    environ = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # others reserve room beforehand
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_a_picture_that_cannot_be_allocated_is_refused_and_the_next_one_is_made(shelf: Shelf) -> None:
    said = with_little_memory(shelf, spare=64, side=2048, n=1)
    assert said == {"error": "OutOfMemory", "pictures": 0, "done": [], "as_before": True}


def test_a_batch_that_cannot_be_allocated_is_made_in_smaller_ones(shelf: Shelf) -> None:
    said = with_little_memory(shelf, spare=60, side=320, n=10)  # one takes some 20 MiB, all together 140
    assert (said["error"], said["pictures"], said["as_before"]) == (None, 10, True)
    assert len(said["done"]) > 1
    assert said["done"][-1] == 10


def test_an_original_that_cannot_be_decoded_for_want_of_memory_is_not_called_damaged(
    shelf: Shelf, tmp_path: Path
) -> None:
    Image.new("RGB", (6000, 6000), "red").save(tmp_path / "large.png")
    said = with_little_memory(shelf, 64, 64, 1, tmp_path / "large.png")
    assert said == {"error": "OutOfMemory", "pictures": 0, "done": [], "as_before": True}
