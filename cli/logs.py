"""`atelier logs`: the last lines of a server, in the order of time, and further ones as they come."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.home import home_folder
from cli.log_lines import PERIOD_SECONDS, LogLines
from cli.outputs import write_stdout
from cli.search import told_in_one_line
from cli.server import CommandError
from cli.service import installed
from cli.service.commands import in_one_line

_WHEN: Final = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]?\d*")
_BLOCK: Final = 2**16


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last ones.")] = 100,
) -> None:
    """Show the log of the service where one is installed, else the logs in ATELIER_HOME."""
    with told_in_one_line(), in_one_line():
        if (service := installed()) is not None:
            service.logs(follow=follow, lines=lines)
        folder = home_folder() / "logs"
        if not folder.is_dir():
            raise CommandError(f"there are no logs in {folder}; another home is named by ATELIER_HOME")
        # `serve` has what replicas say; the file beside it, once the server has ended, what it printed
        folders = {folder / "serve": "*.log", folder: "atelier.log"}
        followed = LogLines(folders, sys.stdout.buffer)
        followed.skip()
        found = [path for place, pattern in folders.items() for path in place.glob(pattern)]
        write_stdout(b"".join(last_lines(found, lines)))
        while follow:
            time.sleep(PERIOD_SECONDS)
            followed.copy_new()


def last_lines(files: list[Path], count: int) -> list[bytes]:
    """The last lines of several logs together, in the order of time; one without a time stays below the one before."""
    entries: list[tuple[bytes, bytes]] = []
    for file in files:
        when = b""
        for line in _tail(file, count):
            found = _WHEN.search(line[:200])
            when = found.group().replace(b"T", b" ").replace(b".", b",") if found else when
            entries.append((when, line))
    entries.sort(key=lambda entry: entry[0])
    return [line for _, line in entries[len(entries) - count if count < len(entries) else 0 :]]


def _tail(file: Path, count: int) -> list[bytes]:
    """The last whole lines of a file, which may be large."""
    try:
        with file.open("rb") as opened:
            end = opened.seek(0, 2)
            text = b""
            for start in _starts(end):
                opened.seek(start)
                text = opened.read(end - start)
                if start == 0 or text.count(b"\n") > count:
                    break
    except FileNotFoundError:  # rotated away between the two
        return []
    whole = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)
    return whole[max(0, len(whole) - count) :]


def _starts(end: int) -> Iterator[int]:
    for blocks in itertools.accumulate(itertools.repeat(_BLOCK), lambda read, _: 2 * read):
        yield max(0, end - blocks)
