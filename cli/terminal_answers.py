"""What a terminal says of itself: whether it draws Sixel, in how many colours, and how many pixels a letter takes."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_SECONDS: Final = 1.0
"""For an answer: from a terminal at the other end of the world too."""
_ATTRIBUTES: Final = b"\x1b[c"
"""Primary device attributes (DA1), which every terminal answers, and after the questions before it."""
_ATTRIBUTES_ARE: Final = re.compile(rb"\x1b\[\?([\d;]*)c")
_DRAWS_SIXEL: Final = b"4"
_COLOURS: Final = b"\x1b[?1;1;0S"
"""How many colours a picture may have (XTSMGRAPHICS)."""
_COLOURS_ARE: Final = re.compile(rb"\x1b\[\?1;0;(\d+)S")
_CELL: Final = b"\x1b[16t"
"""How large a letter is (XTWINOPS)."""
_CELL_IS: Final = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_VT340_CELL: Final = (20, 10)
_MOST_COLOURS: Final = 256


@dataclass(frozen=True)
class SixelTerminal:
    """A terminal that draws Sixel. The size is that of a letter, in pixels."""

    cell_height: int
    cell_width: int
    colours: int


def sixel_terminal(stream: int) -> SixelTerminal | None:
    """The terminal behind a descriptor, if it says that it draws Sixel.

    It is asked only from the foreground, where what it answers is not read by another program. What somebody has typed
    meanwhile is lost.
    """
    try:
        with _asking(stream) as terminal:
            found = _ATTRIBUTES_ARE.search(_answers(terminal, b""))
            if found is None or _DRAWS_SIXEL not in found[1].split(b";"):
                return None
            # only now: terminals without Sixel take these for something else
            said = _answers(terminal, _COLOURS + _CELL)
            colours = int(found[1]) if (found := _COLOURS_ARE.search(said)) else _MOST_COLOURS
            height, width = map(int, found.groups()) if (found := _CELL_IS.search(said)) else _cell_by_size(terminal)
    except OSError:  # it cannot be opened, or has gone
        return None
    return SixelTerminal(height, width, max(2, min(colours, _MOST_COLOURS)))


@contextmanager
def _asking(stream: int) -> Iterator[int]:
    """The terminal, as one that neither shows nor collects what it is sent. Raises `OSError`."""
    # not the stream itself, which may be open for writing only
    terminal = os.open(os.ttyname(stream), os.O_RDWR | os.O_NOCTTY)
    try:
        if _is_another_jobs(terminal):  # which would stop this one for what it does next
            raise PermissionError
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSANOW)
        try:
            yield terminal
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # without an answer that comes late
    except termios.error as error:
        raise OSError(*error.args) from None
    finally:
        os.close(terminal)


def _is_another_jobs(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # no job's: it is not the terminal that this process belongs to
        return False


def _answers(terminal: int, questions: bytes) -> bytes:
    """All that it says until it has named its attributes; empty where it does not in time."""
    os.write(terminal, questions + _ATTRIBUTES)
    said = b""
    until = time.monotonic() + _SECONDS
    while select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
        piece = os.read(terminal, 1024)
        said += piece
        if _ATTRIBUTES_ARE.search(said):
            return said
        if not piece:
            break
    return b""


def _cell_by_size(terminal: int) -> tuple[int, int]:
    """The height and width of a letter, by the size of the whole."""
    rows, columns, width, height = struct.unpack("4H", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return (height // rows, width // columns) if rows and columns and height and width else _VT340_CELL
