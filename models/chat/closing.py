"""How an answer of a form comes to its end before its tokens are used up."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from models.chat.vocabulary import Mask, Vocabulary

_NUMBER: Final = re.compile(rb"[0-9.eE+-]*")
_LONG_NUMBER: Final = re.compile(rb".{20}|.*[eE][+-]?[0-9]{2}")
_LONGEST_CHARACTER: Final = 4
"""Tokens that a character takes at most: one for each byte."""
_NEAR: Final = 64
"""So many tokens before the shortest end has to begin, each is looked at."""
_EVERY: Final = 8
_FEW: Final = 48
"""So many tokens that may come next are tried out one by one."""


class Closing:
    """Watches over the tokens that are left, `room` at first; a token after which no end would fit may not come.

    A number has 20 characters at most, and no more than two digits of an exponent.
    """

    def __init__(self, vocabulary: Vocabulary, room: int) -> None:
        self._vocabulary, self._room = vocabulary, room
        self._looks_in = 0
        self._number = b""

    def accept(self, token: int) -> None:
        """A token has been written."""
        self._room -= 1
        self._looks_in -= 1
        written = self._vocabulary.bytes_of(token)
        self._number = self._number + written if _NUMBER.fullmatch(written) else b""

    def narrowed(self, matcher: Any, allowed: Mask) -> Mask:
        """Which of the allowed tokens may come next."""
        in_text = self._in_text(allowed)
        if _LONG_NUMBER.match(self._number) and not in_text:
            allowed = _only([token for token in self._vocabulary.after_a_number if allowed[token]], allowed)
        if self._looks_in > 0:
            return allowed
        slack = self._room - self._rest(matcher)
        if 0 <= slack <= _NEAR:
            return self._that_end(matcher, allowed, slack, in_text=in_text)
        self._looks_in = _EVERY if slack < 0 else (slack - _NEAR) // _EVERY
        return allowed

    def _that_end(self, matcher: Any, allowed: Mask, slack: int, *, in_text: bool) -> Mask:
        """Those of the allowed tokens after which an end fits."""
        allowed = _first_of(allowed & ~self._vocabulary.joints, allowed)
        tokens = np.flatnonzero(allowed).tolist()
        if not in_text and 1 < len(tokens) <= _FEW:
            return _only([token for token in tokens if self._rest_after(token, matcher) < self._room], allowed)
        if slack >= _LONGEST_CHARACTER:
            return allowed
        return _only([self._next(matcher, allowed)], allowed)

    def _in_text(self, allowed: Mask) -> bool:
        return bool(allowed[self._vocabulary.letter])

    def _rest(self, matcher: Any) -> int:
        """Tokens of the shortest end that is known, the end token too; more than there is room for if none is."""
        ahead, count = matcher.deep_copy(), 0
        while count <= self._room:
            token = self._next(ahead, self._vocabulary.allowed_by(ahead))
            count += 1
            if token in self._vocabulary.ends or not ahead.consume_token(token):
                break
        return count

    def _rest_after(self, token: int, matcher: Any) -> int:
        if token in self._vocabulary.ends:
            return 0
        ahead = matcher.deep_copy()
        ahead.consume_token(token)
        return self._rest(ahead)

    def _next(self, matcher: Any, allowed: Mask) -> int:
        vocabulary = self._vocabulary
        if ends := [token for token in vocabulary.ends if allowed[token]]:
            return ends[0]
        forced = matcher.compute_ff_tokens()
        if forced and allowed[forced[0]]:
            return int(forced[0])
        shortest = vocabulary.quote if self._in_text(allowed) else vocabulary.shortest
        return next((token for token in shortest if allowed[token]), int(np.argmax(allowed)))


def _only(tokens: list[int], allowed: Mask) -> Mask:
    """These tokens; all that are allowed where there are none."""
    narrowed = np.zeros_like(allowed)
    narrowed[tokens] = True
    return _first_of(narrowed, allowed)


def _first_of(mask: Mask, otherwise: Mask) -> Mask:
    return mask if mask.any() else otherwise
