"""Japanese as it is spoken: kanji to kana, particles by their sound (SudachiPy, small dictionary)."""

from __future__ import annotations

import functools
import re
from typing import Any

_PARTICLES = {"は": "ワ", "へ": "エ", "を": "オ"}
_SYMBOLS = ("補助記号", "記号", "空白")
_ATTACHED = ("助詞", "助動詞", "接尾辞", *_SYMBOLS)
_FAMILY = re.compile(r"([母父兄姉])(?=さん|ちゃん|さま|様)")
_FAMILY_READINGS = {"母": "かあ", "父": "とう", "兄": "にい", "姉": "ねえ"}
_EVERYDAY_READINGS = {"私": "ワタシ"}
_KATAKANA = re.compile(r"[ァ-ヶー]+")


def kana(text: str) -> str:
    """The text in katakana with a space between phrases; figures stay figures, unknown Latin words are spelled out.

    A reading is chosen by the dictionary, not by the meaning: a word with several readings may get the wrong one.
    """
    phrases: list[str] = []
    text = _FAMILY.sub(lambda found: _FAMILY_READINGS[found[1]], text)
    join_next = False
    for word in _dictionary().tokenizer().tokenize(text):
        kind, detail = word.part_of_speech()[:2]
        said = _reading(word.surface(), word.reading_form(), kind)
        opens = detail == "括弧開"
        if phrases and (join_next or (kind in _ATTACHED and not opens)):
            phrases[-1] += said
        elif said.strip():
            phrases.append(said)
        join_next = opens or kind == "接頭辞" or detail == "数詞"
    return " ".join(" ".join(phrases).split())


def _reading(surface: str, reading: str, kind: str) -> str:
    if kind == "助詞" and surface in _PARTICLES:
        return _PARTICLES[surface]
    if kind in _SYMBOLS:
        return surface
    if surface in _EVERYDAY_READINGS:
        return _EVERYDAY_READINGS[surface]
    if surface.isdecimal() and len(surface) > 1:
        return surface  # the dictionary reads 2024 figure by figure, espeak-ng as a number
    return reading if _KATAKANA.fullmatch(reading) else surface


@functools.cache
def _dictionary() -> Any:
    from sudachipy import Dictionary

    return Dictionary(dict="small")
