"""The built-in CLIP: one space for scenes and what is said of them in three languages.

`python -m training.clip`, after `python -m training.eyes`.

An open_clip model in open_clip's own folder format. Besides the contrastive loss, heads that are thrown away
afterwards say what an answer must know anyway: what lies in each image patch (see `eyes`), and, from both embeddings
alike, what is at each of the five places. They bring a model this small to its goal in a fraction of the steps that
the contrastive loss alone would need.
"""

# ruff: noqa: S106 - what it takes for passwords are tokens of text
from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from training import eyes
from training.captions import LANGUAGES, Language, caption, full_caption
from training.gallery import ATTRIBUTE_CLASSES, Gallery, attribute_loss, open_gallery
from training.loop import RUNS, Schedule, fit
from training.queries import Claim, query
from training.world import SIDE, Scene, random_scene

FOLDER: Final = Path(__file__).parent.parent / "models" / "builtin" / "clip"
_SPECIAL: Final = ("<pad>", "<start>", "<end>", "<unknown>")
_PAD, _START, _END = 0, 1, 2
_SHARES: Final = (0.44, 0.28, 0.28)
"""How often each of `LANGUAGES` is spoken in training."""


def model_cfg(vocab_size: int) -> dict[str, Any]:
    """open_clip's description of both towers."""
    return {
        "embed_dim": 256,
        "vision_cfg": {
            "image_size": SIDE,
            "patch_size": eyes.PATCH,
            "width": eyes.WIDTH,
            "layers": eyes.LAYERS,
            "head_width": eyes.HEAD_WIDTH,
            "no_ln_pre": True,
        },
        "text_cfg": {
            "context_length": 80,
            "vocab_size": vocab_size,
            "hf_tokenizer_name": "local",
            "width": 128,
            "heads": 4,
            "layers": 3,
            "pool_type": "eos",
            "pad_id": _PAD,
            "eos_id": _END,
            "tokenizer_kwargs": {"clean": "whitespace"},
        },
    }


PREPROCESS_CFG: Final = {
    "size": [64, 64],
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def train_tokenizer(vocab_size: int = 1600, captions: int = 60_000) -> PreTrainedTokenizerFast:
    """The tokenizer of this world's captions."""
    rng = np.random.default_rng(7)
    said = []
    for _ in range(captions):
        scene, language = random_scene(rng, word=0.03), LANGUAGES[rng.choice(3, p=_SHARES)]
        said.append(caption(scene, rng, language))
    return learn_tokenizer(said, vocab_size)


def learn_tokenizer(said: list[str], vocab_size: int, min_frequency: int = 30) -> PreTrainedTokenizerFast:
    """A BPE of the words that are said, lower case; letters that none of them has are spelled in bytes."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
            # Japanese has no spaces: without cuts at its particles and adjective endings BPE would learn whole phrases.
            pre_tokenizers.Split(Regex("[のにがとをはいな]"), "isolated"),
        ]
    )
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizer
    alphabet = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    learner.train_from_iterator(
        said,
        trainers.BpeTrainer(
            vocab_size=vocab_size, min_frequency=min_frequency, initial_alphabet=alphabet, show_progress=False
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    pieces = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unknown>", byte_fallback=True))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", _START), ("<end>", _END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        unk_token="<unknown>",
        model_max_length=80,
        padding_side="right",
    )


class TrainedClip(nn.Module):
    """The model that stays and the heads that do not."""

    def __init__(self, clip: nn.Module, embed_dim: int) -> None:
        super().__init__()
        self.clip = clip
        self.heads = eyes.Heads()
        self.attributes = nn.Linear(embed_dim, sum(ATTRIBUTE_CLASSES))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [batch, 256] of texts."""
        return encode_text(self.clip, ids)


def encode_text(clip: Any, ids: torch.Tensor) -> torch.Tensor:
    """Embeddings [batch, width]: `encode_text` without the padding that no text of the batch needs."""
    length = ids.shape[1]
    hidden = clip.token_embedding(ids) + clip.positional_embedding[:length]
    hidden = clip.ln_final(clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length]))
    end = (ids == _END).int().argmax(1)
    pooled: torch.Tensor = hidden[torch.arange(len(ids)), end] @ clip.text_projection
    return pooled


@dataclass(frozen=True)
class Said:
    """A text of a scene.

    Attributes:
        text: the words.
        full: whether they name everything in the scene.
        claim: what they claim, if they are a query that other scenes may answer as well.
    """

    text: str
    full: bool
    claim: Claim | None = None


def said_of(scene: Scene, rng: np.random.Generator) -> Said:
    """A full caption (half of all), a looser one or a query, in some language."""
    language: Language = LANGUAGES[rng.choice(3, p=_SHARES)]
    kind = rng.random()
    if kind < 0.5 or not scene.things:
        return Said(full_caption(scene, rng, language), full=True)
    if kind < 0.7:
        return Said(caption(scene, rng, language), full=False)
    text, claim = query(scene, rng, language)
    return Said(text, full=False, claim=claim)


def fitting(said: list[Said], attributes: torch.Tensor) -> torch.Tensor:
    """Which text is true of which scene of the batch: bool [texts, scenes]; caption i of scene i alone."""
    fits = torch.eye(len(said), dtype=torch.bool)
    for i, one in enumerate(said):
        if one.claim is not None:
            fits[i] = one.claim.true_of(attributes)
    return fits


def contrastive_loss(logits: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """CLIP's loss where a text may fit several images; logits and `fits` [texts, images].

    Each text shares its probability between the images that it fits. An image asks for the texts that were made for
    it; other texts that fit it are left out of its choice.
    """
    targets = fits.float() / fits.sum(1, keepdim=True)
    to_images = functional.cross_entropy(logits, targets)
    own = torch.eye(len(logits), dtype=torch.bool)
    to_texts = functional.cross_entropy(logits.masked_fill(fits & ~own, -1e4).T, torch.arange(len(logits)))
    return (to_images + to_texts) / 2


class Losses:
    """The loss of a step, drawn from a gallery."""

    def __init__(self, model: TrainedClip, gallery: Gallery, tokenizer: PreTrainedTokenizerFast, batch: int) -> None:
        self._model, self._gallery, self._tokenizer, self._batch = model, gallery, tokenizer, batch

    def __call__(self, _step: int, rng: np.random.Generator) -> torch.Tensor:
        """Contrastive, attribute and sight losses of a random batch."""
        chosen = rng.choice(len(self._gallery.scenes), self._batch, replace=False)
        said = [said_of(self._gallery.scenes[i], rng) for i in chosen]
        encoded = self._tokenizer(
            [one.text for one in said], padding=True, truncation=True, max_length=80, return_tensors="pt"
        )
        full = torch.tensor([one.full for one in said])
        pixels = eyes.worn(self._gallery.images(chosen), rng)
        classes = self._gallery.attributes(chosen)
        model: Any = self._model
        whole, patches = eyes.look(model.clip.visual, pixels)
        seen = whole @ model.clip.visual.proj
        heard = model.text(encoded["input_ids"])
        with torch.autocast("cpu", enabled=False):  # bfloat16 has too few digits for the logits
            seen, heard = functional.normalize(seen.float(), dim=1), functional.normalize(heard.float(), dim=1)
            scale = model.clip.logit_scale.clamp(max=math.log(60)).exp()
            contrastive = contrastive_loss(scale * heard @ seen.T, fitting(said, classes))
            by_place = attribute_loss(model.attributes(16 * seen), classes)
            by_words = attribute_loss(model.attributes(16 * heard[full]), classes[full])
        by_sight: torch.Tensor = model.heads.loss(whole, patches, self._gallery, chosen)
        return contrastive + 2 * by_place + 2 * by_words + by_sight


def build(vocab_size: int) -> TrainedClip:
    """An untrained model with its heads."""
    cfg = model_cfg(vocab_size)
    cfg["text_cfg"].pop("tokenizer_kwargs")
    clip: Any = open_clip.CLIP(**cfg)
    clip.positional_embedding.data.copy_(eyes.sinusoids(*clip.positional_embedding.shape))
    return TrainedClip(clip, cfg["embed_dim"])


def save(clip: nn.Module, tokenizer: PreTrainedTokenizerFast, folder: Path = FOLDER) -> None:
    """Write the model's folder."""
    write_folder(clip, tokenizer, model_cfg(len(tokenizer)), PREPROCESS_CFG, folder)


def write_folder(
    clip: nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    described: dict[str, Any],
    preprocess: dict[str, Any],
    folder: Path,
) -> None:
    """Write the folder that `open_clip.create_model_and_transforms("local-dir:...")` reads; weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.detach().half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in clip.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": described, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for where_from in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(where_from, None)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=650)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--scenes", type=int, default=40_000, help="pictures drawn once and shown again and again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="clip", help="the run's folder under .runs/")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    kept = RUNS / given.name / "tokenizer"
    if not kept.exists():
        train_tokenizer().save_pretrained(kept)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(kept)
    model = build(len(tokenizer))
    visual: Any = model.clip.visual
    begun = torch.load(eyes.KEPT, weights_only=True)
    visual.load_state_dict(begun["tower"])
    model.heads.load_state_dict(begun["heads"])
    schedule = Schedule(steps=given.steps, lr=given.lr, warmup=100, weight_decay=0.05, ema=0.995)
    fit(given.name, model, Losses(model, open_gallery(given.scenes), tokenizer, given.batch), schedule)
    save(model.clip, tokenizer, given.out)


if __name__ == "__main__":
    main()
