"""Messages with what they call for: made from the rules of three languages, and read from the held-out file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from training.art.subjects import subjects
from training.captions import LANGUAGES, Language

TOOLS: Final = ("none", "generate_image", "edit_image", "speak")
"""What a message calls for, in the order of the model's labels."""
HELD_OUT: Final = Path(__file__).parent / "held_out.tsv"
"""300 messages that no rule has made: language, `+` where the conversation has a picture, tool, message."""
_FILES: Final[Mapping[Language, str]] = {"en": "english.txt", "ko": "korean.txt", "ja": "japanese.txt"}
"""The rules; the first says how they are written."""
_KINDS: Final = {"draw": 0.33, "edit": 0.23, "speak": 0.11, "other": 0.24, "looking": 0.09}
_PICTURES: Final = {"draw": 0.3, "edit": 0.9, "speak": 0.25, "other": 0.35, "looking": 0.85}
"""How often there is a picture in the conversation."""
_AFTER_OTHERS: Final = 0.1
_TOOL_OF: Final = {"draw": "generate_image", "edit": "edit_image", "speak": "speak"}
_DRAWING: Final = re.compile(r"draw|paint|그려|描")
_ENDS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("", "", "", ".", ".", "!", "?", " :)", "..."),
    "ko": ("", "", "", ".", ".", "!", "?", "~", "ㅎㅎ"),
    "ja": ("", "", "", "。", "。", "！", "？", "♪", "～"),
}
_PARTICLES: Final = {
    "으로": ("으로", "로"),
    "라고": ("이라고", "라고"),
    "라는": ("이라는", "라는"),
    "을": ("을", "를"),
    "를": ("을", "를"),
    "이": ("이", "가"),
    "은": ("은", "는"),
    "과": ("과", "와"),
    "의": ("의", "의"),
}
_PARTICLE: Final = re.compile(f"(.)(}}?[\"']?)§({'|'.join(_PARTICLES)})")


@dataclass(frozen=True)
class Message:
    """One message. `span` are the characters that its tool gets, `(0, 0)` where there is no tool."""

    language: Language
    text: str
    has_picture: bool
    tool: str
    span: tuple[int, int]

    @property
    def argument(self) -> str:
        """What its tool gets."""
        return self.text[slice(*self.span)]


def random_message(rng: np.random.Generator) -> Message:
    """A message made from the rules, of any language and kind; never one of the held-out ones."""
    while True:
        language = LANGUAGES[int(rng.integers(len(LANGUAGES)))]
        kind = list(_KINDS)[int(rng.choice(len(_KINDS), p=list(_KINDS.values())))]
        text = _as_typed(_expanded(kind, language, rng), language, rng)
        if rng.random() < _AFTER_OTHERS:  # what is wished for may come after something else
            before = _as_typed(_expanded("other", language, rng), language, rng).replace("{", "").replace("}", "")
            text = f"{before}{'' if language == 'ja' else ' '}{text}"
        has_picture = bool(rng.random() < _PICTURES[kind])
        tool = _TOOL_OF.get(kind, "none")
        if kind == "edit" and not has_picture:
            if _DRAWING.search(text):
                continue
            tool = "none"
        made = _marked(language, text, tool, has_picture=has_picture)
        if made.text and made.text not in _held_out_texts():
            return made


def held_out() -> list[Message]:
    """The messages of the held-out file."""
    found = []
    for line in HELD_OUT.read_text(encoding="utf-8").splitlines():
        language, picture, tool, text = line.split("\t")
        assert language in LANGUAGES
        found.append(_marked(language, text, tool, has_picture=picture == "+"))
    return found


@cache
def _held_out_texts() -> frozenset[str]:
    return frozenset(message.text for message in held_out())


def _marked(language: Language, text: str, tool: str, *, has_picture: bool) -> Message:
    """The message of a text with braces around what its tool gets."""
    start, end = text.find("{"), text.rfind("}") - 1
    bare = text.replace("{", "").replace("}", "")
    return Message(language, bare, has_picture, tool, (start, end) if tool != "none" and start >= 0 else (0, 0))


def _as_typed(text: str, language: Language, rng: np.random.Generator) -> str:
    """With the capitals, marks at the end and spaces that people type, or leave out."""
    text = " ".join(text.split())
    if language == "en":
        chance = rng.random()
        if chance < 0.45:
            at = 1 if text.startswith("{") else 0
            text = text[:at] + text[at : at + 1].upper() + text[at + 1 :]
        elif chance > 0.97:
            text = text.upper()
    if language == "ko" and rng.random() < 0.12:
        text = text.replace(" ", "")
    if text[-1:].isalnum() or text.endswith("}"):
        text += _ENDS[language][int(rng.integers(len(_ENDS[language])))]
    return text


def _expanded(rule: str, language: Language, rng: np.random.Generator) -> str:
    text = _parsed(language, rule)(rng)
    while language == "ko" and "§" in text:
        changed = _PARTICLE.sub(lambda m: m[1] + m[2] + _PARTICLES[m[3]][_follows_vowel(m[1], m[3])], text)
        text = changed if changed != text else text.replace("§", "")
    return text


def _follows_vowel(before: str, particle: str) -> bool:
    final = (ord(before) - 0xAC00) % 28 if "가" <= before <= "힣" else 0
    return final == 0 or (particle == "으로" and final == 8)


@cache
def _rules(language: Language) -> Mapping[str, str]:
    """The rules of a language, by name."""
    rules: dict[str, list[str]] = {}
    name = ""
    for line in (HELD_OUT.parent / _FILES[language]).read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            rules[name].append(line.removeprefix("  "))
        elif line and not line.startswith("#"):
            name = line.removesuffix(":")
            rules[name] = []
    return {name: "|".join(choices) for name, choices in rules.items()}


Expand = Callable[[np.random.Generator], str]


@cache
def _parsed(language: Language, rule: str) -> Expand:
    """What makes a text of a rule."""
    if rule == "noun":
        nouns = [name for subject in subjects().values() for name in subject.names[language]]
        return lambda rng: nouns[int(rng.integers(len(nouns)))]
    if rule == "unknown":
        return lambda rng: _unknown(language, rng)
    text = _rules(language)[rule]
    choice, end = _choice(language, text, 0)
    assert end == len(text), f"{language} {rule}: a bracket is closed that was not opened"
    return choice


def _choice(language: Language, text: str, at: int) -> tuple[Expand, int]:
    """The choices from a place on, up to the bracket that closes them."""
    choices: list[list[Expand]] = [[]]
    while at < len(text) and text[at] not in ")]":
        if text[at] == "|":
            choices.append([])
            at += 1
        elif text[at] in "([":
            inner, end = _choice(language, text, at + 1)
            choices[-1].append(inner if text[at] == "(" else _maybe(inner))
            at = end + 1
        elif text[at] == "<":
            end = text.index(">", at)
            choices[-1].append(_reference(language, text[at + 1 : end]))
            at = end + 1
        else:
            literal = re.match(r"[^()\[\]<|]+", text[at:])
            assert literal is not None
            choices[-1].append(_literal(literal[0]))
            at += len(literal[0])
    return _one_of(choices), at


def _literal(text: str) -> Expand:
    return lambda _: text


def _reference(language: Language, rule: str) -> Expand:
    return lambda rng: _parsed(language, rule)(rng)


def _maybe(inner: Expand) -> Expand:
    return lambda rng: inner(rng) if rng.random() < 0.4 else ""


def _one_of(choices: Sequence[Sequence[Expand]]) -> Expand:
    return lambda rng: "".join(part(rng) for part in choices[int(rng.integers(len(choices)))])


def _unknown(language: Language, rng: np.random.Generator) -> str:
    """A word that is none, so that what stands around it has to tell what it is."""

    def some(letters: str) -> str:
        return letters[int(rng.integers(len(letters)))]

    count = int(rng.integers(1, 4))
    match language:
        case "en":
            word = "".join(some("bcdfghjklmnprstvwz") + some("aeiou") + some("nrst ").strip() for _ in range(count))
            return word if rng.random() < 0.6 else word.capitalize()
        case "ko":
            return "".join(chr(0xAC00 + int(rng.integers(11172))) for _ in range(count))
        case "ja":
            kanji, kana = _japanese_letters()
            return "".join(some(kanji if rng.random() < 0.5 else kana) for _ in range(count + 1))


@cache
def _japanese_letters() -> tuple[str, str]:
    words = "".join(name for subject in subjects().values() for name in subject.names["ja"])
    words += "".join(_rules("ja").values())
    return "".join(sorted({c for c in words if "一" <= c <= "鿿"})), "".join(map(chr, range(0x30A2, 0x30F0)))
