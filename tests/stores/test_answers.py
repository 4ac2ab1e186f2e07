"""Kept answers: given again as they were, for a while, to any process, and never too many."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stores.answers import Answer, Answers, open_answers
from stores.shared_postgres import SharedPostgres

DAY = 24 * 3600.0
HEADERS = ((b"content-type", b"image/png"), (b"x-name", b"caf\xe9"), (b"x-name", b"again"))


def opened(path: Path, *, seconds: float = DAY, max_answers: int = 10, max_bytes: int = 1000) -> Answers:
    answers = Answers(open_answers(path), seconds=seconds, max_answers=max_answers, max_bytes=max_bytes)
    answers.prune()
    return answers


def answer(body: bytes) -> Answer:
    return Answer(b"digest", 201, HEADERS, body)


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    answers = opened(tmp_path / "a/answers.db")
    yield answers
    answers.close()


def test_an_answer_is_found_as_it_was_kept_by_every_process_and_after_a_restart(
    answers: Answers, tmp_path: Path
) -> None:
    assert answers.find("one") is None
    answers.keep("one", answer(b"\x00\xff"))
    assert answers.find("one") == answer(b"\x00\xff")
    with closing(opened(tmp_path / "a/answers.db")) as other:
        assert other.find("one") == answer(b"\x00\xff")
        other.keep("one", answer(b"newer"))
    assert answers.find("one") == answer(b"newer")


def test_an_answer_that_is_too_old_is_gone_and_its_room_too(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with closing(opened(path, max_bytes=10**7)) as answers:
        answers.keep("one", answer(b"x" * 10**6))
    with closing(opened(path, seconds=0)) as later:
        assert later.find("one") is None
    assert path.stat().st_size < 10**5


def test_of_too_many_answers_the_oldest_go(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "answers.db", max_answers=3)) as answers:
        for name in "abcd":
            answers.keep(name, answer(b""))
        assert [name for name in "abcd" if answers.find(name)] == ["b", "c", "d"]


def test_of_too_many_bytes_the_oldest_go(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "answers.db", max_bytes=100)) as answers:
        for name in "abcd":
            answers.keep(name, answer(b"x" * 40))
        assert [name for name in "abcd" if answers.find(name)] == ["c", "d"]
        answers.keep("too large alone", answer(b"x" * 101))
        assert answers.find("too large alone") is None


def test_only_the_owner_of_the_server_may_read_what_others_asked_for(answers: Answers, tmp_path: Path) -> None:
    answers.keep("one", answer(b"private"))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    for path in (tmp_path / "a").glob("answers.db*"):
        if path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 100, None])
def test_a_file_that_is_damaged_or_of_another_version_is_replaced(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.db"
    if content is not None:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99")
    with closing(opened(path)) as answers:
        answers.keep("one", answer(b"1"))
        assert answers.find("one") == answer(b"1")
    assert "the file is replaced" in caplog.text


def shared(url: str, *, seconds: float = DAY, max_answers: int = 10, max_bytes: int = 1000) -> Answers:
    database = SharedPostgres(url, contents="the kept answers")
    return Answers(database, seconds=seconds, max_answers=max_answers, max_bytes=max_bytes)


def test_a_database_keeps_answers_for_several_machines_as_a_file_does_for_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(shared(database_url, max_answers=3)) as one, closing(shared(database_url, max_bytes=100)) as two:
        one.keep("a", answer(b"\x00\xff"))
        assert two.find("a") == answer(b"\x00\xff")
        two.keep("a", answer(b"newer"))
        assert one.find("a") == answer(b"newer")
        for name in "bcd":
            one.keep(name, answer(b"x" * 40))
        assert [name for name in "abcd" if one.find(name)] == ["b", "c", "d"]
        two.prune()
        assert [name for name in "abcd" if one.find(name)] == ["c", "d"]
        after = time.time() + DAY
        monkeypatch.setattr(time, "time", lambda: after)
        assert one.find("d") is None
        one.keep("e", answer(b""))
        assert one._db.all("SELECT name FROM answers") == [{"name": "e"}]


def test_replicas_that_keep_and_remove_at_once_do_not_stop_each_other(database_url: str) -> None:
    replicas = [shared(database_url, max_answers=5) for _ in range(2)]
    with ThreadPoolExecutor(4) as threads:
        kept = [threads.submit(replicas[i % 2].keep, f"{i % 20}", answer(b"x")) for i in range(200)]
        for each in kept:
            each.result()
    replicas[0].prune()
    assert replicas[1]._db.one("SELECT count(*) AS many FROM answers") == {"many": 5}
    for replica in replicas:
        replica.close()
