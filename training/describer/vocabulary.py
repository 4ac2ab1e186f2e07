"""The words for everything that can be found in a drawing, in the order of the reader's answers."""

from __future__ import annotations

from itertools import product

from training.art.subjects import subjects
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, LANGUAGES, PLACE_NOUNS, SHAPE_NOUNS
from training.composer.grounds import PAINTED
from training.composer.scene import GROUNDS
from training.composer.words import GROUND_NAMES
from training.describer.labels import COUNTS, GRID, alphabet
from training.describer.pool import words
from training.world import COLOURS, SHAPES, Place


def vocabulary() -> dict[str, list[tuple[str, ...]]]:
    """The words for each answer of each part of `Reader.said`, where nothing has none, and for each place of a cell."""
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
        "cell": [tuple(PLACE_NOUNS[language][place][0] for language in LANGUAGES) for place in _places()],
    }


def _places() -> list[Place]:
    """Where each cell is, row by row."""
    middle = GRID // 2
    found: list[Place] = []
    for row, column in product(range(GRID), repeat=2):
        down, right = row - middle, column - middle
        if max(abs(down), abs(right)) <= 1:
            found.append("centre")
        elif abs(right) >= abs(down):
            found.append("right" if right > 0 else "left")
        else:
            found.append("bottom" if down > 0 else "top")
    return found
