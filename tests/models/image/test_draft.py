"""The draft that the built-in picture model begins from: what stands where in it, and what a change leaves of it."""

from __future__ import annotations

import pytest
import torch

from models.image.draft import CHANNELS, Draft, Finder, quartered
from models.image.wishes import CELLS, DRAWING, FIELDS, FIGURES, KINDS, SHAPE, Conditioning, drawn_where
from tests.models.image.wishes import CODE, VALUES, placed, told


def drafter() -> Draft:
    draft = Draft(VALUES, CODE)
    with torch.no_grad():
        draft.basis.copy_(torch.eye(CODE))
        draft.grounds.weight[2:] = -1.0
    return draft


def drawn(of: Conditioning, found: torch.Tensor | None = None, height: int = 8, width: int = 8) -> torch.Tensor:
    """The draft's channels at its points: [10, 4 height, 4 width], latents, what is covered, what is meant."""
    found = torch.zeros(len(of.fields), 3) if found is None else found
    tokens = drafter()(of, found, height, width)[..., :-3].detach()
    points = torch.nn.functional.pixel_shuffle(tokens.transpose(1, 2).reshape(-1, 160, height, width), 4)
    return points[0]


def test_where_a_picture_is_there_a_ground_alone_is_for_behind_it_and_a_change_to_nothing_says_nothing() -> None:
    space = told(ground=3).as_changes()
    assert space.is_a("ground").all()
    assert (space.field("ground") == 3).all()
    assert told(ground=3, place_0=5, size_0=1, design=1).as_changes().is_a("ground").all(), (
        "nothing is there, big or not"
    )
    assert told(place_0=5, design=1).as_changes().says_nothing().all()
    scene = told(ground=3, what_0=DRAWING)
    assert torch.equal(scene.as_changes().fields, scene.fields)
    for kind, fields in (("ground", {}), ("add", {}), ("replace", {"what_0": DRAWING, "place_0": 2})):
        assert told(kind=KINDS.index(kind), **fields).as_changes().says_nothing().all(), kind
    unnamed = told(kind=KINDS.index("resize"), what_1=DRAWING, size_1=1).as_changes()
    assert unnamed.resizes_it().all()
    named = told(kind=KINDS.index("resize"), what_0=DRAWING, what_1=DRAWING, size_1=1)
    assert not named.as_changes().resizes_it().any()
    for kind, fields in (("ground", {"ground": 2}), ("add", {"what_1": SHAPE}), ("remove", {"what_0": SHAPE})):
        change = told(kind=KINDS.index(kind), **fields)
        assert torch.equal(change.as_changes().fields, change.fields), kind


def test_what_is_told_comes_back_from_its_rows() -> None:
    given = placed(told(2, kind=3, what_0=DRAWING, ground=5), (0.25, 0.5, 0.75))
    again = Conditioning.of(given.rows())
    assert torch.equal(again.fields, given.fields)
    assert torch.equal(again.codes, given.codes)
    assert torch.equal(again.where, given.where)


def test_a_thing_covers_what_it_shall_and_the_ground_shows_beside_it() -> None:
    picture = drawn(placed(told(what_0=DRAWING, ground=3), (0.25, 0.5, 0.5)))
    covered = picture[CHANNELS] > 0.5
    rows, columns = covered.nonzero().unbind(1)
    assert (int(columns.min()), int(columns.max())) == (0, 16), "an eighth of its square more on the right"
    assert (int(rows.min()), int(rows.max())) == (7, 24)
    assert (picture[:CHANNELS, 16, 8] == 1).all()
    assert (picture[:CHANNELS, 16, 28] == -1).all()
    assert (drawn(told(what_0=DRAWING))[CHANNELS] == 0).all(), "a thing that stands nowhere"


def test_what_is_named_first_stands_in_front() -> None:
    both = placed(told(what_0=DRAWING, what_1=DRAWING), (0.5, 0.5, 0.3), (0.5, 0.5, 0.9))
    picture = drawn(both)
    assert picture[0, 16, 16] == 1
    assert picture[0, 16, 4] == 2


def test_a_thing_keeps_its_proportions_in_a_wide_picture() -> None:
    picture = drawn(placed(told(what_0=DRAWING), (0.75, 0.5, 0.5)), height=6, width=12)
    rows, columns = (picture[CHANNELS] > 0.5).nonzero().unbind(1)
    assert int(columns.max() - columns.min()) == int(rows.max() - rows.min())
    assert float(columns.float().mean()) + 0.5 == pytest.approx(36)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_shows_what_becomes_of_a_thing_where_that_is(kind: str) -> None:
    wish = placed(told(kind=KINDS.index(kind), what_0=DRAWING, what_1=DRAWING), (0.1, 0.1, 0.1), (0.25, 0.5, 0.3))
    found = torch.tensor([[0.75, 0.5, 0.4]])
    first, second, third = drawn_where(wish, found)[0].tolist()
    expected = {
        "scene": (0.25, 0.5, 0.3), "add": (0.25, 0.5, 0.3), "resize": (0.75, 0.5, 0.3),
        "replace": (0.75, 0.5, 0.4), "recolour": (0.75, 0.5, 0.4),
    }  # fmt: skip
    assert third == [0, 0, 0]
    assert first == pytest.approx((0.1, 0.1, 0.1) if kind == "scene" else (0, 0, 0))
    assert second == pytest.approx(expected.get(kind, (0, 0, 0)))
    nameless = placed(told(kind=KINDS.index(kind), what_0=DRAWING), (0.1, 0.1, 0.1), (0.25, 0.5, 0.3))
    assert drawn_where(nameless, found)[0, 1].tolist() == [0, 0, 0]


def test_what_is_found_is_pointed_at() -> None:
    meant = drawn(told(kind=KINDS.index("remove"), what_0=SHAPE), torch.tensor([[0.5, 0.5, 0.5]]))[-1]
    assert meant[8:24, 8:24].all()
    assert meant.sum() == 16 * 16
    assert not drawn(told(kind=KINDS.index("remove"), what_0=SHAPE))[-1].any()


def test_the_finder_learns_where_the_thing_is_that_a_change_is_about() -> None:
    torch.manual_seed(0)
    finder = Finder(VALUES, 8)
    optimiser = torch.optim.AdamW(finder.parameters(), lr=3e-3)
    looks = torch.randn(4, CELLS, 8)

    def cases(count: int) -> tuple[Conditioning, torch.Tensor, torch.Tensor]:
        which, at = torch.randint(4, (count,)), torch.randint(64, (count,))
        fields = torch.zeros(count, len(FIELDS), dtype=torch.int64)
        fields[:, FIELDS.index("kind")] = KINDS.index("remove")
        codes = looks[which][:, None].expand(-1, FIGURES, -1, -1)
        picture = torch.zeros(count, 64, 32)
        other = (which + 1) % 4
        picture[torch.arange(count), at, which] = 3.0
        picture[torch.arange(count), (at + 30) % 64, other] = 3.0
        there = torch.stack([(at % 8 + 0.5) / 8, (at // 8 + 0.5) / 8, torch.full((count,), 0.25)], 1)
        return Conditioning(fields, codes, torch.zeros(count, FIGURES, 3)), picture, there

    for _ in range(250):
        wish, picture, there = cases(32)
        optimiser.zero_grad()
        torch.autograd.backward(finder.loss(wish, picture, there, 8, 8))
        optimiser.step()
    wish, picture, there = cases(100)
    with torch.no_grad():
        found = finder.find(wish, picture, 8, 8)
    assert float(((found - there).abs()[:, :2].amax(1) < 1 / 16).float().mean()) > 0.9, "its token"
    assert found[:, 2].mean() == pytest.approx(0.25, abs=0.1)
    scenes = Conditioning(wish.fields * 0, wish.codes, wish.where)
    with torch.no_grad():
        assert not finder.find(scenes, picture, 8, 8).any(), "a scene is about nothing that is there"


def test_quarters_have_the_cells_that_lie_together() -> None:
    cells = torch.arange(16.0).view(1, 16, 1)
    assert quartered(cells)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
