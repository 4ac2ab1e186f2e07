"""The README's picture: what the built-in image model draws for six prompts, and below it, what it makes of each by an
instruction (`python -m bench.showcase`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

import settings
from models.catalog import create_engine
from models.image.engine import ImageEngine
from models.pictures import encode
from models.tasks import ImageJob

PROMPTS = {
    "a big red circle on a blue background": "make the circle yellow",
    "a yellow star on a purple background": "make the background white",
    "a big white heart, green background": "change the heart to black",
    "a small black cross at the top, orange background": "add a big white star at the bottom",
    "a green triangle on the left and a red ring on the right, white background": "remove the ring",
    "검은 배경의 노란 다이아몬드": "다이아몬드를 빨간색으로 바꿔 줘",
}
"""What is drawn, and how it is changed."""
_SCALE = 2
_GAP = 8


def main() -> None:
    """Draw and save."""
    root = Path(__file__).parent.parent
    entry = settings.load(root / "serve_config.yaml", {}).models["image-gen"]
    engine = create_engine(entry)
    assert isinstance(engine, ImageEngine)
    engine.load()
    image = entry.image
    side = image.width * _SCALE
    sheet = Image.new("RGB", (len(PROMPTS) * (side + _GAP) - _GAP, 2 * side + _GAP), "white")
    for column, (prompt, change) in enumerate(PROMPTS.items()):
        job = ImageJob(prompt, image.width, image.height, image.steps, image.guidance, seed=1)
        (drawn,) = engine.generate(job, lambda _step: None)
        (changed,) = engine.generate(replace(job, prompt=change, images=(encode(drawn),)), lambda _step: None)
        for row, picture in enumerate((drawn, changed)):
            shown = picture.resize((side, side), Image.Resampling.BICUBIC)
            sheet.paste(shown, (column * (side + _GAP), row * (side + _GAP)))
    target = root / "docs" / "pictures" / "drawn.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
