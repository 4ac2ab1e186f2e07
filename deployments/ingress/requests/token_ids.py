"""Texts from the token ids that clients of OpenAI's embeddings send, of which LangChain is one by default."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

from deployments.ingress.errors import invalid

_VOCABULARY: Final = Path(__file__).with_name("cl100k_base.xz")
"""OpenAI's `cl100k_base`, of every embedding model of theirs: the length of each token in bytes, then the tokens
(tiktoken, MIT licence: see NOTICE)."""
_TOKENS: Final = 100_256
"""How many there are, but for those that mark what is no text."""


def text_of(ids: Sequence[int], place: str) -> str:
    """The text that OpenAI's tokenizer made these ids of; `place` is where they stand in the body.

    Bytes that are no UTF-8, of a text that was cut in the middle of a character, become U+FFFD.

    Raises:
        ApiError: 400, for an id that stands for no text.
    """
    tokens = _tokens()
    for number, each in enumerate(ids):
        if not 0 <= each < _TOKENS:
            raise invalid(
                f"{place}[{number}]",
                f"{place}[{number}]: {each} is not a token of cl100k_base, whose ids are 0 to {_TOKENS - 1}; "
                "the text itself may be sent too",
            )
    return b"".join(tokens[each] for each in ids).decode(errors="replace")


@cache
def _tokens() -> list[bytes]:
    """Every token's bytes: 5 MB, unpacked in 50 ms when the first ids come."""
    packed = lzma.decompress(_VOCABULARY.read_bytes())
    ends = accumulate(packed[:_TOKENS], initial=_TOKENS)
    return [packed[begin:end] for begin, end in pairwise(ends)]
