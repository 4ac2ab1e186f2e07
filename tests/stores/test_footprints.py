"""What models took when they were last loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.footprints import Footprints


def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path) -> None:
    Footprints(tmp_path / "footprints.json").note("a", 5)
    Footprints(tmp_path / "footprints.json").note("b", 7)
    Footprints(tmp_path / "footprints.json").note("a", 6)
    known = Footprints(tmp_path / "footprints.json")
    assert (known.get("a"), known.get("b"), known.get("c")) == (6, 7, None)
    assert [path.name for path in tmp_path.iterdir()] == ["footprints.json"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": "much"}', '{"a": -1}', "\x00"])
def test_a_damaged_file_is_as_good_as_none_and_is_written_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "footprints.json"
    path.write_text(damage)
    assert Footprints(path).get("a") is None
    Footprints(path).note("a", 5)
    assert Footprints(path).get("a") == 5


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Footprints(tmp_path / "none" / "footprints.json").note("a", 5)
    assert "could not be kept" in caplog.text
