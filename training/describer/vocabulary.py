"""The words for everything that can be found in a drawing, in the order of the reader's answers."""

from __future__ import annotations

from training.art.subjects import subjects
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, LANGUAGES, SHAPE_NOUNS
from training.composer.grounds import PAINTED
from training.composer.scene import GROUNDS
from training.composer.words import GROUND_NAMES
from training.describer.labels import COUNTS, alphabet
from training.describer.pool import words
from training.world import COLOURS, SHAPES


def vocabulary() -> dict[str, list[tuple[str, ...]]]:
    """For each part of `Reader.said` the words for each answer; nothing has none."""
    things = [tuple(subject.names[language][0] for language in LANGUAGES) for subject in subjects().values()]
    shapes = [tuple(SHAPE_NOUNS[language][shape][0] for language in LANGUAGES) for shape in SHAPES]
    grounds = {str(colour): tuple(COLOUR_NOUNS[language][colour][0] for language in LANGUAGES) for colour in COLOURS}
    grounds |= {str(place): tuple(GROUND_NAMES[language][place][0] for language in LANGUAGES) for place in PAINTED}
    return {
        "thing": [(), *things, *shapes],
        "colour": [tuple(COLOUR_ADJECTIVES[language][colour][0] for language in LANGUAGES) for colour in COLOURS],
        "ground": [grounds[ground] for ground in GROUNDS],
        "count": [(str(count),) for count in range(COUNTS)],
        "letter": [(), *((letter,) for letter in alphabet(words()))],
    }
