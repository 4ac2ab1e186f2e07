"""Log files printed as they grow."""

from __future__ import annotations

import io
from pathlib import Path

from cli.log_lines import LogLines, printed


def test_lines_are_printed_once_whole_and_through_a_rotation(tmp_path: Path) -> None:
    output = io.BytesIO()
    lines = LogLines({tmp_path: "*.log*"}, output)
    log = tmp_path / "replica.log"
    log.write_text("one\ntw")
    assert lines.copy_new()
    assert output.getvalue() == b"one\n"
    with log.open("a") as file:
        file.write("o\nthree\n")
    log.rename(tmp_path / "replica.log.1")
    log.write_text("four\n")
    assert lines.copy_new()
    assert sorted(output.getvalue().split()) == [b"four", b"one", b"three", b"two"]
    assert not lines.copy_new()


def test_a_folder_that_comes_later_and_a_line_without_end_are_read_too(tmp_path: Path) -> None:
    output = io.BytesIO()
    later = tmp_path / "session" / "logs"
    with printed({later: "*.log"}, output):
        later.mkdir(parents=True)
        (later / "long.log").write_bytes(b"x" * (3 * 2**20) + b"\n")
        (later / "short.log").write_text("the end\n")
    assert len(output.getvalue()) == 3 * 2**20 + 1 + len("the end\n")
