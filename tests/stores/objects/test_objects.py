"""The object stores: keys stay inside, writes are whole, links open one key for a while."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores import errors
from stores.errors import (
    InvalidKey,
    KeyNotFound,
    StoreError,
    StoreFull,
    StoreUnusable,
)
from stores.objects import FileStore, PublicStore, check_key
from tests.stores.disks import files_in, full_disk


def test_an_object_comes_back_as_it_was_put_and_can_be_replaced(store: PublicStore) -> None:
    store.put("a/b.png", b"one")
    store.put("a/b.png", b"two")
    assert store.get("a/b.png") == b"two"
    with store.open("a/b.png") as file:
        assert file.read() == b"two"
    assert store.exists("a/b.png")
    assert not store.exists("a")


def test_what_is_not_there_is_not_found_and_deleting_it_is_no_error(store: PublicStore) -> None:
    store.put("a/b", b"")
    for key in ("nothing", "a", "a/b/c"):
        for use in (store.get, store.open, store.stat):
            with pytest.raises(KeyNotFound):
                use(key)
        assert not store.exists(key)
    store.delete("nothing")
    assert store.get("a/b") == b""


def test_deleting_a_folder_or_what_is_below_an_object_deletes_nothing(files: FileStore) -> None:
    files.put("a/b", b"")
    files.delete("a")
    files.delete("a/b/c")
    assert files.get("a/b") == b""


def test_a_file_is_stored_from_where_it_stands_and_may_be_large(store: PublicStore, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(1 << 20) * 40)
    with path.open("rb") as file:
        file.seek(5)
        store.put_file("a/large.png", file)
    assert store.get("a/large.png") == path.read_bytes()[5:]
    assert store.stat("a/large.png").size == (40 << 20) - 5


def test_a_listing_says_how_large_objects_are_and_since_when(store: PublicStore) -> None:
    begun = time.time() - 2  # some stores know whole seconds only
    store.put("a/1", b"")
    store.put("a/2", b"12345")
    store.put("b", b"1")
    listed = list(store.listing("a/"))
    assert [(each.key, each.size) for each in listed] == [("a/1", 0), ("a/2", 5)]
    assert all(begun < each.modified < time.time() + 2 for each in listed)
    found = store.stat("a/2")
    assert (found.key, found.size, int(found.modified)) == ("a/2", 5, int(listed[1].modified))


@pytest.mark.parametrize("key", ["a b/ü/~x", "a+b%41&c=d?e#f", "한국어/日本.png"])
def test_a_key_may_have_any_other_character(store: PublicStore, key: str) -> None:
    store.put(key, b"here")
    assert store.get(key) == b"here"
    assert list(store.keys()) == [key]


def test_deleting_the_last_object_of_a_folder_removes_the_folder(files: FileStore, tmp_path: Path) -> None:
    files.put("a/b/c", b"1")
    files.put("a/d", b"2")
    files.delete("a/b/c")
    assert list(files.keys()) == ["a/d"]
    assert not (tmp_path / "files/a/b").exists()
    files.delete("a/d")
    assert [path.name for path in (tmp_path / "files").iterdir()] == [".incoming"]


def test_keys_are_listed_sorted_by_prefix(store: PublicStore) -> None:
    for key in ("b/2", "b/10", "bc", "a", "b/x/y"):
        store.put(key, b"")
    assert list(store.keys()) == ["a", "b/10", "b/2", "b/x/y", "bc"]
    assert list(store.keys("b")) == ["b/10", "b/2", "b/x/y", "bc"]
    assert list(store.keys("b/")) == ["b/10", "b/2", "b/x/y"]
    assert list(store.keys("b/1")) == ["b/10"]
    assert list(store.keys("zz/top")) == []


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "..", "a/../../b", "a/..", "./a", "a//b", "a/", "a\\..\\b", "a\0b", "a\nb", "a\x7fb",
     "\ud800", ".incoming/x", ".INCOMING/x", "x" * 256, "é" * 128, "/".join(["x" * 200] * 6)],
)  # fmt: skip
def test_a_key_that_could_lead_elsewhere_is_refused(store: PublicStore, key: str) -> None:
    def put(key: str) -> None:
        store.put(key, b"x")

    def put_file(key: str) -> None:
        store.put_file(key, io.BytesIO(b"x"))

    def link(key: str) -> None:
        store.link(key, 60)

    for use in (store.get, store.open, store.stat, store.delete, store.exists, put, put_file, link):
        with pytest.raises(InvalidKey):
            use(key)


def test_a_prefix_that_leads_elsewhere_is_refused(store: PublicStore) -> None:
    for prefix in ("../", "/etc/", "a/../../"):
        with pytest.raises(InvalidKey):
            list(store.keys(prefix))


def test_a_key_below_an_object_is_refused(files: FileStore) -> None:
    files.put("a/b", b"1")
    for key in ("a/b/c", "a/b/c/d", "a"):
        with pytest.raises(InvalidKey):
            files.put(key, b"2")
    assert list(files.keys()) == ["a/b"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(st.sampled_from("ab./\\\0\n~é%: "), max_size=12) | st.text(max_size=40))
def test_any_text_is_either_refused_or_a_file_inside_the_folder(files: FileStore, tmp_path: Path, key: str) -> None:
    outside = set(tmp_path.iterdir())
    try:
        files.put(key, key.encode(errors="replace"))
    except InvalidKey:
        return
    path = files.path(key)
    assert path.resolve().is_relative_to((tmp_path / "files").resolve())
    assert files.get(key) == key.encode()
    assert list(files.keys(key)) == [key]
    assert set(tmp_path.iterdir()) == outside
    files.delete(key)
    assert not path.exists()


def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with full_disk(disk):
        store = FileStore(disk / "files")
        store.put("a/kept", b"old")
        for key in ("a/kept", "b/new"):
            with pytest.raises(StoreFull):
                store.put(key, bytes(300_000))
        assert files_in(disk / "files") == ["a/kept"]
        assert store.get("a/kept") == b"old"
        store.put("b/small", b"fits")


WRITE_FOR_EVER = """
import os, sys
from pathlib import Path
from stores.objects import FileStore
store = FileStore(Path(sys.argv[1]))
while True:
    store.put("key", os.urandom(1) * 400_000)
"""


def test_a_killed_writer_leaves_the_old_bytes_or_the_new(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "files")
    store.put("key", b"\0" * 400_000)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path / "files")]) as writer:
            before = store.get("key")
            while store.get("key") == before:
                assert writer.poll() is None
            writer.kill()
        content = store.get("key")
        assert len(content) == 400_000
        assert len(set(content)) == 1


def test_temporary_files_of_dead_writers_are_removed_when_the_store_opens(files: FileStore, tmp_path: Path) -> None:
    old, young = tmp_path / "files/.incoming/old", tmp_path / "files/.incoming/young"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    FileStore(tmp_path / "files")
    assert not old.exists()
    assert young.exists()


def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(files: FileStore) -> None:
    failures: list[Exception] = []

    def churn(name: str) -> None:
        try:
            for _ in range(100):
                files.put(f"deep/er/{name}", name.encode())
                assert files.get(f"deep/er/{name}") == name.encode()
                files.delete(f"deep/er/{name}")
        except (OSError, StoreError) as error:
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="cannot be used"):
        FileStore(tmp_path / "file" / "files")


def test_every_error_survives_the_way_between_processes() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StoreError)]
    assert len(kinds) > 5
    for kind in kinds:
        copy = pickle.loads(pickle.dumps(kind("what was wrong")))
        assert type(copy) is kind
        assert str(copy) == "what was wrong"


def test_check_key_gives_the_parts() -> None:
    assert check_key("a b/ü/~x") == ("a b", "ü", "~x")
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN, "else a file past the limit would kill the process"
