"""The art: what the table says, what may train what, and how drawings get out of their packages."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.training.art.packages import icons, picture, pictures, write_package
from training.art import render
from training.art.designs import designs, designs_for
from training.art.fetch import ArtError, fetch
from training.art.ink import coloured, colours_of
from training.art.lettering import FONTS, random_word
from training.art.render import Clips, Glyphs, Icons
from training.art.shelf import Drawing, Shelf, render_design
from training.art.subjects import NAME_LANGUAGES, subjects
from training.captions import LANGUAGES, SHAPE_NOUNS


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
    for language in LANGUAGES:
        of_things = {name for subject in subjects().values() for name in subject.names[language]}
        assert not of_things & {word for words in SHAPE_NOUNS[language].values() for word in words}


def test_what_draws_is_trained_on_art_that_asks_for_a_notice_only() -> None:
    assert {designs()[name].licence for name in designs_for("draw")} <= {"Apache-2.0", "MIT"}
    # Such as ask for a notice or to name the authors, and such as are free for any use.
    assert {designs()[name].licence for name in designs_for("recognise")} <= {
        "Apache-2.0", "MIT", "ISC AND MIT", "OFL-1.1", "CC-BY-3.0", "CC-BY-4.0", "CC-PDDC", "LicenseRef-Symbola",
    }  # fmt: skip
    assert len(designs_for("judge")) >= 2


def test_what_npm_has_is_pinned_by_its_digest() -> None:
    of_npm = [design for design in designs().values() if design.package not in ("fonts-symbola", "openclipart-svg")]
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", design.integrity) for design in of_npm)


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


def ring(gap: int) -> np.ndarray:
    """A ring of lines that is open for so many degrees."""
    drawn = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(drawn).arc((20, 20, 108, 108), 0, 360 - gap, fill="black", width=8)
    return np.asarray(drawn)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_the_first_colour_fills_what_lines_enclose_across_small_gaps_and_no_more() -> None:
    closed, nearly, half = (coloured(ring(gap), (RED, BLUE)) for gap in (0, 4, 60))
    for drawn in (closed, nearly):
        assert drawn[64, 64].tolist() == [*RED, 255]
        assert drawn[64, 23].tolist() == [0, 0, 0, 255]
        assert drawn[5, 5, 3] == 0
    assert half[64, 64, 3] == half[5, 5, 3] == 0


def test_a_surface_of_ink_takes_the_first_colour_within_black_edges_and_its_hole_the_second() -> None:
    disc = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(disc).ellipse((10, 10, 118, 118), fill="black")
    ImageDraw.Draw(disc).ellipse((54, 54, 74, 74), fill=(0, 0, 0, 0))
    drawn = coloured(np.asarray(disc), (RED, BLUE))
    assert drawn[64, 30].tolist() == [*RED, 255]
    assert drawn[64, 64].tolist() == [*BLUE, 255]
    assert drawn[64, 11].tolist() == [0, 0, 0, 255]
    assert drawn[5, 5, 3] == 0


def test_the_colours_of_a_drawing_are_its_most_usual_ones_without_its_lines() -> None:
    drawn = np.zeros((128, 128, 4), np.uint8)
    drawn[20:100, 20:100] = (*RED, 255)
    drawn[20:40, 20:60] = (*BLUE, 255)
    drawn[60:70, 20:100] = (0, 0, 0, 255)
    assert colours_of(drawn) == (RED, BLUE)
    assert colours_of(np.zeros((128, 128, 4), np.uint8)) == ()


def test_ink_has_the_colours_that_the_thing_has_elsewhere_or_a_light_one(tmp_path: Path) -> None:
    noto = replace(pictures(tmp_path, "noto", {"cat": "blue"}), name="noto")
    assert "noto" in designs_for("draw")
    render_design(noto, tmp_path)
    ink = replace(pictures(tmp_path, "spots", {"cat": "black", "chair": "black"}), ink=True)
    assert render_design(ink, tmp_path) == 2
    shelf = Shelf(["spots"], tmp_path)
    assert shelf[Drawing("cat", "spots")][64, 64].tolist() == [*BLUE, 255]
    assert shelf[Drawing("chair", "spots")][64, 64].min() > 100


def test_what_a_design_calls_by_another_thing_s_name_is_excluded(tmp_path: Path) -> None:
    design = replace(pictures(tmp_path, "spots", {"cat": "red", "mouse": "red"}), excluded=("mouse",))
    assert render_design(design, tmp_path) == 1
    assert list(Shelf(["spots"], tmp_path).usual()) == ["cat"]
    assert all(set(design.excluded) <= set(subjects()) for design in designs().values())


def test_a_font_draws_what_it_has_and_nothing_for_what_it_lacks() -> None:
    of_pillow = ImageFont.load_default(10)
    assert isinstance(of_pillow, ImageFont.FreeTypeFont)
    assert isinstance(of_pillow.path, io.BytesIO)
    glyphs = Glyphs([of_pillow.path.getvalue()])
    drawn = glyphs.draw(f"{ord('O'):X}")
    assert drawn is not None
    assert drawn.getchannel("A").getextrema() == (0, 255)
    assert glyphs.draw(subjects()["cat"].emoji[0]) is None
    assert glyphs.draw(f"{ord('O'):X}-200D-{ord('O'):X}") is None


@pytest.mark.parametrize("size", ['width="20pt" height="20pt"', 'width="25" height="25" viewBox="0 0 25 25"', ""])
def test_clips_are_drawn_whole_whatever_size_they_give(size: str, tmp_path: Path) -> None:
    box = "" if size else ' viewBox="0 0 25 25"'
    circle = '<circle cx="15" cy="15" r="5"/>'
    (tmp_path / "a.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}{box}>{circle}</svg>')
    drawn = Clips({"cat": tmp_path / "a.svg"}).draw(subjects()["cat"].emoji[0])
    assert drawn is not None
    assert drawn.getbbox() == pytest.approx((102, 102, 205, 205), abs=3)


def test_clip_art_shows_things_of_the_table_each_file_once() -> None:
    clips = json.loads((Path(render.__file__).parent / "clipart.json").read_text())
    assert set(clips) <= set(subjects())
    files = [file for kept in clips.values() for file in kept]
    assert len(files) == len(set(files))


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


def test_ink_is_rendered_again_when_what_it_takes_its_colours_from_has_come(tmp_path: Path) -> None:
    ink = replace(pictures(tmp_path, "spots", {"cat": "black"}), ink=True)
    render_design(ink, tmp_path)
    before = Shelf(["spots"], tmp_path)[Drawing("cat", "spots")]
    render_design(pictures(tmp_path, "noto", {"cat": "blue"}), tmp_path)
    render_design(ink, tmp_path)
    after = Shelf(["spots"], tmp_path)[Drawing("cat", "spots")]
    assert after[64, 64].tolist() == [*BLUE, 255] != before[64, 64].tolist()


def test_a_further_view_of_a_thing_can_stand_for_the_usual_one_of_another_design(tmp_path: Path) -> None:
    usual, face = subjects()["cat"].emoji[:2]
    files = {f"assets/{usual.lower()}.webp": picture("red"), f"assets/{face.lower()}.webp": picture("blue")}
    render_design(write_package(tmp_path, "spots", files), tmp_path)
    assert Shelf(["spots"], tmp_path).usual()["cat"] == (Drawing("cat", "spots"),)
    shelf = Shelf(["spots"], tmp_path, with_views=True)
    assert shelf.usual()["cat"] == (Drawing("cat", "spots"), Drawing("cat", "spots+1"))
    assert shelf[Drawing("cat", "spots+1")][64, 64].tolist() == [*BLUE, 255]


def test_a_shelf_names_the_command_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(ArtError, match=r"run python -m training\.art"):
        Shelf(["noto"], tmp_path)
