"""The README's picture: sixty things that the built-in picture model draws, and ten scenes with what it makes of each
by an instruction (`python -m bench.showcase`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from PIL import Image

import settings
from models.catalog import create_engine
from models.image.engine import ImageEngine
from models.pictures import encode
from models.tasks import ImageJob

THINGS: Final = (
    "cat", "dog", "rabbit", "bear", "lion", "horse", "cow", "elephant", "penguin", "owl",
    "whale", "turtle", "butterfly", "bee", "octopus", "dinosaur", "dragon", "apple", "strawberry", "banana",
    "watermelon", "tomato", "carrot", "mushroom", "hamburger", "pizza", "sushi", "ice cream", "cake", "coffee",
    "tree", "cactus", "tulip", "sunflower", "cherry blossom", "car", "bus", "train", "airplane", "rocket",
    "ship", "bicycle", "house", "castle", "tent", "umbrella", "balloon", "gift", "guitar", "piano",
    "camera", "clock", "key", "robot", "ghost", "snowman", "astronaut", "rainbow", "moon", "volcano",
)  # fmt: skip
"""What is drawn alone, each asked for by its name."""
SCENES: Final = {
    "a cat in space": "make the background a beach",
    "a cute dog on the beach, illustration": "replace the dog with a panda",
    "우주에 있는 로켓": "배경을 바다로 바꿔 줘",
    "森の中のフクロウ": "フクロウをキツネに変えて",
    "a red car in the city at night": "change the background to mountains",
    "a penguin in the snow, 3d render": "put it in space",
    "a whale under the sea": "add a fish on the left",
    "an apple and a banana on a yellow background": "remove the banana",
    "a small strawberry on a purple background": "make the strawberry bigger",
    "a big white heart, green background": "make the heart red",
}
"""Scenes, and how they are changed."""
_COLUMNS: Final = 12
_SMALL: Final = 96
_GAP: Final = 4
_SIDE: Final = (_COLUMNS * (_SMALL + _GAP) - _GAP - (len(SCENES) - 1) * _GAP) // len(SCENES)


def main() -> None:
    """Draw and save."""
    root = Path(__file__).parent.parent
    entry = settings.load(root / "serve_config.yaml", {}).models["image-gen"]
    engine = create_engine(entry)
    assert isinstance(engine, ImageEngine)
    engine.load()
    image = entry.image
    rows = -(-len(THINGS) // _COLUMNS)
    below = rows * (_SMALL + _GAP)
    sheet = Image.new("RGB", (_COLUMNS * (_SMALL + _GAP) - _GAP, below + 2 * (_SIDE + _GAP) - _GAP), "white")

    def show(picture: Image.Image, x: int, y: int, side: int) -> None:
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (x, y))

    for number, thing in enumerate(THINGS):
        job = ImageJob(thing, image.width, image.height, image.steps, image.guidance, seed=1)
        (drawn,) = engine.generate(job, lambda _step: None)
        row, column = divmod(number, _COLUMNS)
        show(drawn, column * (_SMALL + _GAP), row * (_SMALL + _GAP), _SMALL)
    for column, (prompt, change) in enumerate(SCENES.items()):
        job = ImageJob(prompt, image.width, image.height, image.steps, image.guidance, seed=1)
        (drawn,) = engine.generate(job, lambda _step: None)
        (changed,) = engine.generate(replace(job, prompt=change, images=(encode(drawn),)), lambda _step: None)
        for row, picture in enumerate((drawn, changed)):
            show(picture, column * (_SIDE + _GAP), below + row * (_SIDE + _GAP), _SIDE)
    target = root / "docs" / "pictures" / "drawn.webp"
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=88, method=6)


if __name__ == "__main__":
    main()
