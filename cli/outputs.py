"""What a command reads and writes: files that are there whole or not at all, pictures on stdin and stdout, JSON."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.server import CommandError, Mistake
from cli.uploads import shown

STANDARD: Final = Path("-")
"""Stands for stdin where a file is read, and for stdout where one is written."""

AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer, as JSON.")]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True)
class Target:
    """Where the pictures of one command go. Without a name they are `atelier-1.png`, `atelier-2.png` and so on."""

    name: Path | None
    suffix: str
    """With its dot: that of a file without a name."""
    count: int
    """How many pictures there will be; several get the name with `-1`, `-2` and so on before its suffix."""

    @property
    def is_stdout(self) -> bool:
        """The picture itself goes to stdout."""
        return self.name == STANDARD

    def check(self) -> None:
        """Find out before anything is asked for whether it can be kept.

        Raises:
            CommandError: it cannot.
        """
        if self.name == STANDARD:
            if self.count > 1:
                raise Mistake(f"--n: {self.count}: stdout takes one picture; name the files with --output")
            if sys.stdout.isatty():
                raise Mistake("--output: -: stdout is a terminal; lead it into a file, or name one")
            return
        if self.name is not None and self.name.is_dir():
            raise Mistake(f"--output: {shown(self.name)} is a folder")
        if self.name is not None and _is_special(self.name):
            return
        folder = self.name.parent if self.name is not None else Path()
        if not folder.is_dir():
            raise Mistake(f"--output: there is no folder {shown(folder)}")
        check_folder(folder)

    def write(self, index: int, content: bytes) -> Path:
        """Write a picture, and say where it is.

        Raises:
            CommandError: it cannot be written. What was there before still is.
        """
        if self.name == STANDARD:
            write_stdout(content)
            return STANDARD
        if self.name is None:
            path = _numbered(self.suffix)
            try:
                write_whole(path, content)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return path
        numbered = self.name.with_name(f"{self.name.stem}-{index + 1}{self.name.suffix}")
        path = self.name if self.count == 1 else numbered
        write_whole(path, content)
        return path


def check_folder(folder: Path) -> None:
    """Find out whether files can be made in a folder. Raises `CommandError`."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"cannot write to {shown(folder.absolute())}: {error.strerror}") from None


def write_whole(target: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it.

    Raises:
        CommandError: it cannot be written. What was there before still is.
    """
    place = Path(os.path.realpath(target))  # a link stays one
    draft = place.with_name(f".{place.name}.part")
    try:
        if _is_special(place):
            place.write_bytes(content)
            return
        try:
            draft.write_bytes(content)
            draft.replace(place)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write {shown(target)}: {error.strerror}") from None


def write_stdout(content: bytes) -> None:
    """Write to stdout at once.

    Raises:
        typer.Exit: nobody reads it any more (`| head`); without a word, and with status 1, as click ends there.
        CommandError: it cannot be written otherwise; the disk is full.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would be tried again when Python ends, and fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None
        raise CommandError(f"cannot write to stdout: {error.strerror}") from None


def write_line(text: str = "", end: str = "\n") -> None:
    """Print a text. Raises as `write_stdout` does."""
    write_stdout((text + end).encode(sys.stdout.encoding, "replace"))


def write_json(answer: Any) -> None:
    """Print an answer as one line of JSON. Raises as `write_stdout` does."""
    write_line(json.dumps(answer, ensure_ascii=False))


def read_file(path: Path, name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`; `name` is that of the argument.

    Raises:
        Mistake: it cannot be read, or is empty.
    """
    try:
        content = sys.stdin.buffer.read() if path == STANDARD else path.read_bytes()
    except OSError as error:
        raise Mistake(f"{name}: {shown(path)}: {error.strerror}") from None
    if not content:
        raise Mistake(f"{name}: {'stdin' if path == STANDARD else shown(path)} is empty")
    return content


def read_text(text: str, name: str) -> str:
    """The text given, or that of stdin for `-`. Raises `Mistake`."""
    return read_file(STANDARD, name).decode(errors="replace").strip() if text == "-" else text


def one_stdin(*given: str | Path | None) -> None:
    """Check that at most one argument is `-`. Raises `Mistake`."""
    if sum(str(each) == "-" for each in given) > 1:
        raise Mistake("-: stdin can be read once; name the other by its file")


def _is_special(path: Path) -> bool:
    """A device or a pipe, which is written to and never replaced."""
    return path.exists() and not path.is_file()


def _numbered(suffix: str) -> Path:
    """The first name of the folder that is free, taken by an empty file."""
    for number in itertools.count(1):
        path = Path(f"atelier-{number}{suffix}")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}") from None
        return path
    raise AssertionError("numbers never end")
