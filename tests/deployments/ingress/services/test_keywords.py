"""Keywords of captions."""

from __future__ import annotations

from deployments.ingress.services.keywords import tags_of


def test_tags_are_the_nouns_and_adjectives_then_their_pairs() -> None:
    assert tags_of("A big red circle on a blue background.") == [
        "big", "red", "circle", "blue", "background", "big_red", "red_circle", "blue_background",
    ]  # fmt: skip


def test_tags_are_lemmas() -> None:
    assert tags_of("two happy dogs are running between wooden houses")[:4] == ["happy", "dog", "wooden", "house"]


def test_tags_are_unique_and_at_most_fifty() -> None:
    assert tags_of("a dog and a dog") == ["dog"]
    nouns = " ".join(f"{a}{b}ness" for a in "bcdfghjkl" for b in "aeiou")
    assert len(tags_of(nouns)) <= 50


def test_no_words_give_no_tags() -> None:
    assert tags_of("") == []
    assert tags_of("… !? 。") == []
