"""Which wording a yes-or-no question was made from, and what was filled in: read back from the question alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import chain
from typing import Final

from training import wordings as w
from training.art.subjects import subjects
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, PLACE_NOUNS, Language, place_phrase
from training.composer.words import GROUND_NAMES, IN_GROUND
from training.describer import words as d
from training.world import COLOURS, PLACES

TABLES: Final[Mapping[str, w.Wordings]] = {
    "text": w.IS_TEXT, "unsafe": d.UNSAFE, **{f"kind {kind}": table for kind, table in d.IS_KIND.items()},
    "background": w.IS_BACKGROUND, "ground": d.IS_GROUND, "at": w.IS_THERE_AT, "there": w.IS_THERE,
}  # fmt: skip
_PARTICLES: Final = {"이야/야": "이야|야", "이/가": "이|가", "은/는": "은|는", "는/은": "은|는"}
_ALIKE: Final = (("います", "あります"), ("がいる", "がある"), ("？", "?"))
"""Ways of saying the same that go with what is asked for."""


def read(question: str, language: Language) -> tuple[str, dict[str, str]]:
    """The table's name and what stands in its braces.

    Raises:
        LookupError: it is none of them.
    """
    plain = _plain(question)
    for table, patterns in _patterns(language).items():
        for pattern in patterns:
            if found := pattern.search(plain):
                return table, {k: v for k, v in found.groupdict().items() if v}
    raise LookupError(question)


def names_of(name: str, language: Language) -> list[str]:
    return [said.lower() for said in subjects()[name].names[language]]


def _plain(text: str) -> str:
    text = text.lower()
    for one, other in _ALIKE:
        text = text.replace(one, other)
    # "Are there grapes?" is asked as "Is there a cat?" is.
    return re.sub(r"\bare (?=there\b)|\bare (?=\w+ (?:in|on|at) )", "is ", text)


@cache
def _patterns(language: Language) -> dict[str, list[re.Pattern[str]]]:
    return {
        table: [_pattern(each, language) for each in sorted(wordings[language], key=len, reverse=True)]
        for table, wordings in TABLES.items()
    }


def _pattern(wording: str, language: Language) -> re.Pattern[str]:
    text = re.escape(_plain(wording)).replace(r"\{", "{").replace(r"\}", "}")
    for pair, either in _PARTICLES.items():
        text = text.replace(pair, f"(?:{either})")
    for brace, words in _fillings(language).items():
        group = f"(?P<{brace.removeprefix('a_')}>{_either(words)})"
        text = text.replace(f"{{{brace}}}", f"(?:an? )?{group}" if brace == "a_name" else group, 1)
    text = re.sub(r"\(\?P<(?:picture|shape)>", "(?:", text)
    end = r"(?=[?.!]|$|ありがとう|お願い|短く| )" if language != "en" else r"(?=[?.!]|$)"
    return re.compile(r"(?:^|please |[.。:：,!] ?)" + text.rstrip("?.").removesuffix("\\") + end)


def _either(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(word.lower()) for word in sorted(set(words), key=len, reverse=True))


@cache
def _fillings(language: Language) -> dict[str, tuple[str, ...]]:
    names = tuple(chain.from_iterable(subject.names[language] for subject in subjects().values()))
    places = {noun for place in PLACES for noun in PLACE_NOUNS[language][place]}
    said = {f"{place_phrase(place, 'en').split(' the ')[0]} the {noun}" for place in PLACES
            for noun in PLACE_NOUNS["en"][place]}  # fmt: skip
    return {
        "picture": w.PICTURE[language],
        "shape": d.THING[language],
        "a_name": names,
        "name": names,
        "place": tuple(said if language == "en" else places),
        "where": tuple(chain.from_iterable(IN_GROUND[language].values())),
        "ground": tuple(chain.from_iterable(GROUND_NAMES[language].values())),
        "colour_noun": tuple(chain.from_iterable(COLOUR_NOUNS[language][each] for each in COLOURS)),
        "colour": tuple(chain.from_iterable(COLOUR_ADJECTIVES[language][each] for each in COLOURS)),
    }
