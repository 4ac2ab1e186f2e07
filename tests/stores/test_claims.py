"""Claims: one holder at a time among threads and processes, and none after its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stores.claims import Claim, Claims, Held
from stores.errors import StoreError

TAKE_AND_WAIT = """
import sys
from pathlib import Path
from stores.claims import Claims
claim = Claims(Path(sys.argv[1])).take("work", b"of the other process")
print(type(claim).__name__, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path)


def taken(claims: Claims, name: str = "work", mark: bytes = b"mine") -> Claim:
    claim = claims.take(name, mark)
    assert isinstance(claim, Claim)
    return claim


def test_a_claim_is_refused_with_the_holders_mark_until_it_is_released(claims: Claims, tmp_path: Path) -> None:
    claim = taken(claims)
    assert claims.take("work", b"theirs") == Held(b"mine")
    other = taken(claims, "other work")
    claim.release()
    again = taken(claims, mark=b"theirs")
    claim.release()
    assert claims.take("work", b"mine") == Held(b"theirs"), "the second release of a claim leaves the next holder alone"
    again.release()
    assert [path.name for path in tmp_path.iterdir()] == ["other work"]
    other.release()


def test_of_many_threads_one_holds_at_a_time(claims: Claims) -> None:
    inside, together, held = threading.Semaphore(1), [], []

    def work() -> None:
        for _ in range(200):
            claim = claims.take("work", b"")
            if isinstance(claim, Claim):
                if not inside.acquire(blocking=False):
                    together.append(1)
                held.append(1)
                inside.release()
                claim.release()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert held
    assert not together


def test_a_claim_ends_with_the_process_that_holds_it(claims: Claims, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_AND_WAIT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "Claim\n"
        assert claims.take("work", b"mine") == Held(b"of the other process")
        other.send_signal(signal.SIGKILL)
    taken(claims).release()


def test_what_a_crash_left_is_removed_at_a_later_start_and_what_is_held_is_not(claims: Claims, tmp_path: Path) -> None:
    claim = taken(claims)
    (tmp_path / "left").write_bytes(b"")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    (tmp_path / ".just being made").write_bytes(b"")
    later = Claims(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"work", ".just being made"}
    assert later.take("work", b"") == Held(b"mine")
    claim.release()


def test_a_folder_that_cannot_be_written_is_an_error_without_its_path(claims: Claims, tmp_path: Path) -> None:
    tmp_path.rmdir()
    tmp_path.write_text("a file in its place")
    with pytest.raises(StoreError) as caught:
        claims.take("work", b"")
    assert str(tmp_path) not in str(caught.value)
