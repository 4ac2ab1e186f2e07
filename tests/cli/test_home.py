"""`atelier down`, `restart` and `logs`, and the server that runs in ATELIER_HOME."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.environment import ROOT
from cli.home import is_locked, running
from cli.logs import last_lines
from tests.api.test_cli_pictures import Shell

HOLDER = """
import json, os, signal, sys, time
from pathlib import Path
from cli.up import own_home
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with own_home(Path(os.environ["ATELIER_HOME"]), 0) as lock:
    json.dump({"pid": os.getpid(), "url": "http://127.0.0.1:1", "folder": "/nowhere/at-all"}, lock)
    lock.flush()
    print("up", os.getcwd(), os.environ.get("MARK"), flush=True)
    while True:
        time.sleep(60)
"""


def hold(folder: Path, home: Path) -> subprocess.Popen[str]:
    """A process that has the home folder as `atelier up` has it, and ends as that does."""
    environ = {**os.environ, "ATELIER_HOME": str(home), "PYTHONPATH": str(ROOT), "MARK": "as before"}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environ, cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("up ")
    return process


def test_down_ends_the_server_of_the_home_and_no_other(tmp_path: Path) -> None:
    shell = Shell("", tmp_path)
    process, other = hold(tmp_path, tmp_path / "home"), hold(tmp_path, tmp_path / "other")
    try:
        assert shell.run("down") == b"the server at http://127.0.0.1:1 has ended\n"
        assert process.wait(60) == 0
        assert other.poll() is None
        assert shell.run("down").decode() == f"no server runs in {tmp_path}/home\n"
    finally:
        other.terminate()
        other.communicate()
        process.communicate()


def test_a_number_that_a_killed_server_left_behind_is_nobody(tmp_path: Path) -> None:
    left = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "folder": "/nowhere"}
    (tmp_path / "server.json").write_text(json.dumps(left))
    assert running(tmp_path) is None
    (tmp_path / "home").mkdir()
    (tmp_path / "server.json").rename(tmp_path / "home" / "server.json")
    assert Shell("", tmp_path).run("down").decode() == f"no server runs in {tmp_path}/home\n"
    errors = Shell("", tmp_path).run("restart", status=1).decode()
    assert errors == f"atelier: no server runs in {tmp_path}/home; start one with `atelier up`\n"


def test_restart_starts_it_here_as_it_was_started(tmp_path: Path) -> None:
    folder = tmp_path / "where it was"
    folder.mkdir()
    before = hold(folder, tmp_path / "home")
    again = Shell("", tmp_path).start("restart")
    try:
        assert again.stdout is not None
        assert again.stdout.readline().startswith(b"the server at http://127.0.0.1:1 has ended, and starts again")
        assert again.stdout.readline().decode() == f"up {folder} as before\n"
        assert before.wait(60) == 0
        found = running(tmp_path / "home")
        assert found is not None
        assert found.process.pid == again.pid
    finally:
        again.terminate()
        again.communicate()
        before.communicate()
    assert not is_locked(tmp_path / "home")


def test_logs_of_many_files_are_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(
        "INFO 2026-11-28 10:00:00,100 a -- first\nINFO 2026-11-28 10:00:02,100 a -- third\n  its trace\nhalf a li"
    )
    (tmp_path / "b.log").write_text('{"asctime": "2026-11-28 10:00:01,000", "message": "second"}\n')
    files = [tmp_path / "a.log", tmp_path / "b.log", tmp_path / "none.log"]
    lines = last_lines(files, 10)
    assert [each.split()[-1].strip(b'"}') for each in lines] == [b"first", b"second", b"third", b"trace"]
    assert last_lines(files, 2) == lines[-2:]
    assert last_lines(files, 0) == []
    (tmp_path / "b.log").write_text("x" * 200_000 + "\nlast\n")
    assert last_lines([tmp_path / "b.log"], 1) == [b"last\n"]


def test_logs_go_on_with_what_comes_and_say_where_there_are_none(tmp_path: Path) -> None:
    shell = Shell("", tmp_path)
    errors = shell.run("logs", status=1).decode()
    assert errors.startswith(f"atelier: there are no logs in {tmp_path}/home/logs")
    serve = tmp_path / "home" / "logs" / "serve"
    serve.mkdir(parents=True)
    log = serve / "replica.log"
    log.write_text("one\ntwo\n")
    assert shell.run("logs", "--lines", 1) == b"two\n"
    process = shell.start("logs", "-f", "--lines", 1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"two\n"
    with log.open("a") as opened:
        opened.write("three\n")
    assert process.stdout.readline() == b"three\n"
    process.send_signal(2)
    _, errors_of_it = process.communicate(timeout=60)
    assert (process.returncode, errors_of_it) == (130, b"atelier: stopped\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_names_of_commands(shell: str, tmp_path: Path) -> None:
    user = Shell("", tmp_path, _ATELIER_COMPLETE=f"source_{shell}")
    done = subprocess.run(
        [Path(sys.executable).with_name("atelier")], env=user.environ, capture_output=True, text=True, check=True
    )
    assert "_ATELIER_COMPLETE" in done.stdout
    asked = {"_ATELIER_COMPLETE": "complete_bash", "COMP_WORDS": "atelier gen", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("atelier")],
        env={**user.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["generate"]
