import numpy as np
import torch

from training.captions import LANGUAGES
from training.gallery import ATTRIBUTE_CLASSES, attributes
from training.queries import Claim, query
from training.world import Scene, Thing, random_scene


def thing(**changes: object) -> Thing:
    said = {"shape": "circle", "colour": "red", "size": "big", "place": "left", **changes}
    return Thing(**said, rgb=(215, 38, 40), centre=(15, 32), radius=14, angle=0)  # type: ignore[arg-type]


def scene(*things: Thing) -> Scene:
    return Scene("blue", (40, 78, 212), things)


def true_of(claim: Claim, *scenes: Scene) -> list[bool]:
    return [bool(t) for t in claim.true_of(torch.stack([attributes(s) for s in scenes]))]


def test_a_query_is_true_of_the_scene_it_was_made_for() -> None:
    rng = np.random.default_rng(0)
    for i in range(500):
        asked = random_scene(rng, word=0.2, things=(0.0, 0.5, 0.3, 0.2))
        _, claim = query(asked, rng, LANGUAGES[i % 3])
        assert true_of(claim, asked) == [True]


def test_what_a_claim_says_must_hold_of_one_and_the_same_thing() -> None:
    mixed = scene(thing(colour="green"), thing(shape="star", place="right"))
    assert true_of(Claim(shape="circle", colour="red"), mixed, scene(thing())) == [False, True]


def test_an_empty_place_fits_no_claim() -> None:
    assert true_of(Claim(shape="circle", place="right"), scene(thing())) == [False]


def test_a_background_is_no_thing() -> None:
    assert true_of(Claim(colour="blue"), scene(thing())) == [False]
    assert true_of(Claim(background="blue"), scene(thing())) == [True]
    assert true_of(Claim(background="red"), scene(thing())) == [False]


def test_every_attribute_is_one_of_its_classes() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        classes = attributes(random_scene(rng)).tolist()
        assert len(classes) == len(ATTRIBUTE_CLASSES)
        assert all(0 <= c < most for c, most in zip(classes, ATTRIBUTE_CLASSES, strict=True))
