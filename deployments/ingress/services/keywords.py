"""Keywords of a caption, offline: HanTa's English model comes inside its wheel."""

from __future__ import annotations

import re
import threading
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

_MAX_TAGS = 50
_one_at_a_time = threading.Lock()
_KEPT = ("NN", "NP", "AJ")
"""Nouns, names and adjectives in the BNC tag set, which the English model uses."""


def tags_of(caption: str) -> list[str]:
    """Lemmas of the nouns and adjectives, then bigrams of neighbours joined by `_`; unique, at most 50.

    The first call takes a second, to load the model: not for an event loop. Any thread may call.
    """
    return list(_found(caption))


@lru_cache(maxsize=10_000)
def _found(caption: str) -> tuple[str, ...]:
    words = re.findall(r"[^\W\d_]+(?:[-'][^\W\d_]+)*|\d+", caption)
    with _one_at_a_time:
        tagged = _tagger().tag_sent(words) if words else []
    kept = [lemma.lower() if tag.startswith(_KEPT) else None for _, lemma, tag in tagged]
    singles = [lemma for lemma in kept if lemma]
    pairs = [f"{a}_{b}" for a, b in pairwise(kept) if a and b]
    return tuple(dict.fromkeys(singles + pairs))[:_MAX_TAGS]


@cache
def _tagger() -> Any:
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")
