"""Which models a machine is given: one table, from which every serve_config*.yaml is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

CPU: Final = "cpu"


@dataclass(frozen=True)
class Fit:
    """What a model takes of a machine, and how it is made to: `memory` in bytes, `gpus` as a share of one GPU."""

    memory: int | None = None
    gpus: float | None = None
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Model:
    """An entry of `models:`.

    `why` says above it what it is for, how large, and under which licence. `fits` is by machine (`gpu:24`), or by its
    kind (`gpu`); `also` are more aliases of the same entry. `settings` and `options` are lines of YAML.
    """

    alias: str
    engine: str
    checkpoint: str
    fits: Mapping[str, Fit]
    why: str = ""
    also: tuple[str, ...] = ()
    settings: Sequence[str] = ()
    options: Sequence[str] = ()
    on_machine: Mapping[str, str] = field(default_factory=dict)
    """A line of YAML that a kind of machine needs besides."""

    def fit(self, machine: str) -> Fit | None:
        """What it takes of a machine; None where it is not for that."""
        return self.fits.get(machine) or self.fits.get(machine.partition(":")[0])


@dataclass(frozen=True)
class Omni:
    """An entry of `models:` that is made of others: a chat that draws and speaks."""

    alias: str
    chat: str
    image: str
    voice: str


OMNI: Final = {
    CPU: Omni("atelier", "vlm-fast", "image-gen", "voice"),
    "gpu": Omni("atelier", "vlm-fast", "klein", "voice"),
    "mac": Omni("atelier", "vlm-fast", "klein", "voice"),
}
"""By kind of machine; the first of its models."""


def _all(fit: Fit) -> Mapping[str, Fit]:
    return MappingProxyType({CPU: fit, "gpu": fit, "mac": fit})


def _shares(of_24: float, of_48: float, of_80: float, nf4: str) -> Mapping[str, Fit]:
    """Of a GPU of 24 GB quantised to 4 bits by the option `nf4`, of larger ones in bfloat16."""
    found = {"gpu:24": Fit(gpus=of_24, options=(nf4,)), "gpu:48": Fit(gpus=of_48), "gpu:80": Fit(gpus=of_80)}
    return MappingProxyType(found)


_NF4: Final = "loading: {quantization: nf4}"
_NF4_BOTH: Final = "loading: {quantization: nf4, quantized: [transformer, text_encoder]}"
_LARGE: Final = "max_pixels: 10485760}"

TABLE: Final[tuple[Model, ...]] = (
    Model(
        "image-gen",
        "diffusion",
        "builtin:image",
        {CPU: Fit(1_000_000_000)},
        settings=(
            "threads: 1  # the built-in models are too small to share between threads",
            "image: {width: 128, height: 128, steps: 12, guidance: 2.0}",
        ),
        options=(
            "guidance_argument: true_cfg_scale",
            "call: {max_sequence_length: 40}",
            "native_pixels: 16384",
            "variations: edit",
            "pipelines: {edit: FluxKontextPipeline}",
            "max_batch: 4",
        ),
    ),
    Model(
        "klein",
        "diffusion",
        "black-forest-labs/FLUX.2-klein-4B",
        _shares(0.4, 0.45, 0.3, _NF4_BOTH),
        """\
FLUX.2 klein: words, instructions about several pictures, masks and strength, all in 4 steps. Transformer
4 billion and text encoder 4 billion: 16 GB in bfloat16, 5 GB in nf4.""",
        settings=(f"image: {{width: 1024, height: 1024, steps: 4, guidance: 1.0, {_LARGE}",),
    ),
    Model(
        "klein",
        "diffusion_mlx",
        "black-forest-labs/FLUX.2-klein-4B",
        {
            "mac:16": Fit(7_500_000_000, options=("bits: 4", "vae_tiling: true")),
            "mac:32": Fit(12_000_000_000, options=("bits: 8", "vae_tiling: true")),
            "mac:64": Fit(19_000_000_000, options=("vae_tiling: true",)),
        },
        """\
FLUX.2 klein: words, instructions about several pictures, masks and strength, all in 4 steps. Transformer
3.9 billion, and of the text encoder the 3.1 billion that are read: 7.4 GB in 8 bits with their scales, 3.9 GB
in 4, 14.0 GB in 16 without `bits`. The autoencoder 0.2 GB; its work on 1024x1024 pixels 5 GB, in tiles 1.4,
and 2 where it reads a picture of 1.5 million pixels; the libraries 0.7 GB.""",
        settings=("image: {width: 1024, height: 1024, steps: 4, guidance: 1.0, max_pixels: 1572864}",),
    ),
    Model(
        "z-image",
        "diffusion",
        "Tongyi-MAI/Z-Image-Turbo",
        _shares(0.4, 0.55, 0.35, _NF4_BOTH),
        "Z-Image Turbo: 9 steps without guidance. 6 billion + 4 billion: 20 GB in bfloat16, 6 GB in nf4.",
        settings=(f"image: {{width: 1024, height: 1024, steps: 9, guidance: 0.0, {_LARGE}",),
    ),
    Model(
        "schnell",
        "diffusion",
        "black-forest-labs/FLUX.1-schnell",
        _shares(0.65, 0.85, 0.5, _NF4),
        "FLUX.1: transformer 12 billion + T5 4.7 billion: 34 GB in bfloat16, 10 GB in nf4. (licence)",
        settings=(f"image: {{width: 1024, height: 1024, steps: 4, guidance: 0.0, {_LARGE}",),
        options=("call: {max_sequence_length: 256}  # longer prompts are not for schnell",),
    ),
    Model(
        "dev",
        "diffusion",
        "black-forest-labs/FLUX.1-dev",
        _shares(0.7, 0.85, 0.55, _NF4),
        "With Redux (0.5 billion, 1 GB) for variations. (licence, also of Redux)",
        settings=(f"image: {{width: 1024, height: 1024, steps: 28, guidance: 3.5, {_LARGE}",),
        options=("redux: black-forest-labs/FLUX.1-Redux-dev",),
    ),
    Model(
        "kontext",
        "diffusion",
        "black-forest-labs/FLUX.1-Kontext-dev",
        _shares(0.65, 0.85, 0.5, _NF4),
        "Follows an instruction about one picture. (licence)",
        settings=(f"image: {{width: 1024, height: 1024, steps: 28, guidance: 2.5, {_LARGE}",),
    ),
    Model(
        "sdxl-turbo",
        "diffusion",
        "stabilityai/sdxl-turbo",
        {"mac": Fit(8_000_000_000)},
        "By torch's MPS: 3.5 billion in all, 2 bytes each. Its licence asks for an agreement before commercial use.",
        settings=("device: mps", "image: {width: 512, height: 512, steps: 4, guidance: 0.0, max_pixels: 4194304}"),
        options=("max_batch: 1", "loading: {variant: fp16}"),
    ),
    Model(
        "vlm-fast",
        "vlm_mixture",
        "builtin:describer",
        {CPU: Fit(1_000_000_000), "gpu": Fit(1_000_000_000)},
        also=("vlm-best", "gemma", "intern_vlm"),
        settings=("threads: 1",),
        on_machine={"gpu": "device: cpu"},
    ),
    Model(
        "vlm-fast",
        "vlm_mlx",
        "mlx-community/Qwen2.5-VL-7B-Instruct-4bit",
        {"mac": Fit(7_000_000_000)},
        "8 billion in 4 bits, its picture tower in 16.",
        options=("processor: {max_pixels: 1003520}  # 1280 tokens a picture",),
    ),
    Model(
        "moondream",
        "vlm_mlx",
        "vikhyatk/moondream2",
        {"mac": Fit(5_000_000_000)},
        "2 billion in 16 bits: one question about one picture at a time.",
    ),
    Model(
        "blip",
        "captioner_mixture",
        "builtin:describer",
        _all(Fit(1_000_000_000)),
        also=("blip2",),
        settings=("threads: 1", "max_ongoing: 32  # pictures of so many requests share a run of the model"),
        on_machine={"gpu": "device: cpu", "mac": "device: cpu"},
    ),
    Model("clip", "clip_mixture", "builtin:finder", {CPU: Fit(900_000_000)}, settings=("threads: 1",)),
    Model(
        "clip",
        "clip",
        "timm/ViT-B-16-SigLIP2-256",
        {"gpu": Fit(gpus=0.05), "mac": Fit(1_500_000_000)},
        """\
Finds pictures by words in a hundred languages. 375 million: 0.8 GB in bfloat16. Pictures that another model
embedded are embedded again in the background, and found by the old one until then.""",
    ),
    Model("voice", "kokoro_onnx", "builtin:voice", {CPU: Fit(400_000_000)}),
    Model(
        "voice",
        "qwen_tts",
        "Qwen/Qwen3-TTS-12Hz-1.7B-Base",
        {"gpu:24": Fit(gpus=0.25), "gpu:48": Fit(gpus=0.15), "gpu:80": Fit(gpus=0.1)},
        """\
Qwen3-TTS: clones a voice from some seconds of it, in ten languages. 1.9 billion in bfloat16 and a codec of
0.2 billion in float32: 4.5 GB; half of it for Qwen/Qwen3-TTS-12Hz-0.6B-Base. The start installs its packages.""",
    ),
    Model(
        "voice",
        "mlx_audio",
        "mlx-community/Qwen3-TTS-12Hz-0.6B-Base-bf16",
        {"mac": Fit(3_000_000_000)},
        """\
Qwen3-TTS: clones a voice from some seconds of it, in ten languages. 0.9 billion in 16 bits, its codec in 32;
mlx-community/Qwen3-TTS-12Hz-1.7B-Base-bf16 is the larger one.""",
    ),
    Model(
        "listen",
        "moonshine",
        "builtin:listen",
        {CPU: Fit(500_000_000), "gpu": Fit(500_000_000)},
        "Moonshine tiny, English only: 27 million in 8 bits.",
        settings=("licence: MIT",),
    ),
    Model(
        "listen",
        "asr_mlx",
        "mlx-community/whisper-large-v3-turbo-asr-fp16",
        {"mac": Fit(2_500_000_000)},
        "Whisper turbo: a hundred languages. 0.8 billion in 16 bits: 1.6 GB.",
    ),
)

MACHINES: Final = (CPU, "gpu:24", "gpu:48", "gpu:80", "mac:16", "mac:32", "mac:64")
"""A GPU by its memory, a Mac by its own, in GB."""

FILES: Final[Mapping[str, str]] = MappingProxyType(
    {CPU: "serve_config.yaml", "gpu:24": "serve_config.gpu.yaml", "mac:32": "serve_config.mac.yaml"}
)
"""The files of the repository, and the machine that each is for."""
