"""Processes that are killed in the middle of an add or a delete, and disks that are full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stores.errors import StoreFull
from stores.objects import FileStore
from tests.stores.disks import full_disk
from tests.stores.images import axis, image, open_index
from tests.stores.index.indexes import _die, keys_of

ADD_AND_DELETE = """
import sys
from pathlib import Path
import numpy as np
from stores.objects import FileStore
from tests.stores.images import image, open_index
folder, where, begin = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
index = open_index(Path(where) if where.startswith("/") else where, FileStore(folder / "files"))
for i in range(begin, begin + 100_000):
    vector = np.random.default_rng(i).standard_normal(16).astype(np.float32)
    record, _ = index.add("a", image(i), vector)
    print("+", i, record.id, flush=True)
    if i % 3 == 0:
        index.deleting.delete("a", record.id)
        index.sweep()
        print("-", i, record.id, flush=True)
"""


def test_a_kill_in_the_middle_of_adds_loses_nothing_acknowledged_and_leaves_nothing_half(
    tmp_path: Path, where: Path | str
) -> None:
    told: dict[str, int] = {}
    deleted: set[str] = set()
    for round_number in range(5):
        begin = round_number * 100_000
        command = [sys.executable, "-c", ADD_AND_DELETE, str(tmp_path), str(where), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout):
                if count == 7 + 5 * round_number:
                    process.kill()
                sign, number, name = line.split()
                told[name] = int(number)
                if sign == "-":
                    deleted.add(name)
        objects = FileStore(tmp_path / "files")
        index = open_index(where, objects)
        records = {record.id: record for record in index.page("a").images}
        # The one being added or deleted when the kill came may be there or not; everything else is as told.
        assert {name for name in told if name not in deleted} - set(records) <= {list(told)[-1]}
        assert not deleted & set(records)
        assert len(set(records) - set(told)) <= round_number + 1
        assert sorted(objects.keys()) == keys_of(*records.values())
        for name, record in records.items():
            assert index.search("a", index.vector("a", name), 1)[0][0] == record
            assert index.add("a", image(objects.get(record.r2_key)), axis(0)) == (record, True)
        told |= dict.fromkeys(records, -1)
        deleted |= set(told) - set(records)  # perhaps one whose deletion was done and not told
        index.close()


class Died(BaseException):
    """What a power cut looks like from inside: nothing handles it."""


class Mortal(FileStore):
    """A file store at which the process dies, before or after it has worked."""

    dies: str = ""

    def put(self, key: str, content: bytes) -> None:
        if self.dies == "before put":
            raise Died
        super().put(key, content)
        if self.dies == ("after thumbnail" if "/thumbnails/" in key else "after put"):
            raise Died

    def delete(self, key: str) -> None:
        if self.dies == "before delete":
            raise Died
        super().delete(key)
        if self.dies == "after delete":
            raise Died


@pytest.mark.parametrize(
    ("moment", "is_there"), [("before put", False), ("after thumbnail", False), ("after put", True)]
)
def test_an_add_that_a_crash_interrupted_is_finished_or_undone(
    tmp_path: Path, where: Path | str, moment: str, is_there: bool
) -> None:
    objects = Mortal(tmp_path / "files")
    index = open_index(where, objects)
    index.add("a", image(b"first"), axis(1))
    objects.dies = moment
    with pytest.raises(Died):
        index.add("a", image(b"x"), axis(0))
    assert len(index.page("a").images) == 1
    _die(index)
    objects.dies = ""
    index = open_index(where, objects)
    records = index.page("a").images
    assert len(records) == 1 + is_there
    assert len(index.search("a", axis(0), 5)) == 1 + is_there
    assert sorted(objects.keys()) == keys_of(*records)
    assert index.add("a", image(b"x"), axis(0))[1] is is_there
    index.close()


@pytest.mark.parametrize("moment", ["before delete", "after delete"])
def test_a_delete_that_a_crash_interrupted_is_finished(tmp_path: Path, where: Path | str, moment: str) -> None:
    objects = Mortal(tmp_path / "files")
    index = open_index(where, objects)
    record, _ = index.add("a", image(b"x"), axis(0))
    objects.dies = moment
    index.deleting.delete("a", record.id)
    with pytest.raises(Died):
        index.sweep()
    assert index.page("a").images == []
    _die(index)
    objects.dies = ""
    index = open_index(where, objects)
    assert list(objects.keys()) == []
    assert index.search("a", axis(0), 5) == []
    index.close()


def test_a_full_object_disk_refuses_the_image_and_keeps_the_rest(tmp_path: Path, where: Path | str) -> None:
    with full_disk(tmp_path / "disk"):
        objects = FileStore(tmp_path / "disk/files")
        index = open_index(where, objects)
        kept, _ = index.add("a", image(b"small"), axis(0))
        for _ in range(2):
            with pytest.raises(StoreFull):
                index.add("a", image(bytes(300_000)), axis(1))
        assert index.page("a").images == [kept]
        assert list(objects.keys()) == keys_of(kept)
        assert len(index.search("a", axis(1), 5)) == 1
        assert index.add("a", image(b"fits"), axis(1))[1] is False
        index.close()
