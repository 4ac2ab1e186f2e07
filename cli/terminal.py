"""Pictures in the terminal: Kitty's graphics protocol, iTerm2's inline images, and Sixel."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Mapping
from typing import Final, Literal, TextIO

from cli import sixel
from cli.terminal_answers import SixelTerminal, sixel_terminal

Protocol = Literal["kitty", "iterm"] | SixelTerminal

_ROWS: Final = 16
_CHUNK: Final = 4096
"""Characters of base64 in one of Kitty's sequences, at most."""
_KITTY_ID: Final = 7_283
"""A later picture of this id takes the place of an earlier one in the terminal's memory."""


def protocol(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Protocol | None:
    """How the terminal behind a stream takes pictures; None where it does not, or is no terminal.

    Those that have a protocol of their own are known by their variables; any other is asked whether it draws Sixel.
    """
    terminal, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if not stream.isatty() or terminal in ("", "dumb", "linux"):
        return None
    if "TMUX" in environ or terminal.startswith(("screen", "tmux")):
        # multiplexers keep the variables of the terminal around them, but of its pictures Sixel at most
        return sixel_terminal(stream.fileno())
    if "KITTY_WINDOW_ID" in environ or terminal in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return sixel_terminal(stream.fileno())


class Frame:
    """A place in the terminal that shows one picture after the other."""

    def __init__(self, stream: TextIO, how: Protocol) -> None:
        self._stream, self._how = stream, how
        size = shutil.get_terminal_size()
        self._rows, self._columns = max(1, min(_ROWS, size.lines - 3)), size.columns
        self._has_one = False

    def show(self, picture: bytes) -> None:
        """Show it where the one before was. The cursor must be below that, as this leaves it."""
        # Room first, then back up: terminals do not agree on where a picture leaves the cursor.
        room = "" if self._has_one else "\n" * self._rows
        up, down = f"\r\x1b[{self._rows}A", f"\x1b[{self._rows}B"
        self._stream.write(f"{room}{up}\x1b7{escape(picture, self._how, self._rows, self._columns)}\x1b8{down}")
        self._stream.flush()
        self._has_one = True

    def close(self) -> None:
        """What is shown next has a place of its own."""
        self._has_one = False


def escape(picture: bytes, how: Protocol, rows: int, columns: int) -> str:
    """The sequence that shows a PNG, JPEG or WebP, so many rows of text high, if it is not wider than the columns."""
    if isinstance(how, SixelTerminal):
        return sixel.encoded(picture, columns * how.cell_width, rows * how.cell_height, how.colours)
    if how == "iterm":
        encoded = base64.b64encode(picture).decode()
        return f"\x1b]1337;File=inline=1;size={len(picture)};height={rows};preserveAspectRatio=1:{encoded}\x07"
    encoded = base64.b64encode(_png(picture)).decode()
    chunks = [encoded[start : start + _CHUNK] for start in range(0, len(encoded), _CHUNK)]
    sequences = []
    for number, chunk in enumerate(chunks):
        # q=2: the terminal must not answer, which would look like something typed
        first = f"a=T,f=100,q=2,i={_KITTY_ID},p={_KITTY_ID},r={rows}," if number == 0 else ""
        sequences.append(f"\x1b_G{first}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(sequences)


def _png(picture: bytes) -> bytes:
    """The picture as a PNG, the one compressed format that Kitty takes."""
    if picture.startswith(b"\x89PNG"):
        return picture
    from PIL import Image  # most commands show no JPEG

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
