"""A WordNet of four nouns."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.wordnet import WordNet

_INDEX = """  1 a licence, which begins with blanks
dog n 1 2 @ ~ 1 1 02084071
puppet n 1 1 @ 1 0 03999999
kite n 2 1 @ 2 1 01605630 03621049
"""
_DATA = """  1 a licence
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 002 @ 02083346 n 0000 ~ 02085374 n 0000 | a member of Canis
02085374 05 n 01 toy_dog 0 002 @ 02084071 n 0000 ~ 02085620 n 0000 | small
02085620 05 n 01 Chihuahua 0 001 @ 02085374 n 0000 | tiny
03999999 06 n 01 puppet 0 000 | moved by strings
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    (tmp_path / "index.noun").write_text(_INDEX)
    (tmp_path / "data.noun").write_text(_DATA)
    return WordNet(tmp_path)
