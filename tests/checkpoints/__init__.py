"""Tiny random checkpoints of the real classes, written the way the released ones are, for the engine tests.

Each `write_` function writes one into a folder; everything is made in code, so nothing is downloaded. Weights are
random but the same each time (seeded).
"""

from tests.checkpoints.captions import write_blip, write_blip2, write_open_clip
from tests.checkpoints.chats import write_gemma3, write_internvl, write_qwen2_5_vl, write_smolvlm
from tests.checkpoints.describers import write_describer
from tests.checkpoints.pictures import (
    write_flux,
    write_flux2_klein,
    write_flux2_klein_for_mlx,
    write_kontext,
    write_lora,
    write_qwen_image,
    write_qwen_image_edit,
    write_qwen_image_edit_plus,
    write_redux,
    write_sdxl,
    write_z_image,
)
from tests.checkpoints.speech_pocket import write_pocket_tts

__all__ = [
    "write_blip",
    "write_blip2",
    "write_describer",
    "write_flux",
    "write_flux2_klein",
    "write_flux2_klein_for_mlx",
    "write_gemma3",
    "write_internvl",
    "write_kontext",
    "write_lora",
    "write_open_clip",
    "write_pocket_tts",
    "write_qwen2_5_vl",
    "write_qwen_image",
    "write_qwen_image_edit",
    "write_qwen_image_edit_plus",
    "write_redux",
    "write_sdxl",
    "write_smolvlm",
    "write_z_image",
]
