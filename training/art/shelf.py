"""The rendered drawings: one file a design under `.runs/art`, and all that are wanted at once in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.progress import track

from training.art.designs import Design, designs, designs_for
from training.art.fetch import ArtError
from training.art.ink import Colour, coloured, colours_of
from training.art.render import CLIP_ART, SIDE, Drawings, clips_of, cut_out, open_drawings
from training.art.subjects import subjects
from training.loop import RUNS

FOLDER: Final = RUNS / "art"
"""Downloaded packages and rendered drawings; not part of the repository."""
_FILLS: Final = (
    (255, 255, 255), (255, 255, 255), (255, 224, 120), (250, 170, 150), (160, 210, 250), (175, 225, 150),
    (215, 190, 240), (240, 200, 160),
)  # fmt: skip
"""What lines are filled with whose colours are not known."""


@dataclass(frozen=True)
class Drawing:
    """One drawing: of what, in which design, and which of the thing's emoji it shows (0: its usual view)."""

    subject: str
    design: str
    view: int = 0


def path_of(design: str, folder: Path = FOLDER) -> Path:
    """Where a design's drawings are kept."""
    return folder / f"{design}.npz"


def are_rendered(names: Iterable[str], folder: Path = FOLDER) -> bool:
    """Whether all these designs are there."""
    return all(path_of(name, folder).exists() for name in names)


def render_design(design: Design, folder: Path = FOLDER) -> int:
    """Fetch and render one design unless this was done for the same package and table; how many drawings it has.

    Raises:
        ArtError: the package cannot be had or read, or has nothing of what is wanted.
    """
    kept = path_of(design.name, folder)
    made_from = _source(design, folder)
    if kept.exists():
        with np.load(kept) as held:
            if str(held["made_from"]) == made_from:
                return len(held["names"])
    names, pixels = _rendered(design, open_drawings(design, folder / "packages"), folder)
    partial = kept.with_suffix(".partial.npz")
    np.savez_compressed(partial, names=np.array(names), pixels=np.stack(pixels), made_from=np.array(made_from))
    partial.replace(kept)
    return len(names)


def _source(design: Design, folder: Path) -> str:
    """A digest of all that a design's drawings are made from."""
    parts: list[object] = [design, _wanted(), SIDE]
    if design.package == CLIP_ART:
        parts.append(sorted(clips_of(design).items()))
    if design.ink:
        parts += [_source(designs()[name], folder) for name in _in_colours(folder)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _wanted() -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(subject.name, subject.emoji, subject.labels) for subject in subjects().values()]


def _rendered(design: Design, drawings: Drawings, folder: Path) -> tuple[list[str], list[np.ndarray]]:
    elsewhere = Shelf(_in_colours(folder), folder).usual_pixels() if design.ink else {}
    names: list[str] = []
    pixels: list[np.ndarray] = []
    for name, emoji, _ in track(_wanted(), f"rendering {design.name}"):
        for view, points in enumerate(emoji):
            drawing = None if name in design.excluded else drawings.draw(points)
            if drawing is not None:
                names.append(f"{name}|{view}")
                cut = cut_out(drawing)
                pixels.append(coloured(cut, _colours(name, design, elsewhere)) if design.ink else cut)
    if not names:
        raise ArtError(f"{design.package} {design.version} has nothing of what is wanted")
    return names, pixels


def _in_colours(folder: Path) -> list[str]:
    """The designs that ink takes its colours from, as far as they are there."""
    return [name for name in designs_for("draw") if path_of(name, folder).exists()]


def _colours(name: str, design: Design, elsewhere: Mapping[str, Sequence[np.ndarray]]) -> tuple[Colour, ...]:
    """What a thing is coloured with in a design of ink: as in one of the others, or else white or a light colour."""
    number = int.from_bytes(hashlib.sha256(f"{design.name} {name}".encode()).digest()[:4])
    others = elsewhere.get(name, ())
    found = colours_of(others[number % len(others)]) if others else ()
    return found or (_FILLS[number % len(_FILLS)],)


class Shelf:
    """Drawings in memory, by what they show.

    Attributes:
        drawings: every drawing, in a fixed order.
    """

    def __init__(self, designs: Iterable[str], folder: Path = FOLDER, *, with_views: bool = False) -> None:
        """Read these designs.

        Args:
            designs: their names.
            folder: where they are.
            with_views: hold each further view of a thing too, such as a cat's face, as the usual one of a design that
                is named "noto+1".

        Raises:
            ArtError: one of them has not been rendered.
        """
        self._pixels: dict[Drawing, np.ndarray] = {}
        for design in designs:
            kept = path_of(design, folder)
            if not kept.exists():
                raise ArtError(f"there is no {kept}: run python -m training.art")
            with np.load(kept) as held:
                for name, pixels in zip(held["names"], held["pixels"], strict=True):
                    subject, view = str(name).split("|")
                    self._pixels[Drawing(subject, design, int(view))] = pixels
                    if with_views and view != "0":
                        self._pixels[Drawing(subject, f"{design}+{view}")] = pixels
        self.drawings = tuple(self._pixels)

    def __getitem__(self, drawing: Drawing) -> np.ndarray:
        """uint8 [128, 128, 4], RGBA, as big as fits."""
        return self._pixels[drawing]

    def usual_pixels(self) -> dict[str, list[np.ndarray]]:
        """The usual view of each thing in each design that has it, uint8 [128, 128, 4]."""
        return {name: [self[drawing] for drawing in views] for name, views in self.usual().items()}

    def usual(self) -> dict[str, tuple[Drawing, ...]]:
        """The usual views of each thing, one for each design that has it, in the order of the table."""
        found: dict[str, list[Drawing]] = {name: [] for name in subjects()}
        for drawing in self.drawings:
            if drawing.view == 0:
                found[drawing.subject].append(drawing)
        return {name: tuple(views) for name, views in found.items() if views}
