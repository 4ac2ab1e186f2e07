"""Long texts are cut into overlapping windows, of which none is too long and nothing is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from models.embedding.windows import windows


def letters(text: str) -> int:
    """A token for each three letters of a word, and two for the ends."""
    return 2 + sum(-(-len(word) // 3) for word in text.split())


def test_a_short_text_is_its_only_window() -> None:
    assert windows("a red circle", letters, 10) == ["a red circle"]
    assert windows("", letters, 10) == [""]


def test_windows_are_full_and_overlap() -> None:
    words = [f"w{number:02}" for number in range(40)]
    found = windows(" ".join(words), letters, 18)
    assert [len(each.split()) for each in found[:-1]] == [16] * (len(found) - 1)
    for one, next_one in pairwise(found):
        assert one.split()[-2:] == next_one.split()[:2]


def test_a_word_that_is_too_long_alone_is_cut() -> None:
    found = windows("x" * 100, letters, 8)
    assert len(found) > 1
    assert max(map(letters, found)) <= 8


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab 빨\n", max_size=300), st.integers(4, 30))
def test_no_window_is_too_long_and_every_letter_is_in_one_in_order(text: str, longest: int) -> None:
    found = windows(text, letters, longest)
    assert all(letters(each) <= longest for each in found)
    at = 0
    for each in found:
        begin = text.rfind(each, 0, at + len(each))  # the last of its like, or "aa" would seem to begin "aaa" again
        assert begin >= 0
        at = max(at, begin + len(each))
    assert at == len(text)
