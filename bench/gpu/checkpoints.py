"""Checkpoints with random weights, in the real sizes or in tiny ones, laid out as the released ones are.

Sizes are those of the released configurations. Tokenizers are the tests' own, which know few words: a prompt has more
tokens than with the real ones, and the vocabularies of the models are the real ones all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.checkpoints.words import CHATML, IMAGE_CHATML, clip_tokenizer, qwen_tokenizer, t5_tokenizer

Sizes = Mapping[str, Any]
_WITH_WEIGHTS = ("text_encoder", "vae", "transformer")
_VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True)
class Pipeline:
    """A diffusers checkpoint: each component is made when it is written, and let go of."""

    name: str
    components: dict[str, Callable[[], Any]]
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, device: str) -> None:
        """Write it in bfloat16; weights are drawn on `device`, one component at a time."""
        classes = {}
        for name, make in self.components.items():
            made = drawn(make, device)
            made.save_pretrained(folder / name)
            classes[name] = type(made)
            del made
        self._write_index(folder, classes)

    def outline(self, folder: Path) -> None:
        """Write what names the components, and nothing else."""
        self._write_index(folder, {name: type(drawn(make, "meta")) for name, make in self.components.items()})

    def _write_index(self, folder: Path, classes: Mapping[str, type]) -> None:
        import diffusers

        index: dict[str, Any] = {
            "_class_name": self.name,
            "_diffusers_version": diffusers.__version__,
            **self.settings,
        }
        for name, cls in classes.items():
            index[name] = [cls.__module__.split(".")[0], cls.__name__]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_index.json").write_text(json.dumps(index, indent=1))

    def made(self, device: str) -> Any:
        """The pipeline in memory, as it would be once it had been written and loaded."""
        import diffusers
        import torch

        components = {}
        for name, make in self.components.items():
            components[name] = drawn(make, device) if name.startswith(_WITH_WEIGHTS) else make()
            if isinstance(components[name], torch.nn.Module):
                components[name].eval()
        return getattr(diffusers, self.name)(**components, **self.settings)


def drawn(make: Callable[[], Any], device: str) -> Any:
    """What `make` makes, its weights in bfloat16 and drawn on `device`."""
    import torch

    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return make()
    finally:
        torch.set_default_dtype(before)


def flux(tiny: bool, *, is_dev: bool) -> Pipeline:
    """FLUX.1: dev is distilled for guidance and shifts its noise levels by the picture's size, schnell does neither."""
    from diffusers import FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    clip, t5 = clip_tokenizer(), t5_tokenizer()
    width = 32 if tiny else 4096
    transformer: Sizes = {
        "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
        "num_attention_heads": 24, "pooled_projection_dim": 768, "axes_dims_rope": (16, 56, 56),
    }  # fmt: skip
    reader: Sizes = {
        "d_model": width,
        "d_kv": 64,
        "d_ff": 10240,
        "num_heads": 64,
        "num_layers": 24,
        "vocab_size": 32128,
    }
    pooled: Sizes = {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "vocab_size": 49408, "projection_dim": 768,
    }  # fmt: skip
    if tiny:
        transformer = {
            "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
            "num_attention_heads": 2, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
        }  # fmt: skip
        reader = {"d_model": width, "d_kv": 8, "d_ff": 64, "num_heads": 4, "num_layers": 2, "vocab_size": len(t5)}
        pooled = {**_small(4), "vocab_size": len(clip), "projection_dim": 32}
    ends = {name: getattr(clip, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return Pipeline(
        "FluxPipeline",
        {
            "scheduler": lambda: _flow_scheduler(shift=3.0 if is_dev else 1.0, use_dynamic_shifting=is_dev),
            "tokenizer": lambda: clip,
            "tokenizer_2": lambda: t5,
            "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**pooled, **ends, hidden_act="quick_gelu")),
            "text_encoder_2": lambda: T5EncoderModel(T5Config(**reader, feed_forward_proj="gated-gelu")),
            "vae": lambda: _flux_vae(tiny, 4 if tiny else 16),
            "transformer": lambda: FluxTransformer2DModel(
                **transformer, joint_attention_dim=width, guidance_embeds=is_dev
            ),
        },
    )


def klein(tiny: bool) -> Pipeline:
    """FLUX.2 klein 4B, distilled to 4 steps."""
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen3ForCausalLM

    tokenizer = qwen_tokenizer(CHATML)
    channels, width, heads, axis = (4, 32, 2, 4) if tiny else (32, 2560, 24, 32)
    autoencoder = {**_vae_sizes(tiny, channels), "sample_size": 1024}
    # layers 9, 18 and 27 of the text encoder are read
    layers = {"num_hidden_layers": 28} if tiny else {}
    return Pipeline(
        "Flux2KleinPipeline",
        {
            "scheduler": lambda: _flow_scheduler(shift=3.0, use_dynamic_shifting=True),
            "tokenizer": lambda: tokenizer,
            "text_encoder": lambda: Qwen3ForCausalLM(_qwen3(tiny, tokenizer, **layers)),
            "vae": lambda: AutoencoderKLFlux2(**autoencoder),
            "transformer": lambda: Flux2Transformer2DModel(
                in_channels=4 * channels,
                num_layers=1 if tiny else 5,
                num_single_layers=1 if tiny else 20,
                attention_head_dim=4 * axis,
                num_attention_heads=heads,
                joint_attention_dim=3 * width,
                axes_dims_rope=(axis,) * 4,
                guidance_embeds=False,
            ),
        },
        {"is_distilled": True},
    )


def z_image(tiny: bool) -> Pipeline:
    """Z-Image Turbo."""
    from diffusers import ZImageTransformer2DModel
    from transformers import Qwen3Model

    tokenizer = qwen_tokenizer(CHATML)
    transformer: Sizes = {"cap_feat_dim": 2560, "axes_lens": [1536, 512, 512]}
    if tiny:
        transformer = {
            "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 32,
            "axes_dims": [8, 4, 4], "axes_lens": [512, 128, 128],
        }  # fmt: skip
    return Pipeline(
        "ZImagePipeline",
        {
            "scheduler": lambda: _flow_scheduler(shift=3.0),
            "tokenizer": lambda: tokenizer,
            "text_encoder": lambda: Qwen3Model(_qwen3(tiny, tokenizer)),
            "vae": lambda: _flux_vae(tiny, 16),
            "transformer": lambda: ZImageTransformer2DModel(**transformer),
        },
    )


def qwen_image(tiny: bool) -> Pipeline:
    """Qwen-Image: a chat model reads the prompt, the autoencoder is one of videos."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    model, processor = qwen_vl(tiny)
    transformer: Sizes = {"guidance_embeds": False}
    autoencoder: Sizes = {}
    if tiny:
        transformer = {
            "in_channels": 64, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
            "joint_attention_dim": 32, "axes_dims_rope": (4, 6, 6),
        }  # fmt: skip
        autoencoder = {"base_dim": 4, "dim_mult": [1] * 4, "num_res_blocks": 1}
    shifting = {
        "use_dynamic_shifting": True, "time_shift_type": "exponential", "base_image_seq_len": 256,
        "max_image_seq_len": 8192, "base_shift": 0.5, "max_shift": 0.9, "shift_terminal": 0.02,
    }  # fmt: skip
    return Pipeline(
        "QwenImagePipeline",
        {
            "scheduler": lambda: _flow_scheduler(**shifting),
            "tokenizer": lambda: processor.tokenizer,
            "text_encoder": model,
            "vae": lambda: AutoencoderKLQwenImage(**autoencoder),
            "transformer": lambda: QwenImageTransformer2DModel(**transformer),
        },
    )


def qwen_vl(tiny: bool) -> tuple[Callable[[], Any], Any]:
    """Qwen2.5-VL 7B, yet to be made, and its processor."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    template = IMAGE_CHATML % "<|vision_start|><|image_pad|><|vision_end|>"
    tokenizer = qwen_tokenizer(template, _VISION)
    start, _, image, video = tokenizer.convert_tokens_to_ids(list(_VISION))
    text: Sizes = {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128_000,
    }  # fmt: skip
    vision: Sizes = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    sections = [16, 24, 24]
    if tiny:
        text = {**_small(2), "vocab_size": len(tokenizer), "num_key_value_heads": 2, "max_position_embeddings": 2048}
        vision = {
            "depth": 2, "hidden_size": 32, "intermediate_size": 37, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        }  # fmt: skip
        sections = [2, 3, 3]
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    config = Qwen2_5_VLConfig(
        text_config={**text, **ends, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        tie_word_embeddings=False,
    )

    def make() -> Any:
        model = Qwen2_5_VLForConditionalGeneration(config)
        model.generation_config.update(eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id)
        return model

    pixels = {"min_pixels": 28 * 28, "max_pixels": (4 if tiny else 1280) * 28 * 28}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**pixels),
        chat_template=template,
    )
    return make, processor


def size_of(folder: Path) -> int:
    """Bytes of a checkpoint's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _small(heads: int) -> dict[str, Any]:
    return {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": heads}


def _qwen3(tiny: bool, tokenizer: Any, **more: Any) -> Any:
    """Qwen3 4B, which reads the prompts of klein and Z-Image."""
    from transformers import Qwen3Config

    sizes: dict[str, Any] = {
        "vocab_size": 151_936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40_960,
    }  # fmt: skip
    if tiny:
        sizes = {**_small(2), "vocab_size": len(tokenizer), "num_key_value_heads": 2, "head_dim": 16}
    return Qwen3Config(**{**sizes, "tie_word_embeddings": True, **more})


def _flux_vae(tiny: bool, latent_channels: int) -> Any:
    from diffusers import AutoencoderKL

    factors = {"shift_factor": 0.1159, "scaling_factor": 0.3611, "use_quant_conv": False, "use_post_quant_conv": False}
    return AutoencoderKL(**_vae_sizes(tiny, latent_channels), sample_size=1024, **factors)


def _vae_sizes(tiny: bool, latent_channels: int) -> dict[str, Any]:
    channels = (8, 8) if tiny else (128, 256, 512, 512)
    return {
        "block_out_channels": channels,
        "layers_per_block": 1 if tiny else 2,
        "latent_channels": latent_channels,
        "norm_num_groups": 2 if tiny else 32,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
    }


def _flow_scheduler(**settings: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**settings)
