"""Changes to scenes: what they change, what they leave, and how they are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, LANGUAGES, PLACE_NOUNS, SHAPE_NOUNS, Language
from training.edits import KINDS, EditKind, instruction, random_edit
from training.picture.shapes import fresh_edits, is_right
from training.world import apart, render

NUMBERS = range(120)


def rng(number: int) -> np.random.Generator:
    return np.random.default_rng((77, number))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_what_its_kind_says_and_nothing_else(kind: EditKind) -> None:
    for number in NUMBERS:
        edit = random_edit(rng(number), kind)
        before, after = edit.before, edit.after
        assert edit.kind == kind
        if kind == "background":
            assert after.background != before.background
            assert after.things == before.things
            assert after.background not in {thing.colour for thing in after.things}
            continue
        assert after.background_rgb == before.background_rgb
        rest = [thing for thing in before.things if thing != edit.target]
        assert [thing for thing in after.things if thing != edit.result] == rest
        match kind:
            case "remove":
                assert edit.target in before.things
                assert len(after.things) == len(before.things) - 1
            case "add":
                assert edit.result in after.things
                assert len(after.things) == len(before.things) + 1
            case "recolour":
                assert edit.target is not None
                assert edit.result is not None
                assert edit.result.colour not in (edit.target.colour, after.background)
                assert replace(edit.result, colour=edit.target.colour, rgb=edit.target.rgb) == edit.target
            case "reshape":
                assert edit.target is not None
                assert edit.result is not None
                assert edit.result.shape != edit.target.shape
                assert replace(edit.result, shape=edit.target.shape) == edit.target


@pytest.mark.parametrize("kind", KINDS)
def test_things_stay_apart_and_distinguishable(kind: EditKind) -> None:
    for number in NUMBERS:
        things = random_edit(rng(number), kind).after.things
        assert all(apart(one, other) for i, one in enumerate(things) for other in things[:i])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_instruction_says_what_shall_be(kind: EditKind, language: Language) -> None:
    for number in NUMBERS:
        edit = random_edit(rng(number), kind)
        said = instruction(edit, rng(number), language).lower()
        if kind == "background":
            colour = edit.after.background
            words = COLOUR_ADJECTIVES[language][colour] + COLOUR_NOUNS[language][colour]
        elif kind == "remove":
            continue
        else:
            assert edit.result is not None
            if kind == "recolour":
                words = COLOUR_ADJECTIVES[language][edit.result.colour] + COLOUR_NOUNS[language][edit.result.colour]
            else:
                words = SHAPE_NOUNS[language][edit.result.shape]
        assert any(word in said for word in words), said


def test_the_target_is_named_so_that_no_other_thing_fits() -> None:
    for number in NUMBERS:
        edit = random_edit(rng(number), "remove")
        target = edit.target
        assert target is not None
        said = instruction(edit, rng(number)).lower()
        named = [
            thing
            for thing in edit.before.things
            if any(word in said for word in SHAPE_NOUNS["en"][thing.shape])
            and (thing.colour in said or not any(colour in said for colour in COLOUR_ADJECTIVES["en"]))
        ]
        assert named in ([target], []) or "violet" in said, said


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_target_is_told_by_what_its_edit_says(language: Language) -> None:
    seen = set()
    for number in range(400):
        edit = random_edit(rng(number), "remove")
        assert edit.target is not None
        seen.add(edit.told_by)
        said = instruction(edit, rng(number), language).lower()
        words = {
            "shape": any(word in said for word in SHAPE_NOUNS[language][edit.target.shape]),
            "colour": any(word in said for word in COLOUR_ADJECTIVES[language][edit.target.colour]),
            "place": any(word in said for word in PLACE_NOUNS[language][edit.target.place]),
        }
        assert {word for word, is_there in words.items() if is_there} == {
            "shape": {"shape"}, "looks": {"shape", "colour"}, "place": {"place"}, "nothing": set[str](),
        }[edit.told_by], said  # fmt: skip
    assert seen == {"shape", "looks", "place", "nothing"}


def test_korean_particles_follow_the_sound_of_the_word() -> None:
    said = " ".join(instruction(random_edit(rng(n), "reshape"), rng(n), "ko") for n in range(300))
    for right, wrong in (("별로", "별으로"), ("원으로", "원로"), ("하트로", "하트으로")):
        assert right in said
        assert wrong not in said


def test_the_right_picture_passes_and_the_unchanged_one_does_not() -> None:
    edits = [edit for kind in KINDS for edit in fresh_edits(8, kind)]
    assert np.mean([is_right(render(edit.after), edit) for edit in edits]) > 0.95
    assert not any(is_right(render(edit.before), edit) for edit in edits)
