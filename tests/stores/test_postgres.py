"""What only the index in PostgreSQL does: several processes share it, and it comes and goes by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from stores.errors import EmbedderChanged, StoreUnavailable, StoreUnusable
from stores.index.records import Abandoned, Embedder, NewRecord, Reservation
from stores.objects import FileStore
from stores.postgres import Postgres
from tests.silent import silent_server
from tests.stores.images import StoredIndex, axis, directions, image, open_index


@pytest.fixture
def objects(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def reserved(index: StoredIndex, number: int, project: str = "a") -> Reservation:
    (found,) = index.adding.reserve([NewRecord(project, image(number), {"clip": axis(number)})])
    assert isinstance(found, Reservation)
    return found


def put(objects: FileStore, reservation: Reservation) -> None:
    for key, content in reservation.objects.items():
        objects.put(key, content)


def test_what_one_process_adds_and_deletes_another_sees(database_url: str, objects: FileStore) -> None:
    one, two = open_index(database_url, objects), open_index(database_url, objects)
    record, _ = one.add("a", image(0), axis(0))
    assert two.add("a", image(0), axis(0)) == (record, True)
    assert two.search("a", axis(0), 5)[0][0] == record
    two.deleting.delete("a", record.id)
    assert one.search("a", axis(0), 5) == []
    one.close()
    two.close()


def test_what_another_process_is_adding_is_left_to_it(database_url: str, objects: FileStore) -> None:
    one = open_index(database_url, objects)
    adding = reserved(one, 0)
    put(objects, adding)
    two = open_index(database_url, objects)
    assert two.page("a").images == []
    assert two.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})]) == [None]
    (record,) = one.adding.complete([adding])
    assert two.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})]) == [record]
    one.close()
    two.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_what_a_dead_process_was_adding_is_finished_or_undone_by_the_next_to_add_it(
    database_url: str, objects: FileStore, is_there: bool
) -> None:
    one, two = open_index(database_url, objects), open_index(database_url, objects)
    adding = reserved(one, 0)
    if is_there:
        put(objects, adding)
    one._db.close()  # as the server sees it when a process dies
    deadline = time.monotonic() + 60
    record: object = None
    while record is None and time.monotonic() < deadline:
        found = two.reserve("a", image(0), axis(0))
        if isinstance(found, Abandoned):
            two.adding.settle(found, is_stored=is_there)
        else:
            record = found
    if is_there:
        assert record == two.page("a").images[0]
        assert two.search("a", axis(0), 1)[0][0] == record
    else:
        assert isinstance(record, Reservation)
        two.adding.withdraw(record)
    two.close()


def test_a_broken_connection_is_made_again(database_url: str, objects: FileStore) -> None:
    index = open_index(database_url, objects)
    record, _ = index.add("a", image(0), axis(0))
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atelier'")
    with pytest.raises(StoreUnavailable):
        index.page("a")
    assert index.page("a").images == [record]
    index.close()


@contextmanager
def stopped_backends(database_url: str) -> Iterator[None]:
    """The server's processes behind our connections do nothing: it takes statements, and never answers."""
    with psycopg.connect(database_url, autocommit=True) as other:
        rows = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'atelier' AND datname = current_database()"
        ).fetchall()
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in rows:
            os.kill(pid, signal.SIGCONT)


def test_a_statement_that_is_never_answered_holds_up_its_callers_for_a_while_only(
    database_url: str, objects: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(database_url, objects, statement_seconds=0.5)
    record, _ = index.add("a", image(0), axis(0))
    with stopped_backends(database_url):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            index.page("a")
        monkeypatch.setattr(psycopg.Connection, "connect", None)  # nobody connects: those who wait are refused at once
        for _ in range(64):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                index.page("a")
        monkeypatch.undo()
    monkeypatch.setattr("stores.postgres._PAUSE_SECONDS", 0)
    assert index.page("a").images == [record]
    index.close()


def test_what_was_being_added_when_the_server_fell_silent_is_settled_when_it_answers_again(
    database_url: str, objects: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index(database_url, objects, statement_seconds=0.5)
    adding = reserved(index, 0)
    put(objects, adding)
    with stopped_backends(database_url):
        with pytest.raises(StoreUnavailable):
            index.adding.complete([adding])
        index.adding.withdraw(adding)
    monkeypatch.setattr("stores.postgres._PAUSE_SECONDS", 0)
    deadline = time.monotonic() + 60
    while not index.page("a").images and time.monotonic() < deadline:
        index.settle()  # once the server has let go of what the first connection claimed
    assert [each.r2_key for each in index.page("a").images] == [adding.key]
    index.close()


def test_a_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.postgres._CONNECT_SECONDS", 2)
    with silent_server() as port, pytest.raises(StoreUnavailable, match="does not answer"):
        Postgres(f"postgresql://127.0.0.1:{port}/nothing")


def test_a_server_that_does_not_answer_and_one_that_is_newer_are_reported(database_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        Postgres("postgresql://127.0.0.1:1/nothing")
    Postgres(database_url).close()
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("INSERT INTO atelier.schema_version VALUES (99)")
    with pytest.raises(StoreUnusable, match="schema 99"):
        Postgres(database_url)


def test_a_user_who_may_not_make_tables_is_reported(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("CREATE ROLE poor LOGIN")
    with pytest.raises(StoreUnusable, match="may not be changed by its user"):
        Postgres(database_url.replace("postgres:@", "poor:@"))
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("DROP ROLE poor")


def plan(database_url: str, index: StoredIndex) -> str:
    """How the server answers the last search of the default project's size."""
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute("SET search_path = atelier, public; SET enable_sort = off")
        (embedder,) = db.execute("SELECT number FROM embedders").fetchone() or (0,)
        (project,) = db.execute("SELECT number FROM projects WHERE name = 'big'").fetchone() or (0,)
        rows = db.execute(
            "EXPLAIN SELECT v.label FROM vectors v JOIN images i ON i.label = v.label "
            f"WHERE v.embedder = {embedder} AND v.project = {project} AND i.state = 'ready' "
            f"ORDER BY v.vector::vector(16) <#> '{axis(0).tolist()}' LIMIT 10".encode()
        )
        return "\n".join(row[0] for row in rows)


def indexes(database_url: str) -> list[str]:
    with psycopg.connect(database_url, autocommit=True) as db:
        rows = db.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid "
            "WHERE x.indisvalid AND c.relname LIKE 'vectors\\_e%' ORDER BY 1"
        ).fetchall()
        return [row[0] for row in rows]


def wait_for(count: int, database_url: str) -> None:
    deadline = time.monotonic() + 30
    while len(indexes(database_url)) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(indexes(database_url)) == count


def test_a_large_project_has_an_index_of_its_own_and_small_ones_give_complete_results(
    database_url: str, objects: FileStore
) -> None:
    index = open_index(database_url, objects, exact_up_to=300)
    data = directions(400)
    for begin in range(0, 400, 100):
        made = index.adding.reserve([NewRecord("big", image(i), {"clip": data[i]}) for i in range(begin, begin + 100)])
        index.adding.complete([each for each in made if isinstance(each, Reservation)])
    made = index.adding.reserve([NewRecord("small", image(i), {"clip": data[i]}) for i in range(20)])
    index.adding.complete([each for each in made if isinstance(each, Reservation)])
    while index.needs_tending:
        index.tend()
    wait_for(1, database_url)
    assert f"Index Scan using {indexes(database_url)[0]}" in plan(database_url, index)
    for query in directions(20, seed=1):
        assert len(index.search("small", query, 100)) == 20
        found = index.search("big", query, 10)
        scores = [score for _, score in found]
        assert scores == pytest.approx(sorted((data @ query).tolist(), reverse=True)[:10], abs=1e-4)
        assert len(index.search("big", query, 400)) == 400
    index.deleting.delete_project("big")
    while index.deleting.clear():
        continue
    index.tend()
    wait_for(0, database_url)
    index.close()


def test_a_process_sees_that_another_one_has_let_a_new_embedder_serve(database_url: str, objects: FileStore) -> None:
    old = open_index(database_url, objects, "clip")
    record, _ = old.add("a", image(0), axis(0))
    new = open_index(database_url, objects, "siglip")
    new.reembedding.fill(dict.fromkeys(new.reembedding.lacking(5), axis(7)))
    while not new.reembedding.take_over():
        continue
    assert old.serving == Embedder("siglip")
    assert old.search("a", axis(7), 1)[0][0] == record
    old.close()
    new.close()


def test_a_new_embedder_serves_only_once_its_index_is_made(database_url: str, objects: FileStore) -> None:
    old = open_index(database_url, objects, "clip", exact_up_to=100)
    made = old.adding.reserve(
        [NewRecord("big", image(i), {"clip": vector}) for i, vector in enumerate(directions(150))]
    )
    old.adding.complete([each for each in made if isinstance(each, Reservation)])
    old.close()
    new = open_index(database_url, objects, "siglip", exact_up_to=100)
    new.reembedding.fill(dict(zip(new.reembedding.lacking(200), directions(150, 8, seed=1), strict=True)))
    while not new.reembedding.take_over():
        time.sleep(0.01)
    assert len([name for name in indexes(database_url) if f"_e{new._vectors.serving.embedder}_" in name]) == 1
    assert len(new.search("big", directions(1, 8)[0], 100)) == 100
    new.close()


def test_a_server_that_starts_with_another_embedder_leaves_the_work_of_the_others(
    database_url: str, objects: FileStore
) -> None:
    old = open_index(database_url, objects, "clip")
    old.add("a", image(0), axis(0))
    new = open_index(database_url, objects, "siglip")
    new.reembedding.fill(dict.fromkeys(new.reembedding.lacking(5), axis(7)))
    open_index(database_url, objects, "clip").close()  # a node with the older configuration comes up
    assert new.reembedding.progress() == (1, 1, 0)
    while not new.reembedding.take_over():
        continue
    assert old.vector("a", old.page("a").images[0].id).tolist() == axis(7).tolist()
    old.close()
    new.close()


def test_a_batch_that_cannot_be_begun_claims_nothing(database_url: str, objects: FileStore) -> None:
    index = open_index(database_url, objects)
    index.add("a", image(0), axis(0))
    with pytest.raises(EmbedderChanged):
        index.adding.reserve(
            [NewRecord("a", image(1), {"clip": axis(1)}), NewRecord("a", image(2), {"clip": axis(1)[:3]})]
        )
    with psycopg.connect(database_url) as db:
        held = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND d.datname = current_database()"
        )
        assert db.execute(held).fetchone() == (0,)
    assert not index.add("a", image(1), axis(1))[1]
    index.close()
