"""`atelier say` and a server that stops in the middle."""

from __future__ import annotations

import signal
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.api.test_cli_say import Speaker
from tests.api.test_cli_search import wait_until
from tests.cli.test_server import answer, saying


@pytest.mark.parametrize("had_one", [True, False])
def test_a_stopped_command_leaves_what_was_there_before(tmp_path: Path, had_one: bool) -> None:
    ended = threading.Event()

    def say(handler: BaseHTTPRequestHandler, _: int) -> None:
        answer(handler, 200, "half", length=8)
        ended.wait()

    folder = tmp_path / "spoken"
    folder.mkdir()
    if had_one:
        (folder / "a.mp3").write_text("before")
    with saying(say) as (url, _):
        process = Speaker(url, tmp_path / "home").start("Good morning.", "--out", folder / "a.mp3")
        try:
            wait_until(lambda: any(folder.glob(".*")), process)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            ended.set()
    assert (process.returncode, errors) == (130, "atelier: stopped\n")
    assert {each.name: each.read_text() for each in folder.iterdir()} == ({"a.mp3": "before"} if had_one else {})


def test_the_key_that_is_named_goes_before_the_one_of_the_environment(tmp_path: Path) -> None:
    with saying(lambda handler, _: answer(handler, 200, "whole")) as (url, received):
        user = Speaker(url, tmp_path / "home", ATELIER_API_KEY="usual")
        user.run("Good morning.", "--out", tmp_path / "a.mp3")
        user.run("Good morning.", "--out", tmp_path / "a.mp3", "--key", "other")
        said = user.run("Good morning.", "--out", tmp_path / "a.mp3", "--key", "no\nkey", status=2)
    assert [each["authorization"] for each in received] == ["Bearer usual", "Bearer other"]
    assert said == "atelier: --key: a key of visible ASCII characters is needed\n"
