"""The README's picture: what the built-in image model draws for six prompts (`python -m bench.showcase`)."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import settings
from models.catalog import create_engine
from models.engine import ImageEngine
from models.tasks import ImageJob

PROMPTS = (
    "a big red circle on a blue background",
    "a yellow star on a purple background",
    "a big white heart, green background",
    "a small black cross at the top, orange background",
    "a green triangle on the left and a red ring on the right, white background",
    "검은 배경의 노란 다이아몬드",
)
_SCALE = 2
_GAP = 8


def main() -> None:
    """Draw and save."""
    root = Path(__file__).parent.parent
    entry = settings.load(root / "serve_config.yaml", {}).models["image-gen"]
    engine = create_engine(entry)
    assert isinstance(engine, ImageEngine)
    engine.load()
    defaults = entry.image
    side = defaults.width * _SCALE
    sheet = Image.new("RGB", (len(PROMPTS) * (side + _GAP) - _GAP, side), "white")
    for i, prompt in enumerate(PROMPTS):
        job = ImageJob(prompt, defaults.width, defaults.height, defaults.steps, defaults.guidance, seed=1)
        (picture,) = engine.generate(job, lambda _step: None)
        sheet.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (i * (side + _GAP), 0))
    target = root / "docs" / "pictures" / "drawn.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
