"""The built-in describer: a small language model that reads what an EfficientNet sees (`models/sight.py`).

It knows drawings of things, words in them, and photographs of what ImageNet has classes for. The world of shapes it
leaves to those models that know it better: `kinds` says which pictures are of that world. It is a Qwen2.5-VL of
transformers with other eyes, so whatever runs one of these runs it (its training: `training/describer`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from models.checkpoints import local_folder
from models.errors import CheckpointError
from models.picture_kinds import PictureKind

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from models.engine import Engine
    from models.entry import ModelEntry

MODEL_TYPE: Final = "atelier_describer"
"""`model_type` in its config.json."""
READER: Final = "reader.safetensors"
SPEAKER: Final = "language_model.safetensors"
"""What finds and what speaks; they are taught one after the other."""
_OWN: Final = ("model_type", "reader")
"""Keys of its config.json that no Qwen2.5-VL has."""


def mismatch(config: Mapping[str, Any], engine: str) -> str | None:
    """Why the checkpoint of a config.json is no describer, for `Engine._mismatch`; `engine` is for what it is then."""
    kind = config.get("model_type")
    return None if kind == MODEL_TYPE else f"is a {kind} model, no {MODEL_TYPE}: write `engine: {engine}`"


def folder_of(checkpoint: str, engine: str) -> Path:
    """The folder of a describer; `engine` is for what transformers loads.

    Raises:
        CheckpointError: it is no describer; in one line, with what to write instead.
    """
    folder = local_folder(checkpoint)
    if folder is None:
        raise CheckpointError(
            f"a describer's checkpoint is a folder, not {checkpoint!r}; for one of the hub write `engine: {engine}`"
        )
    for name in (READER, SPEAKER):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{checkpoint!r} has no {name}: for a checkpoint of transformers write `engine: {engine}`"
            )
    return folder


def check_shapes(engine: type[Engine], entry: ModelEntry) -> None:
    """Refuse what cannot stand beside a describer: all of it is on disk, as the describer is.

    Raises:
        CheckpointError: in one line, which names the option.
    """
    if local_folder(entry.checkpoint) is None:
        raise CheckpointError(f"options.shapes: {entry.checkpoint!r} is no folder; allowed is one, or builtin:NAME")
    try:
        engine.check(entry)
    except CheckpointError as error:
        raise CheckpointError(f"options.shapes: {error}") from None


def open_describer(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model with its weights, on the CPU, and its processor."""
    from safetensors.torch import load_file
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from models.cells import load_trunk
    from models.packed import unpacked
    from models.sight import Eyes, Reader

    described: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    config = Qwen2_5_VLConfig(**{name: value for name, value in described.items() if name not in _OWN})
    config.vision_config.depth = 0  # its tower is not used
    config.tie_word_embeddings = True
    model = Qwen2_5_VLForConditionalGeneration(config)
    reader = Reader(config.text_config.hidden_size, **described["reader"])
    for module, name in ((reader, READER), (model.model.language_model, SPEAKER)):
        module.load_state_dict(unpacked(load_file(folder / name)))
    model.model.visual = Eyes(load_trunk(), reader)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval().to(dtype), _processor(folder, config)


def kinds(model: Any, pictures: Iterable[Image.Image]) -> list[PictureKind]:
    """Of which kind RGB pictures are, by what `open_describer` has opened."""
    import numpy as np
    import torch
    from PIL import Image

    from models.sight import SIDE

    eyes = model.model.visual
    found = []
    with torch.inference_mode():
        for picture in pictures:
            squeezed = np.array(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            pixels = torch.from_numpy(squeezed).to(model.device).permute(2, 0, 1)[None] / 127.5 - 1
            found.append(PictureKind(int(eyes.kinds(pixels))))
    return found


def _processor(folder: Path, config: Any) -> Any:
    """Part by part: as a whole, transformers would look for a model of that `model_type`, and warn."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor

    from models.sight import Squares

    return Qwen2_5_VLProcessor(
        image_processor=Squares.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder, config=config),
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=(folder / "chat_template.jinja").read_text("utf-8"),
    )
