"""Text out of tokens, piece by piece: whole characters only, and nothing of a stop text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def decoder(tokenizer: Any, markers: Sequence[str] = ()) -> Callable[[list[int]], str]:
    """How a tokenizer of transformers makes text of ids: without special tokens, but for those that are `markers`."""
    if not markers:
        return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    added = tokenizer.added_tokens_decoder.items()
    dropped = {number for number, token in added if token.special and token.content not in markers}

    def decode(ids: list[int]) -> str:
        kept = [number for number in ids if number not in dropped]
        return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return decode


class TokenText:
    """The text of tokens that arrive one by one.

    A character may be spread over several tokens, and a stop text over several pieces: what is not yet certain is
    held back. Works with every tokenizer that decodes a list of ids, since only ends of decoded texts are compared.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(text for text in stop if text)
        self._tokens: list[int] = []
        # tokens before _settled are text already; those from _context on are decoded again with the next, because
        # what a token says (a space before it, say) depends on the tokens before it
        self._context = self._settled = 0
        self._held = ""
        self.met: str | None = None
        """The stop text that was met; from then on every piece is empty."""

    @property
    def stopped(self) -> bool:
        """Whether a stop text was met."""
        return self.met is not None

    def push(self, token: int) -> str:
        """The text that is certain now and has not been given before; may be empty."""
        self._tokens.append(token)
        text = self._unsettled()
        if text.endswith(_UNFINISHED):
            return ""
        self._context, self._settled = self._settled, len(self._tokens)
        return self._cut(text)

    def finish(self) -> str:
        """What was held back, but for an unfinished character at the very end."""
        text = self._cut(self._unsettled().rstrip(_UNFINISHED))
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _unsettled(self) -> str:
        before = self._decode(self._tokens[self._context : self._settled])
        return self._decode(self._tokens[self._context :])[len(before) :]

    def _cut(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [(at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            at, self.met = min(found)
            self._held = ""
            return text[:at]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of the stop text."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
