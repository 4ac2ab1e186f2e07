"""An embedder is replaced: the old one serves until the new one knows all, and may come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stores.errors import EmbedderChanged
from stores.index.records import Embedder, NewRecord, Reservation
from stores.objects import FileStore
from tests.stores.images import DIMENSION, StoredIndex, axis, image, open_index


def test_the_vectors_of_a_replaced_embedder_go_in_slices_and_it_may_come_back(
    where: Path | str, objects: FileStore
) -> None:
    index = open_index(where, objects, "clip")
    made = index.adding.reserve([NewRecord("a", image(i), {"clip": axis(i % DIMENSION)}) for i in range(1200)])
    index.adding.complete([each for each in made if isinstance(each, Reservation)])
    index.close()
    for name, dimension in (("siglip", 8), ("clip", 4)):
        index = open_index(where, objects, name)
        index.reembedding.fill(dict.fromkeys(index.reembedding.lacking(2000), np.eye(dimension, dtype=np.float32)[0]))
        assert index.reembedding.progress() == (1200, 1200, 0)
        while not index.reembedding.take_over():
            continue
        assert index.deleting.clear()  # one slice, and then it is closed
        assert len(index.search("a", np.ones(dimension, np.float32), 3)) == 3
        index.close()
    index = open_index(where, objects, "clip")
    index.sweep()
    assert [index._db.one(f"SELECT count(*) AS n FROM {table}")["n"] for table in ("vectors", "embedders")] == [1200, 1]  # type: ignore[index]
    index.close()


def test_the_old_embedder_serves_until_the_new_one_knows_all(where: Path | str, objects: FileStore) -> None:
    old = open_index(where, objects, "clip")
    records = [old.add("a", image(i), axis(i))[0] for i in range(5)]
    assert not old.reembedding.lacking(1)
    old.close()

    index = open_index(where, objects, "siglip")
    assert (index.serving, index.reembedding.is_pending, index.reembedding.progress()) == (
        Embedder("clip"),
        True,
        (0, 5, 0),
    )
    assert index.search("a", axis(3), 1)[0][0] == records[3]
    assert index.vector("a", records[3].id).tolist() == axis(3).tolist()
    new = np.eye(8, dtype=np.float32)
    lacking = index.reembedding.lacking(3)
    assert list(lacking.values()) == [record.r2_key for record in records[:3]]
    index.reembedding.fill({label: new[i] for i, label in enumerate(lacking)})
    both = {"clip": axis(9), "siglip": new[7]}
    (added,) = index.adding.reserve([NewRecord("a", image(b"new"), both)])
    assert isinstance(added, Reservation)
    (late,) = index.adding.complete([added])
    assert index.search("a", axis(9), 1)[0][0] == late
    index.deleting.delete("a", records[0].id)
    index.close()

    index = open_index(where, objects, "siglip")
    assert (index.serving, index.reembedding.progress()) == (Embedder("clip"), (3, 5, 0))
    rest = index.reembedding.lacking(10)
    assert list(rest.values()) == [record.r2_key for record in records[3:]]
    index.reembedding.fill({label: new[3 + i] for i, label in enumerate(rest)})
    assert index.search("a", axis(3), 1)[0][0] == records[3], "the old one serves still"
    while not index.reembedding.take_over():
        continue
    assert (index.serving, index.reembedding.is_pending) == (Embedder("siglip"), False)
    assert [index.search("a", new[i], 1)[0][0] for i in (1, 4, 7)] == [records[1], records[4], late]
    with pytest.raises(EmbedderChanged, match="8 before"):
        index.search("a", axis(0), 1)
    index.close()
    index = open_index(where, objects, "siglip")
    assert index.search("a", new[4], 1)[0][0] == records[4]
    assert not index.reembedding.lacking(1)
    index.close()


def test_the_old_embedder_may_come_back_half_way(where: Path | str, objects: FileStore) -> None:
    index = open_index(where, objects, "clip")
    first, _ = index.add("a", image(0), axis(0))
    index.close()
    index = open_index(where, objects, "siglip")
    (added,) = index.adding.reserve(
        [NewRecord("a", image(1), {"siglip": np.ones(4, np.float32)})]
    )  # the old one could not be loaded
    assert isinstance(added, Reservation)
    (second,) = index.adding.complete([added])
    assert [record for record, _ in index.search("a", axis(0), 5)] == [first]
    index.close()
    index = open_index(where, objects, "clip")
    assert (index.serving, index.reembedding.progress()) == (Embedder("clip"), (1, 2, 0))
    assert len(index.reembedding.lacking(5)) == 1
    index.reembedding.fill(dict.fromkeys(index.reembedding.lacking(5), axis(1)))
    assert index.reembedding.take_over()
    assert not index.reembedding.lacking(1)
    assert index.search("a", axis(1), 1)[0][0] == second
    index.close()


def test_an_embedder_whose_vectors_change_their_length_is_refused(index: StoredIndex) -> None:
    index.add("a", image(b"x"), axis(0))
    for refused in (
        lambda: index.add("a", image(b"y"), np.ones(4, np.float32)),
        lambda: index.search("a", np.ones(4, np.float32), 1),
    ):
        with pytest.raises(EmbedderChanged, match="4 numbers now, and gave 16 before"):
            refused()
    assert len(index.page("a").images) == 1
