"""Pictures in terminals that draw Sixel, and how those are found out."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image, ImageChops, ImageDraw

from cli import sixel, terminal_answers
from cli.environment import ROOT
from cli.terminal import protocol
from cli.terminal_answers import SixelTerminal, sixel_terminal
from tests.cli.sixels import drawn

ATTRIBUTES, DETAILS = b"\x1b[c", b"\x1b[?1;1;0S\x1b[16t\x1b[c"


@contextmanager
def terminal(*dialogue: tuple[bytes, bytes]) -> Iterator[int]:
    """A terminal that gives these answers to these questions, and hears no others."""
    here, there = pty.openpty()
    heard: list[bytes] = []

    def answer() -> None:
        for question, said in dialogue:
            heard.append(os.read(here, len(question)))
            os.write(here, said)

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        yield there
        answering.join(20)
        assert heard == [question for question, _ in dialogue]
    finally:
        os.close(here)
        os.close(there)


@pytest.mark.parametrize(
    ("attributes", "details", "found"),
    [
        (b"\x1b[?62;4;9;22c", b"\x1b[?1;0;1024S\x1b[6;17;8t\x1b[?62;4;9;22c", SixelTerminal(17, 8, 256)),  # VS Code
        (b"\x1b[?63;1;2;4;6c", b"\x1b[?1;0;16S\x1b[?63;1;2;4;6c", SixelTerminal(20, 10, 16)),  # xterm -ti vt340
        (b"\x1b[?1;2;4c", b"\x1b[?1;2;4c", SixelTerminal(20, 10, 256)),  # tmux
        (b"typed\x1b[?62;4c", b"\x1b[?1;3;0S\x1b[?62;4c", SixelTerminal(20, 10, 256)),
    ],
)
def test_a_terminal_says_that_it_draws_sixel_and_how(attributes: bytes, details: bytes, found: SixelTerminal) -> None:
    with terminal((ATTRIBUTES, attributes), (DETAILS, details)) as asked:
        assert sixel_terminal(asked) == found


@pytest.mark.parametrize("attributes", [b"\x1b[?1;2c", b"\x1b[?6c", b"\x1b[?64;1;2;6;9;15;14;41;44c"])
def test_a_terminal_without_sixel_is_asked_nothing_else(attributes: bytes) -> None:
    with terminal((ATTRIBUTES, attributes)) as asked:
        assert sixel_terminal(asked) is None


def test_a_terminal_that_says_nothing_draws_none_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_answers, "_SECONDS", 0.05)
    with terminal((ATTRIBUTES, b"\x1b[?6")) as asked:
        before = termios.tcgetattr(asked)
        assert sixel_terminal(asked) is None
        assert termios.tcgetattr(asked) == before


ASKING = "import sys; from cli.terminal_answers import sixel_terminal; sys.exit(sixel_terminal(2) is not None)"
IN_THE_BACKGROUND = f"""
import fcntl, subprocess, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
sys.exit(subprocess.run([sys.executable, "-c", {ASKING!r}], process_group=0, timeout=20).returncode)
"""


def test_a_command_in_the_background_asks_nothing() -> None:
    """It would be stopped for it, and its shell would read the answer."""
    here, there = pty.openpty()
    command = [sys.executable, "-c", IN_THE_BACKGROUND]
    done = subprocess.run(command, stdin=there, stderr=there, start_new_session=True, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert select.select([here], [], [], 0)[0] == []
    os.close(here)
    os.close(there)


def test_what_is_no_terminal_or_says_that_it_can_do_nothing_is_not_asked() -> None:
    assert protocol(io.StringIO(), {"TERM": "xterm"}) is None
    with terminal() as silent, os.fdopen(os.dup(silent), "w") as stream:
        assert protocol(stream, {"TERM": "dumb"}) is None


def test_in_tmux_it_is_tmux_that_is_asked() -> None:
    inside = {"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "KITTY_WINDOW_ID": "1", "TERM_PROGRAM": "iTerm.app"}
    with (
        terminal((ATTRIBUTES, b"\x1b[?1;2;4c"), (DETAILS, b"\x1b[?1;2;4c")) as asked,
        os.fdopen(os.dup(asked), "w") as stream,
    ):
        assert protocol(stream, inside) == SixelTerminal(20, 10, 256)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def scene() -> Image.Image:
    picture = Image.new("RGB", (64, 48), (20, 40, 200))
    ImageDraw.Draw(picture).ellipse((10, 6, 50, 42), fill=(230, 30, 20))
    return picture


def test_what_is_drawn_is_the_picture_in_its_place() -> None:
    (shown,) = drawn(sixel.encoded(png(scene()), 800, 100, 256).encode())
    assert shown.size == (133, 96)  # bands of six pixels, in 100
    assert shown.getchannel("A").getextrema() == (255, 255)
    wanted = scene().resize(shown.size)
    difference = ImageChops.difference(shown.convert("RGB"), wanted).convert("L")
    assert max(difference.tobytes()) < 24  # percents of a channel, and 256 colours


def test_a_wide_picture_is_no_wider_than_the_terminal_and_a_flat_one_is_there() -> None:
    (wide,) = drawn(sixel.encoded(png(Image.new("RGB", (2000, 10), "red")), 200, 320, 256).encode())
    assert wide.size == (200, 6)
    assert wide.getpixel((199, 5)) == (255, 0, 0, 255)


def test_a_terminal_of_few_colours_gets_no_more() -> None:
    gradient = Image.linear_gradient("L").convert("RGB")
    (shown,) = drawn(sixel.encoded(png(gradient), 256, 256, 16).encode())
    assert 8 < len(shown.getcolors() or ()) <= 16
