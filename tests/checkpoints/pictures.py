"""Picture models of each family: every pipeline is written whole, as its release is laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.checkpoints.chats import qwen2_5_vl
from tests.checkpoints.words import CHATML, SMALL, clip_tokenizer, qwen_tokenizer, t5_tokenizer


def _seeded() -> None:
    import torch

    torch.manual_seed(0)


def _vae(latent_channels: int = 4, **more: Any) -> Any:
    """An AutoencoderKL that makes two pixels of each latent."""
    from diffusers import AutoencoderKL

    return _sure(AutoencoderKL(**_vae_sizes(latent_channels), **more))


def _vae_sizes(latent_channels: int) -> dict[str, Any]:
    return {
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "latent_channels": latent_channels,
        "norm_num_groups": 2,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }


def _sure(vae: Any) -> Any:
    """The autoencoder, made as sure of its latents as a trained one is: a picture has the same ones each time."""
    import torch

    last = vae.encoder.conv_out if vae.quant_conv is None else vae.quant_conv
    with torch.no_grad():
        _, log_variance = last.weight.chunk(2)
        log_variance.zero_()
        last.bias.chunk(2)[1].fill_(-12.0)
    return vae


def _loud(transformer: Any, times: float) -> Any:
    """The transformer with larger weights: fresh ones of this kind hardly hear the words."""
    import torch

    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.ndim > 1:
                weight.mul_(times)
    return transformer


def _flux_vae(latent_channels: int) -> Any:
    plain = {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.0609, "scaling_factor": 1.5035}
    return _vae(latent_channels, sample_size=32, **plain)


def _flow_scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _clip_text(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        **{**SMALL, "num_attention_heads": 4},
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _qwen3(tokenizer: Any, **more: Any) -> Any:
    from transformers import Qwen3Config

    sizes = {**SMALL, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512, **more}
    return Qwen3Config(vocab_size=len(tokenizer), **sizes)


def write_flux(
    folder: Path, guidance_embeds: bool = False, pipeline: str = "FluxPipeline", reader_width: int = 32
) -> None:
    """A FLUX.1 of 64x64 pictures and more; `pipeline` is the class that its index names.

    `reader_width` is that of the T5.
    """
    import diffusers
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    _seeded()
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    sizes = {"d_model": reader_width, "d_kv": reader_width // 4, "d_ff": 2 * reader_width}
    t5 = T5Config(vocab_size=len(tokenizer_2), **sizes, num_heads=4, num_layers=2)
    getattr(diffusers, pipeline)(
        scheduler=_flow_scheduler(),
        vae=_flux_vae(4),
        text_encoder=CLIPTextModel(_clip_text(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=reader_width,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ),
    ).save_pretrained(folder)


def write_kontext(folder: Path) -> None:
    """A FLUX.1 Kontext: guidance-distilled, and it follows instructions about a picture."""
    write_flux(folder, guidance_embeds=True, pipeline="FluxKontextPipeline")


def write_redux(folder: Path) -> None:
    """A FluxPriorReduxPipeline for `write_flux`, without text encoders, as the released one is used."""
    from diffusers import FluxPriorReduxPipeline
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    _seeded()
    FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=32, patch_size=8)),
        feature_extractor=SiglipImageProcessor(size={"height": 32, "width": 32}),
        image_embedder=ReduxImageEncoder(redux_dim=32, txt_in_features=32),
    ).save_pretrained(folder)


def write_lora(folder: Path, write: Callable[[Path], None], seed: int = 1) -> Path:
    """A LoRA for the pipeline that `write` writes, as one file, as diffusers' trainers save it; loud enough to be seen.

    It acts on the attention of the transformer, or for SDXL on that of the U-Net and of both text encoders.
    """
    import diffusers

    write(folder / "of")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder / "of")
    denoiser, reader = ["to_q", "to_k", "to_v", "to_out.0"], ["q_proj", "k_proj", "v_proj", "out_proj"]
    parts = {"transformer": denoiser}
    if hasattr(pipeline, "unet"):
        parts = {"unet": denoiser, "text_encoder": reader, "text_encoder_2": reader}
    layers = {f"{part}_lora_layers": _adapter(getattr(pipeline, part), parts[part], seed) for part in parts}
    type(pipeline).save_lora_weights(folder, **layers)
    return folder / "pytorch_lora_weights.safetensors"


def _adapter(module: Any, targets: list[str], seed: int) -> dict[str, Any]:
    """Random weights for some layers of a module, under the names of released files."""
    import torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    module.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets))
    weights = get_peft_model_state_dict(module)
    if "transformer" not in type(module).__name__.lower():
        weights = convert_state_dict_to_diffusers(weights)
    generator = torch.Generator().manual_seed(seed)
    return {
        # transformers 5 calls a CLIP's layers otherwise than the files that were made before
        f"text_model.{name}" if name.startswith("encoder.") else name: torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
    }


def write_flux2_klein(folder: Path, is_distilled: bool = False) -> None:
    """A FLUX.2 klein: a Qwen3 of which three layers are read, latents normalised by a batch norm."""
    from diffusers import AutoencoderKLFlux2

    _seeded()
    vae = AutoencoderKLFlux2(**_vae_sizes(4), sample_size=32)
    _write_flux2_klein(folder, _sure(vae), _flow_scheduler(), is_distilled, 32, 37, 1)


def write_flux2_klein_for_mlx(folder: Path, is_distilled: bool = True, channels: tuple[int, ...] = (32,) * 4) -> None:
    """A FLUX.2 klein with what mlx-vlm takes for given: noise levels and latents as the released one has them.

    `channels` are those of the autoencoder. What is quantised has sizes that are multiples of 64.
    """
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler

    _seeded()
    vae = _sure(AutoencoderKLFlux2(block_out_channels=channels))
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(2)  # fresh ones make everything grey
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    _write_flux2_klein(folder, vae.to(torch.bfloat16), scheduler, is_distilled, 64, 128, 2)


def _write_flux2_klein(
    folder: Path, vae: Any, scheduler: Any, is_distilled: bool, width: int, intermediate: int, loudness: float
) -> None:
    import torch
    from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
    from transformers import Qwen3ForCausalLM

    tokenizer = qwen_tokenizer(CHATML)
    torch.nn.init.uniform_(vae.bn.running_mean, -0.5, 0.5)  # the plain 0 and 1 of a fresh one would hide mistakes
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2.0)
    # layers 9, 18 and 27 are read
    text = _qwen3(tokenizer, num_hidden_layers=28, hidden_size=width, intermediate_size=intermediate)
    Flux2KleinPipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=tokenizer,
        transformer=_loud(
            Flux2Transformer2DModel(
                in_channels=4 * vae.config.latent_channels,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=width // 2,
                num_attention_heads=2,
                joint_attention_dim=3 * width,
                axes_dims_rope=(width // 8,) * 4,
                guidance_embeds=False,
            ),
            loudness,
        ),
        is_distilled=is_distilled,
    ).save_pretrained(folder)


def write_z_image(folder: Path) -> None:
    """A ZImagePipeline with a Qwen3 text encoder."""
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model

    _seeded()
    tokenizer = qwen_tokenizer(CHATML)
    ZImagePipeline(
        scheduler=_flow_scheduler(),
        vae=_flux_vae(16),
        text_encoder=Qwen3Model(_qwen3(tokenizer)),
        tokenizer=tokenizer,
        transformer=ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[8, 4, 4],
            axes_lens=[512, 128, 128],
        ),
    ).save_pretrained(folder)


def write_qwen_image(folder: Path) -> None:
    """A QwenImagePipeline: a chat model reads the prompt, the autoencoder is one of videos."""
    _write_qwen_image(folder, "QwenImagePipeline", halvings=3)


def write_qwen_image_edit(folder: Path) -> None:
    """A QwenImageEditPipeline."""
    _write_qwen_image(folder, "QwenImageEditPipeline", halvings=5)


def write_qwen_image_edit_plus(folder: Path) -> None:
    """A QwenImageEditPlusPipeline, which looks at several pictures."""
    _write_qwen_image(folder, "QwenImageEditPlusPipeline", halvings=5)


def _write_qwen_image(folder: Path, pipeline: str, halvings: int) -> None:
    """`halvings`: how often the autoencoder halves a side. The edit pipelines read every picture at a megapixel, so
    theirs halves more often than the released 3 times, with fewer layers: the tests' time is spent there.
    """
    import diffusers

    _seeded()
    text_encoder, processor = qwen2_5_vl()
    parts = {"processor": processor} if "Edit" in pipeline else {}
    getattr(diffusers, pipeline)(
        scheduler=_flow_scheduler(),
        vae=_sure(
            diffusers.AutoencoderKLQwenImage(
                base_dim=4,
                dim_mult=[1] * (halvings + 1),
                num_res_blocks=0 if "Edit" in pipeline else 1,
                temperal_downsample=[False] + [True] * (halvings - 1),
            )
        ),
        text_encoder=text_encoder,
        tokenizer=processor.tokenizer,
        transformer=_loud(
            diffusers.QwenImageTransformer2DModel(
                in_channels=64,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                axes_dims_rope=(4, 6, 6),
            ),
            times=4 if "Edit" in pipeline else 2,
        ),
        **parts,
    ).save_pretrained(folder)


def write_sdxl(folder: Path) -> None:
    """A StableDiffusionXLPipeline: a U-Net, two CLIP text encoders and classifier-free guidance."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    _seeded()
    tokenizer = clip_tokenizer()
    text = _clip_text(tokenizer)
    StableDiffusionXLPipeline(
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        vae=_vae(sample_size=64),
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            sample_size=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=1,
            projection_class_embeddings_input_dim=8 * 6 + 32,
            cross_attention_dim=64,
            norm_num_groups=1,
        ),
        add_watermarker=False,
    ).save_pretrained(folder)
