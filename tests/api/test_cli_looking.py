"""`atelier caption`, `describe`, `chat`, `listen` and `status`, as a user runs them against a running server."""

from __future__ import annotations

import json
import os
import pty
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.api.pictures import png, scene
from tests.api.test_cli_pictures import Shell, shell
from tests.cli.test_server import answer, saying
from tests.models.sounds import encoded, sine

__all__ = ["shell"]


def test_pictures_get_captions_in_their_order_and_one_comes_on_stdin(shell: Shell) -> None:
    (shell.folder / "a.png").write_bytes(png(scene(colour="red")))
    (shell.folder / "b.png").write_bytes(png(scene(colour="green", background="yellow")))
    first, second = shell.run("caption", "a.png", "b.png").decode().splitlines()
    assert first.startswith("a.png: ")
    assert "red" in first
    assert second.startswith("b.png: ")
    assert "green" in second
    assert f"a.png: {shell.run('caption', '-', given=png(scene(colour='red'))).decode()}" == f"{first}\n"
    (result,) = json.loads(shell.run("caption", "a.png", "--json"))["results"]
    assert result["filename"] == "a.png"
    assert "circle" in result["tags"]


def test_a_picture_is_described_by_task_and_by_question(shell: Shell) -> None:
    assert "red" in shell.run("describe", "-", given=png()).decode().lower()
    said = json.loads(shell.run("describe", "-", "--task", "objects", "--json", given=png()))
    assert said["task"] == "objects"
    assert any("circle" in each.lower() for each in said["objects"])
    asked = ["describe", "-", "--task", "custom", "--prompt", "What colour is the circle?"]
    assert shell.run(*asked, given=png()).decode().strip().lower() == "red"


def test_a_question_about_a_picture_is_answered_in_words_and_in_json(shell: Shell) -> None:
    (shell.folder / "a.png").write_bytes(png())
    asked = ["chat", "What colour is the circle?", "--image", "a.png"]
    words = shell.run(*asked).decode()
    assert words.strip().lower() == "red"
    said = json.loads(shell.run(*asked, "--json"))
    assert said["choices"][0]["message"]["content"] == words.strip()
    assert shell.run("chat", "--image", "a.png", given=b"What colour is the circle?").decode() == words


def test_a_conversation_goes_on_until_ctrl_d(shell: Shell) -> None:
    (shell.folder / "a.png").write_bytes(png())
    here, there = pty.openpty()
    process = shell.start("chat", "--image", "a.png", stdin=there, stdout=there, stderr=there)
    os.close(there)
    seen = until(here, lambda text: text.endswith(b"> "))
    os.write(here, b"What colour is the circle?\n")
    seen += until(here, lambda text: text.endswith(b"> "))
    os.write(here, b"What colour is the background?\n")
    seen += until(here, lambda text: text.endswith(b"> "))
    os.write(here, b"\x04")
    assert process.wait(60) == 0
    os.close(here)
    lines = [each.lower() for each in seen.decode().replace("\r", "").splitlines()]
    assert "red" in lines
    assert "blue" in lines[lines.index("red") + 1 :]


def until(terminal: int, seen_enough: Callable[[bytes], bool]) -> bytes:
    found = b""
    while not seen_enough(found):
        found += os.read(terminal, 4096)
    return found


def test_the_status_says_what_is_loaded(shell: Shell) -> None:
    shell.run("describe", "-", given=png())
    said = shell.run("status").decode()
    assert shell.environ["ATELIER_URL"] in said
    assert "vlm-fast" in said
    assert " GB available" in said
    assert json.loads(shell.run("status", "--json"))["workers"]["vlm-fast"]["state"] == "ready"


def test_models_are_listed_loaded_and_unloaded_in_json(shell: Shell) -> None:
    assert "blip" in [each["id"] for each in json.loads(shell.run("models", "--json"))["data"]]
    assert json.loads(shell.run("load", "blip", "--json"))["status"] == "ready"
    assert json.loads(shell.run("evict", "blip", "--json")) == {"status": "evicted", "alias": "blip"}


def test_the_upkeep_of_the_index_answers_in_json(shell: Shell) -> None:
    made = json.loads(shell.run("search", "backup", "--json"))
    assert made["key"] in [each["key"] for each in json.loads(shell.run("search", "backups", "--json"))["backups"]]
    assert json.loads(shell.run("search", "gc", "--json"))["deleted"] == 0


def test_what_is_said_in_a_recording_is_written_down_and_silence_is_an_empty_line(shell: Shell) -> None:
    shell.run("say", "The weather is very nice today.", "--out", "said.wav")
    assert "weather" in shell.run("listen", "said.wav").decode().lower()
    silent = encoded(sine(level=0.0))
    assert shell.run("listen", "-", given=silent) == b"\n"
    assert json.loads(shell.run("listen", "-", "--json", given=silent)) == {
        "text": "",
        "usage": {"type": "duration", "seconds": 2.0},
    }


def test_a_server_without_transcriptions_is_said_to_have_none(tmp_path: Path) -> None:
    no_route = '{"error": {"message": "there is no such route", "param": null, "code": null}}'
    with saying(lambda handler, _: answer(handler, 404, no_route)) as (url, _):
        errors = Shell(url, tmp_path).run("listen", "-", given=b"RIFF", status=1).decode()
    assert errors == f"atelier: the server at {url} serves no transcriptions\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["caption", "none.png"], "PICTURES: none.png: No such file"),
        (["caption", "text.png"], "images[0]: not a JPEG, PNG or WebP image"),
        (["caption", "-", "-"], "-: stdin can be read once"),
        (["describe", "-"], "PICTURE: stdin is empty"),
        (["describe", "a.png", "--task", "custom"], "prompt is required with the task"),
        (["describe", "a.png", "--task", "dream"], "task"),
        (["describe", "text.png"], "image"),
        (["chat", "Hello.", "--model", "nobody"], "nobody"),
        (["chat", "-", "--image", "-"], "-: stdin can be read once"),
        (["chat", "Hello.", "--temperature", "9"], "temperature"),
        (["listen", "none.mp3"], "SOUND: none.mp3: No such file"),
        (["listen", "text.png"], "not a sound file"),
        (["listen", "a.wav", "--model", "nobody"], "nobody"),
    ],
)
def test_a_mistake_is_one_line(shell: Shell, arguments: list[str], said: str) -> None:
    (shell.folder / "text.png").write_text("this is text")
    (shell.folder / "a.png").write_bytes(png())
    (shell.folder / "a.wav").write_bytes(encoded(sine()))
    errors = shell.run(*arguments, status=2).decode()
    assert errors.startswith("atelier: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_an_older_server_and_a_wrong_key_are_told_apart(tmp_path: Path) -> None:
    no_route = '{"error": {"message": "there is no such route", "param": null, "code": null}}'
    with saying(lambda handler, _: answer(handler, 404, no_route)) as (url, _):
        errors = Shell(url, tmp_path).run("describe", "-", given=png(), status=2).decode()
    assert errors == f"atelier: the server at {url} has no POST /v1/vision/analyze; it is of another version\n"
    wrong = '{"error": {"message": "no such key", "param": null, "code": "invalid_api_key"}}'
    with saying(lambda handler, _: answer(handler, 401, wrong)) as (url, received):
        user = Shell(url, tmp_path, ATELIER_API_KEY="secret")
        for arguments in (["generate", "a cat"], ["chat", "Hello."], ["status"]):
            errors = user.run(*arguments, status=2).decode()
            assert errors.startswith("atelier: no such key (the key that is sent is that of ATELIER_API_KEY")
            assert errors.count("\n") == 1
    assert {each["authorization"] for each in received} == {"Bearer secret"}


def test_a_stream_that_breaks_off_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    def break_off(handler: BaseHTTPRequestHandler, _: int) -> None:
        answer(handler, 200, ": ping\n\n", length=80, content_type="text/event-stream")

    with saying(break_off) as (url, _):
        errors = Shell(url, tmp_path).run("generate", "a cat", "-o", "a.png", status=1).decode()
    assert errors.startswith(f"atelier: the server at {url} broke off in the middle (")
    failed = 'data: {"type": "error", "error": {"message": "the model broke", "code": "INFERENCE_FAILED"}}\n\n'
    with saying(lambda handler, _: answer(handler, 200, failed)) as (url, _):
        errors = Shell(url, tmp_path).run("generate", "a cat", "-o", "a.png", status=1).decode()
    assert errors == "atelier: the model broke\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_an_answer_ends_the_command(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def begin(handler: BaseHTTPRequestHandler, _: int) -> None:
        answer(handler, 200, 'data: {"choices": [{"delta": {"content": "Well"}}]}\n\n', length=4096)
        begun.set()
        ended.wait()

    with saying(begin) as (url, _):
        process = Shell(url, tmp_path).start("chat", "Hello.", "--model", "slow")
        try:
            assert begun.wait(60)
            assert process.stdout is not None
            assert process.stdout.read(4) == b"Well"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            ended.set()
    assert (process.returncode, errors) == (130, b"atelier: stopped\n")
