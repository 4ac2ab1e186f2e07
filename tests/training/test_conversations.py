import numpy as np
import pytest

from training.conversations import ROW, UNTOLD, Conversation, Talks, meant, pack
from training.questions import Exchange, Reference
from training.world import COLOURS, PLACES, SHAPES, Scene, Shape, Thing

IMAGE, PADDING = 1, 0


def encode(text: str) -> list[int]:
    return [ord(c) for c in text]


def conversation() -> Conversation:
    """A picture with two branches beside each other and a third on the second."""
    said = Exchange("colour", "en", "Q?", "Red")
    made = Conversation(lambda text: [2] if text.startswith("<|vision") else encode(text), IMAGE)
    made.begin()
    made.show(3)
    for parent in (0, 0, 2):
        made.begin(parent)
        made.exchange(said)
    return made


def test_a_branch_sees_the_picture_and_itself_but_not_its_neighbour() -> None:
    made = conversation()
    lengths = [len(s.tokens) for s in made.segments]
    rows = pack([made], PADDING)
    first, second, third = np.cumsum(lengths)[:3]
    sees = rows.sees[0, 0].numpy()
    assert sees[second - 1, :second].all()
    assert sees[third - 1, :first].all()
    assert not sees[third - 1, first:second].any()
    last = sum(lengths) - 1
    assert sees[last, :first].all()
    assert sees[last, second : last + 1].all()
    assert not sees[last, first:second].any()


def test_neighbours_stand_at_the_same_positions_after_a_picture_four_wide() -> None:
    made = conversation()
    picture, one, two, three = made.segments
    assert [p for p, _, _ in picture.positions] == [0, *[1] * 16, 5]
    assert picture.positions[1 + 7] == (1, 2, 4)
    assert one.positions == two.positions
    assert three.positions[0][0] == two.end


def test_only_answers_are_learnt() -> None:
    rows = pack([conversation()], PADDING)
    learnt = rows.tokens[rows.weights > 0].tolist()
    assert learnt == encode("Red<|im_end|>") * 3


def test_picture_tokens_name_their_picture() -> None:
    rows = pack([conversation()], PADDING)
    assert rows.pictures.tolist() == list(range(48, 64))
    assert int((rows.tokens == IMAGE).sum()) == 16


def test_a_conversation_longer_than_a_row_is_refused() -> None:
    made = conversation()
    made.say("x" * ROW)
    with pytest.raises(ValueError, match="longer than a row"):
        pack([made], PADDING)


def test_a_batch_fills_its_rows_and_shows_only_pictures_that_it_has() -> None:
    talks = Talks(lambda text: list(range(2, 2 + len(text) // 4)), IMAGE)
    scenes, conversations = talks.draw(6, 2, np.random.default_rng(0))
    rows = pack(conversations, PADDING)
    assert len(scenes) == 10
    assert int(rows.pictures.max()) < 16 * len(scenes)
    assert len(rows.pictures) == int((rows.tokens == IMAGE).sum())
    assert float((rows.tokens != PADDING).float().mean()) > 0.75


def test_the_last_token_of_a_name_has_what_it_means() -> None:
    star = Thing("star", "green", "small", "right", (42, 158, 66), (49, 32), 8, 0)
    scene = Scene("blue", (40, 78, 212), (star,))
    made = Conversation(lambda text: [2] if text.startswith("<|vision") else encode(text), IMAGE)
    made.begin()
    made.show(0)
    said = Exchange("place", "en", "Where is the Star now?", "", Reference("star", lambda t: t.shape == "star"))
    made.exchange(said, [scene])
    rows = pack([made], PADDING)
    ((row, column),) = rows.names.tolist()
    assert chr(rows.tokens[row, column]) == "r"
    assert rows.meanings.tolist() == [[2, UNTOLD, COLOURS.index("green"), SHAPES.index("star")]]


@pytest.mark.parametrize(("shapes", "place"), [((), 0), (("circle",), 0), (("star",), 1), (("star", "star"), 6)])
def test_a_name_may_mean_nothing_one_thing_or_several(shapes: tuple[Shape, ...], place: int) -> None:
    things = tuple(
        Thing(shape, "green", "small", at, (0, 0, 0), (0, 0), 8, 0) for shape, at in zip(shapes, PLACES, strict=False)
    )
    reference = Reference("star", lambda t: t.shape == "star")
    empty, shown = Scene("blue", (0, 0, 0), ()), Scene("blue", (0, 0, 0), things)
    assert meant(reference, [shown])[0] == place
    assert meant(reference, [empty, shown])[:2] == (0, place)
