"""`atelier generate` and `edit`, as a user runs them: in a process of its own, against a running server."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from cli.environment import ROOT, free_ports
from tests.api.pictures import png
from tests.cli.sixels import drawn
from tests.servers import Server, environment

PROMPT = "a big red circle on a blue background"


class Shell:
    """Somebody at a shell, in a folder of their own."""

    def __init__(self, url: str, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.environ = environment(folder / "home", ATELIER_URL=url, PYTHONPATH=str(ROOT), **environ)

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        usual: dict[str, Any] = {
            **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
            # whatever started the tests in the background may have made them deaf to it
            "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        }
        command = [sys.executable, "-m", "cli", *map(str, arguments)]
        return subprocess.Popen(command, env=self.environ, cwd=self.folder, **{**usual, **options})

    def run(self, *arguments: object, given: bytes = b"", status: int = 0, **options: Any) -> bytes:
        """What the command prints; its errors when another status than 0 is expected."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(given, timeout=200)
        assert process.returncode == status, errors
        assert b"Traceback" not in errors
        return output if status == 0 else errors

    def in_terminal(self, *arguments: object, says: str = "\x1b[?62;22c", **environ: str) -> bytes:
        """All that comes out where stdin, stdout and stderr are a terminal; it `says` what it is, when it is asked."""
        here, there = pty.openpty()
        # a terminal of 24 rows; one of no size is none for programs that ask
        subprocess.run(["stty", "rows", "24", "cols", "200"], stdin=there, check=True)
        self.environ = {**self.environ, **environ}
        process = self.start(*arguments, stdin=there, stdout=there, stderr=there)
        os.close(there)
        found = bytearray()
        while True:
            try:
                piece = os.read(here, 65536)
            except OSError:  # EIO: everybody has closed it
                break
            found += piece
            if piece.endswith(b"\x1b[c"):
                os.write(here, says.encode())
            if not piece:
                break
        os.close(here)
        assert process.wait(60) == 0, found[-500:]
        return bytes(found)


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(server.url, tmp_path)


def size(picture: bytes) -> tuple[str | None, tuple[int, int]]:
    opened = Image.open(io.BytesIO(picture))
    opened.load()
    return opened.format, opened.size


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_picture_goes_into_a_pipe_and_another_command_changes_it(shell: Shell) -> None:
    drawn = shell.run("generate", PROMPT, "--seed", 4)
    assert size(drawn) == ("PNG", (128, 128))
    assert drawn == shell.run("generate", "-", "--seed", 4, given=PROMPT.encode())
    changed = shell.run("edit", "-", "make the circle green", "--seed", 4, given=drawn)
    assert size(changed)[1] == (128, 128)
    assert changed != drawn
    assert files(shell.folder) == []


def test_the_file_that_is_named_says_the_format_and_several_are_numbered(shell: Shell) -> None:
    (shell.folder / "cat.webp").write_text("an older one")
    said = shell.run("generate", PROMPT, "--size", "128x64", "--steps", 3, "--seed", 5, "-o", "cat.webp").decode()
    assert re.fullmatch(r"cat\.webp: 128x64, seed 5, .* (bytes|kB)\n", said)
    assert size((shell.folder / "cat.webp").read_bytes()) == ("WEBP", (128, 64))
    shell.run("generate", PROMPT, "-n", 2, "--seed", 5, "--format", "jpeg", "-o", "two.jpg")
    assert files(shell.folder) == ["cat.webp", "two-1.jpg", "two-2.jpg"]
    assert size((shell.folder / "two-2.jpg").read_bytes())[0] == "JPEG"


def test_what_a_mask_keeps_stays_pixel_for_pixel(shell: Shell) -> None:
    (shell.folder / "circle.png").write_bytes(png())
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    mask.save(shell.folder / "mask.png")
    shell.run("edit", "circle.png", "a green star", "--mask", "mask.png", "--strength", 1, "-o", "star.png")
    before, after = (Image.open(shell.folder / name).convert("RGB") for name in ("circle.png", "star.png"))
    right = (32, 0, 64, 64)
    assert before.crop(right).tobytes() == after.crop(right).tobytes()
    assert before.tobytes() != after.tobytes()


def test_the_answer_is_printed_as_it_is_with_json(shell: Shell) -> None:
    answer = json.loads(shell.run("generate", PROMPT, "--seed", 4, "--json", "-o", "a.png"))
    assert answer["data"][0]["seed"] == 4
    assert base64.b64decode(answer["data"][0]["b64_json"]) == (shell.folder / "a.png").read_bytes()


@pytest.mark.nightly
def test_kitty_shows_the_picture_that_is_written_after_those_midway(shell: Shell) -> None:
    seen = shell.in_terminal("generate", PROMPT, "--seed", 4, TERM="xterm-kitty")
    assert b"atelier-1.png: 128x128, seed 4" in seen
    shown: list[bytes] = []
    for keys, chunk in re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", seen):
        if b"a=T" in keys:
            shown.append(b"")
        shown[-1] += chunk
    pictures = [base64.b64decode(each) for each in shown]
    assert len(pictures) == 4
    assert len(set(pictures)) == 4
    assert pictures[-1] == (shell.folder / "atelier-1.png").read_bytes()
    shell.in_terminal("generate", PROMPT, "--no-show")
    assert files(shell.folder) == ["atelier-1.png", "atelier-2.png"]


@pytest.mark.nightly
def test_iterm_shows_it_and_other_terminals_get_the_path(shell: Shell) -> None:
    iterm = {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}
    seen = shell.in_terminal("generate", PROMPT, "-n", 2, "--format", "jpeg", **iterm)
    shown = re.findall(rb"\x1b\]1337;File=inline=1;[^:]*:([^\x07]*)\x07", seen)
    written = [(shell.folder / f"atelier-{number}.jpeg").read_bytes() for number in (1, 2)]
    assert [base64.b64decode(each) for each in shown] == written
    plain = shell.in_terminal("generate", PROMPT, TERM="xterm-256color", TERM_PROGRAM="")
    assert b"atelier-1.png: 128x128" in plain
    assert b"1337" not in plain
    assert b"\x1b_G" not in plain


@pytest.mark.nightly
def test_a_terminal_that_says_it_draws_sixel_shows_the_picture_that_is_written(shell: Shell) -> None:
    seen = shell.in_terminal("generate", PROMPT, "--seed", 4, says="\x1b[?62;4;22c", TERM="xterm-256color")
    assert b"atelier-1.png: 128x128, seed 4" in seen
    shown = [each.convert("RGB") for each in drawn(seen)]
    assert [each.size for each in shown] == [(320, 318)] * 4
    written = Image.open(shell.folder / "atelier-1.png").convert("RGB").resize((320, 318))
    away = [ImageStat.Stat(ImageChops.difference(each, written)).mean for each in shown]
    assert 2 * max(away[-1]) < max(away[0])  # the last is the picture, in 256 colours
    assert max(away[-1]) < 6


def test_ctrl_c_stops_the_work_on_the_server_and_keeps_whole_pictures_only(shell: Shell, http: httpx.Client) -> None:
    process = shell.start("generate", PROMPT, "--steps", 60, "-n", 10, "-o", "a.png")
    deadline = time.monotonic() + 100
    while not (shell.folder / "a-1.png").exists():  # four are drawn at a time
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"atelier: stopped\n")
    kept = files(shell.folder)
    assert 1 <= len(kept) < 10
    assert all(size((shell.folder / each).read_bytes()) == ("PNG", (128, 128)) for each in kept)
    assert output.decode().count("a-") == len(kept)
    while "cancelled" not in states_of(http):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["generate", PROMPT, "--size", "1x1"], "size", 2),
        (["generate", PROMPT, "--model", "blip"], "the model 'blip' is of kind", 2),
        (["generate", PROMPT, "-n", "2"], "--n: 2: stdout takes one picture", 2),
        (["generate", PROMPT, "-o", "none/a.png"], "--output: there is no folder none", 2),
        (["generate", PROMPT, "-o", "folder"], "--output: folder is a folder", 2),
        (["generate", PROMPT, "-o", "a.png", "--format", "webp"], "--format: webp: does not go with", 2),
        (["generate", PROMPT, "--json", "-o", "-"], "--output: -: stdout has the answer", 2),
        (["generate", PROMPT, "-o", "/proc/a.png"], "cannot write", 1),
        (["generate", PROMPT, "-o", "/dev/full"], "cannot write /dev/full: No space left on device", 1),
        (["generate", "-"], "PROMPT: stdin is empty", 2),
        (["edit", "none.png", PROMPT], "PICTURE: none.png: No such file", 2),
        (["edit", "text.png", PROMPT], "image", 2),
        (["edit", "-", "-"], "-: stdin can be read once", 2),
        (["edit", "text.png", PROMPT, "--image", "none.png"], "--image: none.png: No such file", 2),
        (["generate", PROMPT, "--server", "here:80"], "'here:80': a URL such as http://", 2),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(shell: Shell, arguments: list[str], said: str, status: int) -> None:
    (shell.folder / "text.png").write_text("this is text")
    (shell.folder / "folder").mkdir()
    errors = shell.run(*arguments, status=status).decode()
    assert errors.startswith("atelier: ")
    assert said in errors
    assert errors.count("\n") == 1
    assert files(shell.folder) == ["folder", "text.png"]


def little_room() -> None:
    """No file of this process may have more than 500 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))


@pytest.mark.nightly
def test_a_disk_that_fills_up_leaves_what_was_there(shell: Shell) -> None:
    (shell.folder / "a.png").write_text("before")
    errors = shell.run("generate", PROMPT, "-o", "a.png", status=1, preexec_fn=little_room)
    assert errors == b"atelier: cannot write a.png: File too large\n"
    assert files(shell.folder) == ["a.png"]
    assert (shell.folder / "a.png").read_text() == "before"
    with Path("/dev/full").open("wb") as device:
        errors = shell.run("generate", PROMPT, status=1, stdout=device)
    assert errors == b"atelier: cannot write to stdout: No space left on device\n"


def test_where_no_server_answers_it_is_said(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    errors = Shell("", tmp_path, PORT=str(port)).run("generate", PROMPT, "-o", "a.png", status=1)
    assert errors.startswith(f"atelier: no server answers at http://127.0.0.1:{port} (".encode())
    assert files(tmp_path) == []


def states_of(http: httpx.Client) -> list[str]:
    """What became of the latest requests that the command has sent."""
    sent = [each["id"] for each in http.get("/v1/system/requests").json()["requests"]]
    jobs = [http.get(f"/v1/jobs/{each}") for each in sent if each.startswith("cli-")][:3]
    return [each.json()["state"] for each in jobs]
