"""The built-in BLIP: says in one English phrase what a scene shows.

`python -m training.blip`, after `python -m training.eyes`.

A `BlipForConditionalGeneration` with its `BlipProcessor`, as transformers writes them. As in the released BLIP, text
begins with [DEC] and ends with [SEP], and the tokenizer is BERT's WordPiece; it keeps capitals, so that a caller's
prefix comes back as it was. Of a word in the scene BLIP says that it is there: reading takes the larger vision-language
model. Training also continues lead-ins ("a photo of ..."), whose own words count for nothing in the loss, so that a
caller's prefix is continued and none is made up without one.
"""

# ruff: noqa: S106 - what it takes for passwords are tokens of text
from __future__ import annotations

import argparse
import re
import string
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

from training import eyes
from training.captions import LANGUAGES, LEAD_INS, canonical_caption, caption
from training.gallery import Gallery, open_gallery
from training.loop import RUNS, Schedule, fit
from training.world import SIDE, Scene, random_scene

FOLDER: Final = Path(__file__).parent.parent / "models" / "builtin" / "blip"
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
_PAD, _SEP, _DEC = 0, 3, 5
_WIDTH: Final = eyes.WIDTH
_LONGEST: Final = 64
_PREFIXES: Final = (
    *LEAD_INS, "this is", "there is", "I see", "the picture shows", "the image shows", "this picture shows", "photo of",
    "picture of", "in this picture there is", "a close-up of", "a painting of", "a simple drawing of", "the image of",
)  # fmt: skip


def written_caption(scene: Scene) -> str:
    """The canonical caption; of a word it says that it is there, not what it reads."""
    return re.sub(r'the (word|number) "\w+"', r"a \1", canonical_caption(scene))


def train_tokenizer(vocab_size: int = 1000, captions: int = 30_000) -> BertTokenizer:
    """WordPiece of the words of the captions; capital letters and digits one by one, Korean and Japanese too."""
    rng = np.random.default_rng(8)
    said = [*_PREFIXES, *(prefix.capitalize() for prefix in _PREFIXES)] * 100
    for i in range(captions):
        scene = random_scene(rng, word=0.05)
        said += [canonical_caption(scene), caption(scene, rng, LANGUAGES[i % 3])]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation],
        show_progress=False,
    )
    learner.train_from_iterator(said, trainer)
    learned = learner.get_vocab()
    pieces = sorted(learned, key=lambda piece: learned[piece])
    pieces += [f"##{letter}" for letter in string.ascii_letters + string.digits if f"##{letter}" not in learned]
    return BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        do_lower_case=False,
        strip_accents=False,
        bos_token="[DEC]",
        model_max_length=_LONGEST,
    )


def build(vocab_size: int) -> BlipForConditionalGeneration:
    """An untrained model."""
    text = {
        "vocab_size": vocab_size,
        "hidden_size": _WIDTH,
        "encoder_hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "projection_dim": _WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 2 * _LONGEST,
        "bos_token_id": _DEC,
        "eos_token_id": _SEP,
        "sep_token_id": _SEP,
        "pad_token_id": _PAD,
        "is_decoder": True,
    }
    vision = {
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "projection_dim": _WIDTH,
        "num_hidden_layers": eyes.LAYERS,
        "num_attention_heads": eyes.WIDTH // eyes.HEAD_WIDTH,
        "image_size": SIDE,
        "patch_size": eyes.PATCH,
        "initializer_range": 0.02,
    }
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=_WIDTH, image_text_hidden_size=_WIDTH)
    blip: Any = BlipForConditionalGeneration(config)
    positions = blip.text_decoder.bert.embeddings.position_embeddings.weight
    positions.data.copy_(eyes.sinusoids(*positions.shape))
    return blip


def renamed(tower: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An open_clip vision tower's weights under the names of `BlipVisionModel`."""
    weights = {
        "embeddings.class_embedding": tower["class_embedding"].view(1, 1, -1),
        "embeddings.patch_embedding.weight": tower["conv1.weight"],
        "embeddings.patch_embedding.bias": torch.zeros(_WIDTH),
        "embeddings.position_embedding": tower["positional_embedding"].unsqueeze(0),
        "post_layernorm.weight": tower["ln_post.weight"],
        "post_layernorm.bias": tower["ln_post.bias"],
    }
    for layer in range(eyes.LAYERS):
        theirs, ours = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            weights[f"{ours}.self_attn.qkv.{kind}"] = tower[f"{theirs}.attn.in_proj_{kind}"]
            weights[f"{ours}.self_attn.projection.{kind}"] = tower[f"{theirs}.attn.out_proj.{kind}"]
            weights[f"{ours}.layer_norm1.{kind}"] = tower[f"{theirs}.ln_1.{kind}"]
            weights[f"{ours}.layer_norm2.{kind}"] = tower[f"{theirs}.ln_2.{kind}"]
            weights[f"{ours}.mlp.fc1.{kind}"] = tower[f"{theirs}.mlp.c_fc.{kind}"]
            weights[f"{ours}.mlp.fc2.{kind}"] = tower[f"{theirs}.mlp.c_proj.{kind}"]
    return weights


class TrainedBlip(nn.Module):
    """The model that stays and the heads that do not."""

    def __init__(self, blip: BlipForConditionalGeneration) -> None:
        super().__init__()
        self.blip = blip
        self.heads = eyes.Heads()


class Losses:
    """The loss of a step, drawn from a gallery."""

    def __init__(self, model: TrainedBlip, gallery: Gallery, tokenizer: BertTokenizer, batch: int) -> None:
        self._model, self._gallery, self._tokenizer, self._batch = model, gallery, tokenizer, batch

    def _written(self, scene: Scene, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Token ids of [DEC] prefix caption [SEP], and the labels, -100 where the prefix is."""
        prefix: list[int] = []
        if rng.random() < 0.4:
            words = _PREFIXES[int(rng.integers(len(_PREFIXES)))]
            words = words[0].upper() + words[1:] if rng.random() < 0.4 else words
            prefix = self._tokenizer.encode(words, add_special_tokens=False)
        told = [*self._tokenizer.encode(written_caption(scene), add_special_tokens=False), _SEP]
        return [_DEC, *prefix, *told], [-100] * (1 + len(prefix)) + told

    def __call__(self, _step: int, rng: np.random.Generator) -> torch.Tensor:
        """Next-token and sight losses of a random batch."""
        chosen = rng.choice(len(self._gallery.scenes), self._batch, replace=False)
        written = [self._written(self._gallery.scenes[i], rng) for i in chosen]
        longest = max(len(ids) for ids, _ in written)
        ids = torch.tensor([row + [_PAD] * (longest - len(row)) for row, _ in written])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for _, row in written])
        pixels = eyes.worn(self._gallery.images(chosen), rng)
        model: Any = self._model
        # No attention mask: padding comes last, where a causal decoder does not look.
        output = model.blip(pixel_values=pixels, input_ids=ids)
        seen = output.image_embeds
        spoken = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        by_sight: torch.Tensor = model.heads.loss(seen[:, 0], seen[:, 1:], self._gallery, chosen)
        return spoken + by_sight


def save(blip: BlipForConditionalGeneration, tokenizer: BertTokenizer, folder: Path = FOLDER) -> None:
    """Write model and processor; weights in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    half = build(len(tokenizer)).half()
    half.load_state_dict(blip.state_dict())
    half.save_pretrained(folder)
    for where_from in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(where_from, None)
    grey = [0.5, 0.5, 0.5]
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=grey, image_std=grey)
    BlipProcessor(images, tokenizer).save_pretrained(folder)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--scenes", type=int, default=40_000, help="pictures drawn once and shown again and again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="blip", help="the run's folder under .runs/")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    kept = RUNS / given.name / "tokenizer"
    if not kept.exists():
        train_tokenizer().save_pretrained(kept)
    tokenizer = BertTokenizer.from_pretrained(kept)
    model = TrainedBlip(build(len(tokenizer)))
    begun = torch.load(eyes.KEPT, weights_only=True)
    model.blip.vision_model.load_state_dict(renamed(begun["tower"]))
    model.heads.load_state_dict(begun["heads"])
    schedule = Schedule(steps=given.steps, lr=given.lr, warmup=100, weight_decay=0.05, ema=0.995)
    fit(given.name, model, Losses(model, open_gallery(given.scenes), tokenizer, given.batch), schedule)
    save(model.blip, tokenizer, given.out)


if __name__ == "__main__":
    main()
