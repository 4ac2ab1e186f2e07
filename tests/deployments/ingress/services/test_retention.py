"""Retention while the app runs: at once when there is too much, in one process only, on after a failure."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import settings as configuration
from deployments.ingress.services.retention import Retention
from deployments.storage import open_store
from stores.errors import DownloadFailed
from stores.objects import FileStore
from tests.api.pictures import png
from tests.buckets import Bucket
from tests.deployments.apps import ARGS, listening, make_app

MONTH = 31 * 86_400


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def settle(condition: Callable[[], bool]) -> None:
    asyncio.run(until(condition))


async def upload(http: httpx.AsyncClient) -> str:
    answer = await http.post("/upload", files={"file": ("x", png())})
    return str(answer.raise_for_status().json()["url"]).removeprefix("/")


async def test_more_uploads_than_there_is_room_for_push_the_oldest_out_and_nothing_else(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "files")
    files.put("AI/SEARCH/p/images/1.png", bytes(10_000))
    room = int(2.5 * len(png()))
    async with (
        listening(make_app(tmp_path, {"FILES_MAX_BYTES": str(room)})) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        names = [await upload(http) for _ in range(2)]
        assert [(await http.get(name)).status_code for name in names] == [200, 200]
        names.append(await upload(http))
        await until(lambda: not files.exists(f"uploads/{names[0]}"))
        assert [(await http.get(name)).status_code for name in names] == [404, 200, 200]
        assert (await http.get("/latest")).json()["url"] == f"{url}/{names[2]}"
    assert files.exists("AI/SEARCH/p/images/1.png")


async def test_what_became_too_old_while_nothing_ran_leaves_with_the_start(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "files")
    for key in (
        "uploads/i/old.png",
        "images/generated/old.png",
        "images/generated/new.png",
        "AI/SEARCH/p/images/1.png",
    ):
        files.put(key, b"1")
        if "new" not in key:
            os.utime(files.path(key), (time.time() - MONTH, time.time() - MONTH))
    async with listening(make_app(tmp_path)):
        await until(lambda: not files.exists("uploads/i/old.png"))
    assert list(files.keys()) == ["AI/SEARCH/p/images/1.png", "images/generated/new.png"]


async def test_what_a_bucket_held_before_is_kept_unless_the_configuration_says_for_how_long(
    tmp_path: Path, bucket: Bucket
) -> None:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path), **bucket.environ})
    files = bucket.store()
    files.put("images/generated/a.png", bytes(20))
    unasked = Retention(files, settings)
    unasked.start()
    unasked.noticed(20)
    unasked.stop()
    assert files.exists("images/generated/a.png")
    asked_for = Retention(
        files, configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path), "FILES_MAX_BYTES": "10", **bucket.environ})
    )
    asked_for.start()
    await until(lambda: not files.exists("images/generated/a.png"))
    asked_for.stop()


HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "a")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_only_one_process_sweeps_and_another_takes_over_when_it_dies(tmp_path: Path) -> None:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path), "FILES_MAX_BYTES": "10"})
    files = open_store(settings)
    files.put("uploads/i/a.png", bytes(20))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "retention.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout
        assert first.stdout.readline() == b"held\n"
        second = Retention(files, settings)
        second.start()
        second.noticed(20)
        second.stop()
        assert files.exists("uploads/i/a.png")
        first.kill()
    third = Retention(files, settings)
    third.start()
    settle(lambda: not files.exists("uploads/i/a.png"))
    third.stop()


def test_a_store_that_was_away_is_swept_once_it_is_back(tmp_path: Path, s3: str) -> None:
    bucket = Bucket(s3, f"bucket-{uuid.uuid4().hex}")
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(tmp_path), "FILES_MAX_BYTES": "10", **bucket.environ})
    retention = Retention(bucket.store(), settings)
    with pytest.raises(DownloadFailed):
        retention.sweep(time.time())
    retention.start()
    bucket.create()
    store = bucket.store()
    store.put("uploads/i/a.png", bytes(20))
    retention.noticed(20)
    settle(lambda: not store.exists("uploads/i/a.png"))
    retention.stop()
