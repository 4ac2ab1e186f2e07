"""The art: what the table says, what may train what, and how drawings get out of their packages."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.training.art.packages import icons, pictures, write_package
from training.art.designs import designs, designs_for
from training.art.fetch import ArtError, fetch
from training.art.lettering import FONTS, random_word
from training.art.render import Icons, filled
from training.art.shelf import Drawing, Shelf, render_design
from training.art.subjects import NAME_LANGUAGES, subjects
from training.world import SHAPES


def test_every_thing_has_names_in_seven_languages() -> None:
    assert len(subjects()) >= 500
    for subject in subjects().values():
        assert set(subject.names) == set(NAME_LANGUAGES)
        assert subject.names["en"][0] == subject.name
        assert all(words and all(word == word.strip() and word for word in words) for words in subject.names.values())
        assert len(subject.emoji) == len(subject.labels) > 0


@pytest.mark.parametrize("language", NAME_LANGUAGES)
def test_no_name_means_two_things(language: str) -> None:
    names = Counter(name.lower() for subject in subjects().values() for name in subject.names[language])  # type: ignore[index]
    assert not [name for name, count in names.items() if count > 1]


def test_korean_and_japanese_names_are_written_in_their_scripts() -> None:
    for subject in subjects().values():
        assert any(re.search("[가-힣]", name) for name in subject.names["ko"]), subject
        assert any(re.search("[ぁ-ヿ一-龯]", name) for name in subject.names["ja"]) or subject.name in ("cd", "ufo")


def test_no_thing_is_called_as_a_shape_is() -> None:
    assert not set(SHAPES) & {name for subject in subjects().values() for name in subject.names["en"]}


def test_what_draws_is_trained_on_art_that_asks_for_a_notice_only() -> None:
    assert {designs()[name].licence for name in designs_for("draw")} <= {"Apache-2.0", "MIT"}
    assert {designs()[name].licence for name in designs_for("recognise")} <= {"Apache-2.0", "MIT", "CC-BY-4.0"}
    assert len(designs_for("judge")) >= 2
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", design.integrity) for design in designs().values())


def test_some_fonts_of_each_script_never_train() -> None:
    for script in ("latin", "hangul", "kana"):
        assert {font.judge for font in FONTS if script in font.scripts} == {True, False}


def test_words_are_short_and_their_letters_are_of_the_script() -> None:
    rng = np.random.default_rng(2)
    assert all(re.fullmatch(r"[A-Za-z]{2,7}|\d{1,4}", random_word("latin", rng)) for _ in range(300))
    assert all(re.fullmatch("[가-힣]+", random_word("hangul", rng)) for _ in range(300))


def test_drawings_fill_their_square_and_keep_their_colour(tmp_path: Path) -> None:
    design = pictures(tmp_path, "spots", {"cat": "red", "chair": "blue"})
    assert render_design(design, tmp_path) == 2
    shelf = Shelf(["spots"], tmp_path)
    assert {name: [view.design for view in views] for name, views in shelf.usual().items()} == {
        "cat": ["spots"],
        "chair": ["spots"],
    }
    drawn = shelf[Drawing("cat", "spots")]
    assert drawn.shape == (128, 128, 4)
    rows, columns = np.nonzero(drawn[..., 3] > 128)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((2, 125, 2, 125), abs=2)
    assert drawn[64, 64].tolist() == [255, 0, 0, 255]
    # Nothing of what lies around the drawing bleeds into its edge.
    assert (drawn[..., 0][drawn[..., 3] > 16] > 240).all()


def ring(*, with_gap: bool) -> np.ndarray:
    drawn = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(drawn).arc((20, 20, 108, 108), 0, 300 if with_gap else 360, fill="black", width=8)
    return np.asarray(drawn)


def test_a_colour_fills_what_lines_enclose_and_no_more() -> None:
    closed, open_ring = filled(ring(with_gap=False), (255, 0, 0)), filled(ring(with_gap=True), (255, 0, 0))
    assert closed[64, 64].tolist() == [255, 0, 0, 255]
    assert closed[64, 23].tolist() == open_ring[64, 23].tolist() == [0, 0, 0, 255]
    assert closed[5, 5, 3] == open_ring[5, 5, 3] == open_ring[64, 64, 3] == 0


def test_lines_alone_are_filled_with_a_light_colour_of_each_thing(tmp_path: Path) -> None:
    design = replace(pictures(tmp_path, "spots", {"cat": "black", "chair": "black"}), ink=True)
    assert {design.name for design in designs().values() if design.ink} == {"emojione-ink", "fluent-ink"}
    assert render_design(design, tmp_path) == 2
    assert Shelf(["spots"], tmp_path)[Drawing("cat", "spots")][64, 64].tolist() == [0, 0, 0, 255]


def test_a_drawing_is_found_by_code_points_by_label_or_by_another_name(tmp_path: Path) -> None:
    by_points = icons(tmp_path, "points", {"a-feline": "<circle/>"}, {"1f408": "a-feline"})
    by_label = icons(tmp_path, "labels", {"teacup-without-handle": "<rect/>"}, {})
    by_unicode = icons(tmp_path, "unicode", {"electrictorch": "<path/>"}, {})
    with fetch(by_points, tmp_path / "packages") as package:
        assert "<circle/>" in (Icons(package).svg("1F408") or "")
        assert Icons(package).svg("1F415") is None
    with fetch(by_label, tmp_path / "packages") as package:
        assert "<rect/>" in (Icons(package).svg(subjects()["green tea"].emoji[0]) or "")
    with fetch(by_unicode, tmp_path / "packages") as package:
        assert "<path/>" in (Icons(package).svg(subjects()["flashlight"].emoji[0]) or "")


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    design = pictures(tmp_path, "spots", {"cat": "red"})
    write_package(tmp_path, "spots", {"assets/1f408.webp": b"something else"})
    with pytest.raises(ArtError, match=r"is not the pinned @test/spots 1\.0\.0"):
        render_design(design, tmp_path)


def test_a_design_is_rendered_once(tmp_path: Path) -> None:
    design = pictures(tmp_path, "spots", {"cat": "red"})
    render_design(design, tmp_path)
    (tmp_path / "packages" / "spots-1.0.0.tgz").unlink()
    assert render_design(design, tmp_path) == 1


def test_a_shelf_names_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(ArtError, match=r"run python -m training\.art"):
        Shelf(["noto"], tmp_path)
