"""Retention: what goes, in which order, and what is never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import DownloadFailed
from stores.objects import FileStore, StoredObject
from stores.retention import Kept, expired, sweep
from tests.buckets import Bucket

NOW = 2_000_000_000.0


def stored(key: str, size: int, age: float) -> StoredObject:
    return StoredObject(key, size, NOW - age)


def test_what_is_too_old_goes_and_what_is_just_old_enough_stays() -> None:
    objects = [stored("young", 1, 0), stored("limit", 1, 100), stored("old", 1, 101), stored("older", 1, 500)]
    assert [each.key for each in expired(objects, 100, 1000, NOW)] == ["older", "old"]


def test_the_oldest_go_until_the_rest_fits() -> None:
    objects = [stored("a", 40, 3), stored("b", 40, 2), stored("c", 40, 1)]
    assert expired(objects, 100, 120, NOW) == []
    assert [each.key for each in expired(objects, 100, 119, NOW)] == ["a"]
    assert [each.key for each in expired(objects, 100, 40, NOW)] == ["a", "b"]
    assert [each.key for each in expired(objects, 100, 39, NOW)] == ["a", "b", "c"]


def test_a_small_old_file_does_not_outlive_a_large_newer_one() -> None:
    objects = [stored("small", 1, 3), stored("large", 90, 2), stored("new", 20, 1)]
    assert [each.key for each in expired(objects, 100, 100, NOW)] == ["small", "large"]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 200)), max_size=12), st.integers(1, 100), st.integers(1, 99)
)
def test_what_stays_is_young_fits_and_is_newer_than_all_that_goes(
    given: list[tuple[int, int]], max_bytes: int, max_age: int
) -> None:
    objects = [stored(f"{number:02}", size, age) for number, (size, age) in enumerate(given)]
    gone = expired(objects, max_age, max_bytes, NOW)
    left = [each for each in objects if each not in gone]
    assert sum(each.size for each in left) <= max_bytes
    assert all(NOW - each.modified <= max_age for each in left)
    assert gone == sorted(gone, key=lambda each: each.modified)
    if gone and left:
        assert gone[-1].modified <= min(each.modified for each in left)
    if gone and NOW - gone[-1].modified <= max_age:  # the newest that went had no room
        assert sum(each.size for each in left) + gone[-1].size > max_bytes


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def put(files: FileStore, key: str, size: int, age: float) -> None:
    files.put(key, bytes(size))
    os.utime(files.path(key), (NOW - age, NOW - age))


def test_folders_are_counted_together_and_nothing_beside_or_below_them_is_touched(files: FileStore) -> None:
    put(files, "images/generated/a.png", 10, 30)
    put(files, "uploads/i/b.png", 10, 20)
    put(files, "images/generated/c.png", 10, 10)
    untouched = ["AI/SEARCH/p/images/1.png", "images/generated/images/2.png", "images/mine.png", "uploads/latest.json"]
    for key in untouched:
        put(files, key, 1000, 10_000)
    swept = sweep(files, ("images/generated/", "uploads/i/"), max_age=100, max_bytes=20, now=NOW)
    assert swept == Kept(removed=1, bytes_left=20)
    assert list(files.keys()) == sorted([*untouched, "images/generated/c.png", "uploads/i/b.png"])


def test_a_bucket_is_swept_as_well(bucket: Bucket) -> None:
    store = bucket.store()
    store.put("uploads/i/a.png", b"123")
    store.put("AI/SEARCH/p/images/1.png", b"123")
    now = store.stat("uploads/i/a.png").modified
    assert sweep(store, ("uploads/i/",), max_age=5, max_bytes=10, now=now + 5) == Kept(0, 3)
    assert sweep(store, ("uploads/i/",), max_age=5, max_bytes=10, now=now + 6) == Kept(1, 0)
    assert list(store.keys()) == ["AI/SEARCH/p/images/1.png"]


def test_a_bucket_that_cannot_be_listed_loses_nothing_and_says_so(s3: str) -> None:
    with pytest.raises(DownloadFailed):
        sweep(Bucket(s3, "no-such-bucket").store(), ("uploads/i/",), max_age=1, max_bytes=1, now=NOW)


SWEEP = """
import sys
from pathlib import Path
from stores.objects import FileStore
from stores.retention import sweep

class Slow(FileStore):
    def delete(self, key):
        super().delete(key)
        print(key, flush=True)
        sys.stdin.readline()

sweep(Slow(Path(sys.argv[1])), ("uploads/i/",), max_age=1, max_bytes=100, now=2_000_000_000)
"""


def test_a_sweep_that_is_killed_has_removed_the_oldest_and_the_next_one_goes_on(
    files: FileStore, tmp_path: Path
) -> None:
    for number in range(5):
        put(files, f"uploads/i/{number}.png", 1, 50 - number)
    with subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(tmp_path / "files")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"uploads/i/0.png\n"
        process.send_signal(signal.SIGKILL)
    assert list(files.keys("uploads/i/")) == [f"uploads/i/{number}.png" for number in (1, 2, 3, 4)]
    assert sweep(files, ("uploads/i/",), max_age=1, max_bytes=100, now=NOW) == Kept(4, 0)
