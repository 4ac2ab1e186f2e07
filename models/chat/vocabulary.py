"""The tokens of a model, as forms of answers see them (llguidance)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tasks import TokenLogprob

Mask = npt.NDArray[np.bool_]

_STRUCTURE = b'"{}[],'


class Vocabulary:
    """The tokens of a fast tokenizer of transformers, of which the model scores `size` and ends with one of `ends`."""

    def __init__(self, tokenizer: Any, size: int, ends: list[int]) -> None:
        import llguidance.hf

        self.size = max(size, len(tokenizer))
        self.ends = tuple(ends)
        self.tokens: Any = llguidance.hf.from_tokenizer(tokenizer, n_vocab=self.size, eos_token=ends)
        """llguidance's own."""

    def bytes_of(self, token: int) -> bytes:
        """What a token writes."""
        return bytes(self.tokens.decode_bytes([token]))

    def allowed_by(self, matcher: Any) -> Mask:
        """Which tokens [size] may come next, of an `LLMatcher`."""
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=self.size, bitorder="little").astype(np.bool_)

    def spelled(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        """A token as callers see it."""
        data = self.bytes_of(token)
        return TokenLogprob(data.decode("utf-8", "replace"), logprob, data, top)

    def single(self, text: str) -> list[int]:
        """The token that is this text, if there is one."""
        tokens = self.tokens.greedy_tokenize(text)
        return [int(tokens[0])] if len(tokens) == 1 else []

    @cached_property
    def shortest(self) -> list[int]:
        """What leads to the end of a JSON value soonest, outside of its texts, where it may come next; in order."""
        return [token for text in '}],"01nft{[- ' for token in self.single(text)]

    @cached_property
    def quote(self) -> list[int]:
        """The end of a text."""
        return self.single('"')

    @cached_property
    def letter(self) -> int:
        """What may come next in a text only."""
        return next(iter(self.single("x")), 0)

    @cached_property
    def after_a_number(self) -> list[int]:
        """What ends a number."""
        return [*self.single(","), *self.single("}"), *self.single("]"), *self.ends]

    @cached_property
    def joints(self) -> Mask:
        """Tokens [size] that end something and begin another at once, such as `", "`."""
        written = (self.bytes_of(token) for token in range(self.size))
        return np.array([len(text) > 1 and any(byte in _STRUCTURE for byte in text) for text in written])
