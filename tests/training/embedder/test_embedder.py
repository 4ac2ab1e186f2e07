"""The embedder's words: what WordNet and the table of things say that a noun fits."""

from __future__ import annotations

import numpy as np

from training.art.subjects import NAME_LANGUAGES, subjects
from training.embedder.lexicon import CLASSES, Lexicon, phrase
from training.wordnet import WordNet, imagenet


def test_a_word_means_the_classes_below_it(wordnet: WordNet) -> None:
    assert wordnet.classes_of("dog") == (imagenet()["02085620"],)
    assert wordnet.classes_of("Dog") == wordnet.classes_of("dog")
    assert wordnet.classes_of("puppet") == wordnet.classes_of("unheard-of") == ()


def test_imagenet_has_a_thousand_classes() -> None:
    assert sorted(imagenet().values()) == list(range(1000))


def test_a_noun_fits_its_classes_and_its_drawing(wordnet: WordNet) -> None:
    lexicon = Lexicon.read(wordnet)
    dog = list(subjects()).index("dog")
    chihuahua = imagenet()["02085620"]
    assert lexicon.nouns[dog].fits == (chihuahua, CLASSES + dog)
    toy = next(row for row, noun in enumerate(lexicon.nouns) if noun.words["en"] == ("toy dog",))
    # A dog may be another one than a toy dog, but what there are drawings of is a kind of itself.
    assert lexicon.table[toy, chihuahua]
    assert lexicon.table.sum(1).min() >= 1
    assert lexicon.nouns[list(subjects()).index("kite")].fits == (CLASSES + list(subjects()).index("kite"),)


def test_phrases_hold_a_word_of_the_noun_in_its_language(wordnet: WordNet) -> None:
    lexicon, rng = Lexicon.read(wordnet), np.random.default_rng(1)
    for noun in lexicon.nouns[:200]:
        for language in NAME_LANGUAGES:
            said = phrase(noun, rng, language)
            assert any(word in said for word in noun.words[language]), said
