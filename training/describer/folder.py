"""The gate, and the folder that `models/describer.py` loads."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

from models.cells import glance, load_trunk
from models.describer import READER, SPEAKER
from models.sight import MERGE, PATCH, SIDE, Reader
from training.composer.scene import Scene
from training.describer.photographs import open_photographs
from training.describer.pool import FOLDER, picture_of, pixels, scene_of
from training.describer.sight import sizes
from training.describer.student import Student
from training.eight_bits import packed
from training.vlm_tokenizer import CHAT_TEMPLATE
from training.world import random_scene, render

_SEED: Final = 95
_SHAPES: Final = 3000
_DRAWN: Final = 6000
_PHOTOGRAPHS: Final = 12_000
_PLAIN: Final = 0.08
"""Of the pictures of shapes are one colour and nothing else."""


def learn_gate(reader: Reader, shapes: Tensor, drawn: Tensor, taken: Tensor, steps: int = 1500) -> None:
    """Of which kind a picture is, from mean features, float32 [n, 1280]: of shapes, scenes of things, photographs."""
    seen = torch.cat([shapes, drawn, taken])
    kinds = torch.cat([torch.full((len(part),), i) for i, part in enumerate((shapes, drawn, taken))])
    middle, spread = seen.mean(0), seen.std(0) + 0.05
    gate = torch.nn.Linear(seen.shape[1], 3)
    search = torch.optim.AdamW(gate.parameters(), lr=2e-3, weight_decay=0.1)
    for _ in range(steps):
        rows = torch.cat([torch.randint(int((kinds < i).sum()), int((kinds <= i).sum()), (128,)) for i in range(3)])
        loss = functional.cross_entropy(gate((seen[rows] - middle) / spread), kinds[rows])
        search.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        search.step()
    with torch.no_grad():
        reader.kinds.weight.copy_(gate.weight / spread)
        reader.kinds.bias.copy_(gate.bias - gate.weight @ (middle / spread))


def gate_features() -> tuple[Tensor, Tensor, Tensor]:
    """What `learn_gate` learns from; kept under `.runs/describer`, but for photographs, which are made up."""
    trunk, rng = load_trunk(), np.random.default_rng(_SEED)
    kept = FOLDER / "gate.pt"
    if not kept.exists():
        of_shapes = (_worn(render(random_scene(rng, word=0.3)), rng) for _ in range(_SHAPES))
        scenes = ((number, scene_of(number, unseen=False)) for number in count())
        things = islice(((n, scene) for n, scene in scenes if not is_of_shapes(scene)), _DRAWN)
        of_things = (picture_of(number, scene, unseen=False) for number, scene in things)
        torch.save([_glanced(trunk, of_shapes), _glanced(trunk, of_things)], kept)
    shapes, drawn = torch.load(kept, weights_only=True)
    return shapes, drawn, open_photographs().draw(_PHOTOGRAPHS, rng)[0]


def is_of_shapes(scene: Scene) -> bool:
    """Whether a scene of the world of things could be one of the other."""
    return not scene.is_painted and all(figure.is_shape for figure in scene.figures)


@torch.inference_mode()
def _glanced(trunk: Any, pictures: Iterator[Image.Image]) -> Tensor:
    return torch.cat([glance(trunk, pixels(picture)[None]) for picture in pictures])


def _worn(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Some are larger, soft as a model draws them, or through JPEG; some have nothing on their ground."""
    if rng.random() < _PLAIN:
        picture = Image.new("RGB", picture.size, tuple(int(c) for c in rng.integers(0, 256, 3)))
    if rng.random() < 0.3:
        side = int(rng.integers(64, 513))
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0)) * picture.width / 64))
    if rng.random() < 0.3:
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=int(rng.integers(55, 95)))
        picture = Image.open(packed).convert("RGB")
    return picture


def write_folder(student: Student, out: Path) -> None:
    """Configuration, weights, tokenizer and processor."""
    out.mkdir(parents=True, exist_ok=True)
    config = {
        **student.config.to_dict(),
        "architectures": ["Describer"],
        "model_type": "atelier_describer",
        "reader": sizes(),
        "torch_dtype": "float32",
    }
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for module, name in ((student.reader, READER), (student.language_model, SPEAKER)):
        save_file(packed(module.state_dict()), out / name, metadata={"format": "pt"})
        (out / name).chmod(0o644)  # safetensors lets nobody else read it
    cells = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2}
    area = {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE}
    images = Qwen2VLImageProcessor(**cells, **area, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))
    student.tokenizer.chat_template = CHAT_TEMPLATE
    videos = Qwen2VLVideoProcessor(**cells, **area)
    Qwen2_5_VLProcessor(images, student.tokenizer, videos, chat_template=CHAT_TEMPLATE).save_pretrained(out)
    images.save_pretrained(out)
    text = student.config.text_config
    GenerationConfig(
        do_sample=False, eos_token_id=text.eos_token_id, bos_token_id=text.bos_token_id, pad_token_id=student.padding
    ).save_pretrained(out)
