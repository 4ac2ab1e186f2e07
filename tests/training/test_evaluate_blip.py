from training.captions import canonical_caption
from training.evaluate import fresh_scenes
from training.evaluate_blip import paired, things_named


def test_a_canonical_caption_is_read_back_whole() -> None:
    for scene in fresh_scenes(200, word=0.2):
        caption = canonical_caption(scene)
        assert len(things_named(caption)) == len(scene.things)
        assert all(named.agreement(thing) == 4 for thing, named in paired(scene, caption))


def test_a_caption_that_says_nothing_agrees_with_nothing() -> None:
    for scene in fresh_scenes(20):
        assert all(named.agreement(thing) == 0 for thing, named in paired(scene, "a nice picture"))


def test_one_wrong_colour_is_one_wrong_word() -> None:
    scene = next(s for s in fresh_scenes(50) if len(s.things) == 2 and s.things[0].colour == "red")
    caption = canonical_caption(scene).replace("red", "green")
    assert sorted(named.agreement(thing) for thing, named in paired(scene, caption)) == [3, 4]
