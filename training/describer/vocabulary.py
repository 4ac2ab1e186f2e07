"""The words for everything that can be found in a drawing, in the order of the reader's answers."""

from __future__ import annotations

from training.art.subjects import subjects
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, LANGUAGES, PLACE_NOUNS, SHAPE_NOUNS, Language
from training.composer.grounds import PAINTED
from training.composer.scene import GROUNDS
from training.composer.words import GROUND_NAMES
from training.describer.labels import ARRANGEMENTS, COLOURS, alphabet
from training.describer.naming import words
from training.describer.words import COLOURS_SAID
from training.world import COLOURS as COLOURS_OF_SHAPES
from training.world import PLACES, SHAPES


def vocabulary() -> dict[str, list[tuple[str, ...]]]:
    """The words for each answer of parts of `Reader.said`, where nothing has none, and for each place."""
    things = [tuple(subject.names[language][0] for language in LANGUAGES) for subject in subjects().values()]
    shapes = [tuple(SHAPE_NOUNS[language][shape][0] for language in LANGUAGES) for shape in SHAPES]
    grounds = {
        str(colour): tuple(COLOUR_NOUNS[language][colour][0] for language in LANGUAGES) for colour in COLOURS_OF_SHAPES
    }
    grounds |= {str(place): tuple(GROUND_NAMES[language][place][0] for language in LANGUAGES) for place in PAINTED}
    return {
        "thing": [(), *things, *shapes],
        "colour": [tuple(_colour(colour, language) for language in LANGUAGES if colour) for colour in COLOURS],
        "ground": [grounds[ground] for ground in GROUNDS],
        "arrangement": [(str(len(places)), *([relation] if relation else [])) for places, relation in ARRANGEMENTS],
        "letter": [(), *((letter,) for letter in alphabet(words()))],
        "place": [tuple(PLACE_NOUNS[language][place][0] for language in LANGUAGES) for place in PLACES],
    }


def _colour(colour: str, language: Language) -> str:
    adjectives = COLOUR_ADJECTIVES[language]
    return COLOURS_SAID[language].get(colour) or adjectives[colour][0]  # type: ignore[index]
