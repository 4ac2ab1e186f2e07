"""Kept responses: found whole by any process, in order, for a while, and never too many; in both databases."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stores.database import SharedDatabase
from stores.errors import StoreError
from stores.postgres import Postgres
from stores.responses import (
    ChainTooLargeError,
    LoopError,
    Responses,
    StoredItem,
    StoredResponse,
    open_file,
)

DAY = 24 * 3600.0


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedDatabase]:
    if request.param == "sqlite":
        opened: SharedDatabase = open_file(tmp_path / "responses.db")
    else:
        opened = Postgres(request.getfixturevalue("database_url"))
    yield opened
    opened.close()


def over(database: SharedDatabase, *, max_age: float = DAY, max_bytes: int = 10**6) -> Responses:
    return Responses(database, max_age=max_age, max_bytes=max_bytes)


def response(name: str, previous: str | None = None, *, size: int = 2) -> StoredResponse:
    items = (StoredItem(f"msg_{name}", '{"a":1}'), StoredItem(f"out_{name}", "x" * size, is_output=True))
    return StoredResponse(name, "owner", previous, '{"é":"한"}', 9, items)


def test_a_response_is_found_as_it_was_kept_until_it_is_deleted(database: SharedDatabase) -> None:
    responses = over(database)
    assert responses.find("one") is None
    responses.keep(response("one"))
    found = responses.find("one")
    assert found == response("one")
    assert ([item.id for item in found.input], [item.id for item in found.output]) == (["msg_one"], ["out_one"])
    assert responses.delete("one")
    assert not responses.delete("one")
    assert responses.find("one") is None
    assert responses.item_named("out_one", None) is None


def test_a_chain_has_the_first_response_first_and_shows_where_one_is_missing(database: SharedDatabase) -> None:
    responses = over(database)
    for name, previous in (("a", None), ("b", "a"), ("c", "b"), ("d", "b")):
        responses.keep(response(name, previous))
    assert [each.id for each in responses.chain("c")] == ["a", "b", "c"]
    assert [item.id for each in responses.chain("b") for item in each.items] == ["msg_a", "out_a", "msg_b", "out_b"]
    assert responses.chain("e") == []
    responses.delete("a")
    assert [(each.id, each.previous) for each in responses.chain("d")] == [("b", "a"), ("d", "b")]


def test_a_loop_in_the_database_ends(database: SharedDatabase) -> None:
    responses = over(database)
    for name, previous in (("a", "c"), ("b", "a"), ("c", "b"), ("self", "self")):
        responses.keep(response(name, previous))
    for name in ("a", "b", "c", "self"):
        with pytest.raises(LoopError):
            responses.chain(name)


@pytest.mark.parametrize(("bound", "value"), [("_MAX_CHAIN_RESPONSES", 2), ("_MAX_CHAIN_BYTES", 60)])
def test_a_chain_that_is_too_large_is_not_read(
    database: SharedDatabase, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(f"stores.responses.{bound}", value)
    responses = over(database)
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        responses.keep(response(name, previous))
    assert len(responses.chain("b")) == 2
    with pytest.raises(ChainTooLargeError):
        responses.chain("c")


def test_the_size_of_a_response_is_its_bytes(database: SharedDatabase) -> None:
    over(database).keep(response("one"))
    row = database.one("SELECT size FROM responses")
    assert row is not None
    assert row["size"] == len('{"é":"한"}'.encode()) + len('{"a":1}') + len("xx")


def test_what_is_read_in_a_snapshot_is_of_one_moment(database: SharedDatabase, request: pytest.FixtureRequest) -> None:
    responses = over(database)
    responses.keep(response("one"))
    if isinstance(database, Postgres):
        another: SharedDatabase = Postgres(request.getfixturevalue("database_url"))
    else:
        another = open_file(request.getfixturevalue("tmp_path") / "responses.db")
    with closing(another):
        with database.snapshot():
            assert len(database.all("SELECT id FROM responses")) == 1
            assert over(another).delete("one")
            assert len(database.all("SELECT id FROM response_items")) == 2
        assert database.all("SELECT id FROM response_items") == []


def test_a_response_is_kept_whole_or_not_at_all(database: SharedDatabase) -> None:
    responses = over(database)
    responses.keep(response("one"))
    with pytest.raises(StoreError):
        responses.keep(StoredResponse("one", "other", None, "{}", 1, (StoredItem("new", "{}"),)))
    assert responses.find("one") == response("one")
    assert responses.item_named("new", None) is None


def test_of_the_items_of_an_id_an_owner_finds_the_newest_of_their_own(
    database: SharedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = over(database)
    now = time.time_ns() // 10**6
    for age, owner in enumerate(["owner", "owner", "other", ""]):
        monkeypatch.setattr("stores.responses._now_ms", lambda age=age: now - age)
        responses.keep(StoredResponse(f"{age}", owner, None, "{}", 1, (StoredItem("item", f"{age}"),)))

    def found(owner: str | None) -> str | None:
        item = responses.item_named("item", owner)
        return None if item is None else item.body

    assert [found(owner) for owner in ("owner", "other", "", "nobody", None)] == ["0", "2", "3", "3", "0"]
    assert responses.item_named("no item", None) is None


def test_who_keeps_much_does_not_push_out_the_others(database: SharedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    responses = over(database, max_bytes=1000)
    for number, owner in enumerate(["modest", *["greedy"] * 8]):
        monkeypatch.setattr("stores.responses._now_ms", lambda number=number: 10**9 + number)
        kept = response(f"{number}", size=200)
        responses.keep(StoredResponse(kept.id, owner, None, kept.body, 1, kept.items))
    assert responses.prune() == 5
    assert [number for number in range(9) if responses.find(f"{number}")] == [0, 6, 7, 8]


def test_what_is_too_old_is_not_found_and_leaves(database: SharedDatabase) -> None:
    over(database).keep(response("one"))
    later = over(database, max_age=0)
    assert later.find("one") is None
    assert later.chain("one") == []
    assert later.item_named("out_one", None) is None
    assert over(database).find("one") is not None
    assert later.prune() == 1
    assert over(database).find("one") is None


def test_of_too_many_bytes_the_oldest_go(database: SharedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    responses = over(database, max_bytes=700)
    assert responses.is_prune_due
    responses.prune()
    for number, name in enumerate("abcd"):
        monkeypatch.setattr("stores.responses._now_ms", lambda number=number: 10**9 + number)
        responses.keep(response(name, size=200))
    assert responses.is_prune_due
    assert responses.prune() == 1
    assert [name for name in "abcd" if responses.find(name)] == ["b", "c", "d"]


def test_other_processes_find_them_and_only_the_owner_of_the_server_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    with closing(open_file(path)) as database, closing(open_file(path)) as another:
        over(database).keep(response("one"))
        assert over(another).find("one") == response("one")
        for each in tmp_path.glob("responses.db*"):
            if each.suffix != ".lock":
                assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "responses.db"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with closing(open_file(path)) as database:
        over(database).keep(response("one"))
        assert over(database).find("one") == response("one")
    assert (tmp_path / "responses.db.unread").read_bytes().startswith(b"no database")
    assert "kept as responses.db.unread" in caplog.text
