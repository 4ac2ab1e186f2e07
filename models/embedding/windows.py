"""Long texts in overlapping windows, each as long as a model reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Final

_PIECE: Final = re.compile(r"\s*\S+|\s+$")
"""A word with the space before it."""
_OVERLAP: Final = 8
"""Of so many parts of a window one is also in the next: what stands on the border is read with its neighbours."""


def windows(text: str, count: Callable[[str], int], longest: int) -> list[str]:
    """The text in parts of at most `longest` tokens, cut between words where that is possible; all of it is in them.

    `count` gives the tokens of a text, with those that mark its ends. A text that is short enough is its only window.
    """
    if count(text) <= longest:
        return [text]
    ends = count("")
    pieces = _pieces(text, lambda piece: count(piece) - ends, max(1, longest - ends))
    totals = [0, *accumulate(count(piece) - ends for piece in pieces)]
    found, begin = [], 0
    while True:
        end = begin + 1
        while end < len(pieces) and totals[end + 1] - totals[begin] <= longest - ends:
            end += 1
        # words that are read together may have a token more than each has alone
        while end > begin + 1 and count("".join(pieces[begin:end])) > longest:
            end -= 1
        found.append("".join(pieces[begin:end]))
        if end == len(pieces):
            return found
        begin = next(
            (at for at in range(begin + 1, end) if totals[end] - totals[at] <= (longest - ends) // _OVERLAP), end
        )


def _pieces(text: str, cost: Callable[[str], int], room: int) -> list[str]:
    """Words, and parts of words where one alone is too long, as in languages that are written without spaces."""
    found: list[str] = []
    waiting = _PIECE.findall(text)[::-1]
    while waiting:
        piece = waiting.pop()
        if len(piece) > 1 and cost(piece) > room:
            middle = len(piece) // 2
            waiting += [piece[middle:], piece[:middle]]
        else:
            found.append(piece)
    return found
