"""What the parts of a run use, imported as far as it otherwise would be only at its first use."""
# ruff: noqa: E402, F401 - imported to be there

from models.quantizers import leave_out_unused

leave_out_unused((), ("torchao", "scipy"))  # no tiny checkpoint needs the others

import open_clip
import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    Flux2KleinPipeline,
    FluxPipeline,
    QwenImagePipeline,
    ZImagePipeline,
)
from transformers import (
    AutoModelForImageTextToText,
    CLIPTextModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3ForCausalLM,
    T5EncoderModel,
)
