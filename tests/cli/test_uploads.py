"""Which files are sent, and what is remembered of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cli.exports import read_manifest
from cli.journal import FileState, Journal
from cli.server import CommandError, Mistake
from cli.uploads import pictures_in, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpeg", "z/1.webp", "z/2.txt", "c/.hidden.png", ".secret/x.png", "c/d/e.gif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def found(*places: Path, recursive: bool = True) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    return [each.path for each in pictures_in(places, recursive=recursive, unreadable=fail)]


def test_pictures_are_found_in_the_order_of_their_names_without_what_is_hidden(folder: Path) -> None:
    assert found(folder) == [folder / name for name in ("a.jpeg", "b.PNG", "c/d/e.gif", "z/1.webp")]
    assert found(folder, recursive=False) == [folder / "a.jpeg", folder / "b.PNG"]


def test_a_file_that_is_named_is_sent_whatever_it_is_called(folder: Path) -> None:
    assert found(folder / "z" / "2.txt", folder / ".secret") == [folder / "z" / "2.txt", folder / ".secret" / "x.png"]


def test_links_are_followed_but_never_in_circles(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.png").touch()
    (folder / "z" / "up").symlink_to(folder)
    (folder / "z" / "away").symlink_to(elsewhere)
    assert found(folder)[-2:] == [folder / "z" / "1.webp", folder / "z" / "away" / "far.png"]
    assert len(found(folder)) == 5


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Without the rights of root, who reads every folder."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_reported() -> None:
    told: list[OSError] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for place in ("a.png", "c/b.png"):
            (folder / place).parent.mkdir(exist_ok=True)
            (folder / place).touch()
        (folder / "c").chmod(0)
        with as_somebody_else():
            found = list(pictures_in([folder], recursive=True, unreadable=told.append))
        (folder / "c").chmod(0o700)
    assert [picture.path for picture in found] == [folder / "a.png"]
    assert [error.filename for error in told] == [str(folder / "c")]


def test_a_name_that_is_no_utf_8_and_one_that_moves_the_cursor_can_be_sent_and_shown(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\x1b[31m.png"))
    path.touch()
    (picture,) = pictures_in([tmp_path], recursive=True, unreadable=lambda _: None)
    picture.filename.encode()
    assert shown(path) == f"{tmp_path}/caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m.png"
    with closing(Journal(tmp_path / "cli", "http://one", "p")) as journal:
        journal.note(FileState.of(path), "id")
        assert journal.find(FileState.of(path)) == "id"


def test_the_journal_knows_a_file_only_unchanged_and_only_where_it_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"1234")
    before = FileState.of(path)
    with closing(Journal(tmp_path / "cli", "http://one", "p")) as journal:
        assert journal.is_empty
        journal.note(before, "id-1")
    with closing(Journal(tmp_path / "cli", "http://one", "p")) as journal:
        assert not journal.is_empty
        assert journal.find(before) == "id-1"
        os.utime(path, ns=(0, 0))
        assert journal.find(FileState.of(path)) is None
        journal.note(FileState.of(path), "id-2")
        assert journal.find(before) is None
    for server, project in (("http://two", "p"), ("http://one", "q")):
        with closing(Journal(tmp_path / "cli", server, project)) as journal:
            assert journal.is_empty
            assert journal.find(FileState.of(path)) is None


def test_a_journal_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "uploads.db").write_text("no database, and longer than the header of one " * 10)
    with pytest.raises(CommandError, match=r"the journal of uploads .*/uploads.db cannot be used: file is not a data"):
        Journal(tmp_path, "http://one", "p")


WHOLE = (
    '{"id": "69b1afc6-35d7-40d2-944c-63d3ca7c94d9", "project_id": "p", "r2_key": "p/images/x.png", '
    '"original_filename": "x.png", "size_bytes": 1, "more": [1], "file": "images/x.png", "sha256": "'
    + "0" * 64
    + '"}\n'
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (WHOLE[:60], "line 2: Invalid JSON: EOF while parsing"),
        ("\n", "line 2: Invalid JSON: EOF while parsing"),
        (WHOLE.replace("images/x.png", "../x.png"), "line 2: file: .*leads out of the folder"),
        (WHOLE.replace("images/x.png", "/etc/x.png"), "line 2: file: .*leads out of the folder"),
        (WHOLE.replace("0" * 64, "0"), "line 2: sha256: "),
        (WHOLE.replace('"size_bytes": 1, ', ""), "line 2: size_bytes: Field required"),
    ],
)
def test_a_damaged_line_of_a_manifest_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(WHOLE + line)
    with pytest.raises(Mistake, match=said):
        list(read_manifest(tmp_path))
