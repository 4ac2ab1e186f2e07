"""Make the embedder of drawings and photographs: `python -m training.embedder`, after `python -m training.art`.

The picture tower stays as ImageNet made it. First a linear layer on it and a vector for each noun are found
(`prototypes.py`), on features that are computed once: of drawings, of scenes, and of photographs that were never taken.
The class vectors tell which way the features of a class lie, and drawings, how features of one thing scatter; a feature
with the direction of the one and the scatter of the other stands for a photograph. So no photograph is needed. Then a
text tower learns to say these vectors, and those of whole scenes, for what people type in seven languages.

What comes out is a folder that open_clip loads, and figures: drawings in designs that never trained, and real
photographs, which only test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from training import eyes
from training.art.fetch import ArtError
from training.art.subjects import subjects
from training.captions import LANGUAGES
from training.clip import encode_text, learn_tokenizer, write_folder
from training.composer.prompts import prompt
from training.embedder.gallery import Gallery
from training.embedder.lexicon import Lexicon, phrase
from training.embedder.material import Material
from training.embedder.measuring import evaluate, of_nouns
from training.embedder.prototypes import PrototypeLoss, Prototypes
from training.evaluate import as_table
from training.loop import RUNS, Schedule, fit
from training.tower import ARCHITECTURE, SIDE, load_tower
from training.wordnet import WordNet

FOLDER: Final = RUNS / "embedder"
DIM: Final = 512
_VOCABULARY: Final = 7000
_LONGEST: Final = 48
_EMA: Final = 0.995
_PHRASES: Final = 0.84
"""Share of a batch that is nouns in phrases; the rest are prompts of scenes."""
_OF_THINGS: Final = 0.5
"""Share of the phrases that are sure to be of things, which have names in seven languages."""
_SCALE: Final = 30.0


def model_cfg(vocab_size: int) -> dict[str, Any]:
    """open_clip's description of both towers."""
    return {
        "embed_dim": DIM,
        "vision_cfg": {
            "timm_model_name": ARCHITECTURE,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "timm_proj_bias": True,
            "image_size": SIDE,
        },
        "text_cfg": {
            "context_length": _LONGEST,
            "vocab_size": vocab_size,
            "hf_tokenizer_name": "local",
            "width": 192,
            "heads": 6,
            "layers": 3,
            "pool_type": "eos",
            "pad_id": 0,
            "eos_id": 2,
            "tokenizer_kwargs": {"clean": "whitespace"},
        },
    }


PREPROCESS_CFG: Final = {
    "size": [SIDE, SIDE],
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


class Embedder(nn.Module):
    """open_clip's model, of which the text tower learns."""

    def __init__(self, tower: nn.Module, layer: nn.Linear, vocab_size: int) -> None:
        super().__init__()
        described = model_cfg(vocab_size)
        described["text_cfg"].pop("tokenizer_kwargs")
        clip: Any = open_clip.CLIP(**described)
        clip.positional_embedding.data.copy_(eyes.sinusoids(*clip.positional_embedding.shape))
        clip.visual.trunk.load_state_dict(tower.state_dict())
        clip.visual.head.proj.load_state_dict(layer.state_dict())
        clip.visual.requires_grad_(requires_grad=False)
        clip.logit_scale.requires_grad_(requires_grad=False)
        self.clip = clip

    def pictures(self, given: torch.Tensor) -> torch.Tensor:
        """Features [n, 1280] -> embeddings [n, DIM] of length 1."""
        clip: Any = self.clip
        return functional.normalize(clip.visual.head(given).float(), dim=1)

    def texts(self, tokenizer: PreTrainedTokenizerFast, said: list[str]) -> torch.Tensor:
        """Embeddings [n, DIM] of length 1."""
        ids = tokenizer(said, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt").input_ids
        return functional.normalize(encode_text(self.clip, ids).float(), dim=1)


class TextLoss:
    """A phrase says the vector of its noun and no other's, a prompt that of its scene."""

    def __init__(
        self,
        model: Embedder,
        prototypes: Prototypes,
        material: Material,
        tokenizer: PreTrainedTokenizerFast,
        batch: int,
    ) -> None:
        self._model, self._lexicon, self._tokenizer = model, material.lexicon, tokenizer
        self._phrases = round(_PHRASES * batch)
        self._prompts = batch - self._phrases
        self._scenes = [scene for gallery in material.galleries for scene in gallery.scenes]
        with torch.no_grad():
            self._nouns = prototypes.nouns()
            self._seen = prototypes.pictures(torch.cat([gallery.seen for gallery in material.galleries]))

    def __call__(self, _step: int, rng: np.random.Generator) -> torch.Tensor:
        """The loss of a random batch."""
        nouns = np.where(
            rng.random(self._phrases) < _OF_THINGS,
            rng.integers(len(subjects()), size=self._phrases),
            rng.integers(len(self._lexicon.nouns), size=self._phrases),
        )
        scenes = rng.integers(len(self._scenes), size=self._prompts)
        phrases = [phrase(self._lexicon.nouns[each], rng) for each in nouns]
        prompts = [prompt(self._scenes[each], rng, LANGUAGES[int(rng.integers(len(LANGUAGES)))]) for each in scenes]
        # Apart, since the short ones would be padded to the length of the long ones.
        said, told = (self._model.texts(self._tokenizer, each) for each in (phrases, prompts))
        own = torch.from_numpy(nouns)
        astray = 1 - (said * self._nouns[own]).sum(1).mean()
        to_nouns = functional.cross_entropy(_SCALE * said @ self._nouns.T, own)
        to_scenes = functional.cross_entropy(_SCALE * told @ self._seen.T, torch.from_numpy(scenes))
        loss: torch.Tensor = _PHRASES * (to_nouns + 5 * astray) + (1 - _PHRASES) * to_scenes
        return loss


def train_tokenizer(lexicon: Lexicon, galleries: tuple[Gallery, ...]) -> PreTrainedTokenizerFast:
    """The tokenizer of nouns, phrases and prompts."""
    rng = np.random.default_rng(82)
    said = [phrase(noun, rng) for noun in lexicon.nouns for _ in range(6)]
    said += [word for noun in lexicon.nouns for words in noun.words.values() for word in words] * 3
    for gallery in galleries:
        said += [prompt(scene, rng, language) for scene in gallery.scenes for language in LANGUAGES]
    return learn_tokenizer(said, _VOCABULARY, min_frequency=3)


def main() -> None:
    """Compute features, train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000, help="of the text tower")
    parser.add_argument("--prototype-steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seconds", type=float, default=0, help="end after so much work, whatever the step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER / "model")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    try:
        wordnet = WordNet()
        tower, class_vectors = load_tower()
        material = Material.gather(tower, class_vectors, Lexicon.read(wordnet))
        kept = FOLDER / "tokenizer"
        if not kept.exists():
            train_tokenizer(material.lexicon, material.galleries).save_pretrained(kept)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(kept)
        prototypes = Prototypes(material, DIM)
        first = Schedule(steps=given.prototype_steps, lr=3e-4, warmup=50, ema=0.98, seed=82)
        fit("embedder/prototypes", prototypes, PrototypeLoss(prototypes, material, 2 * given.batch), first)
        print(as_table(evaluate(prototypes.pictures, of_nouns(prototypes, material.lexicon), tower, wordnet)))
        model = Embedder(tower, prototypes.layer, len(tokenizer))
        loss = TextLoss(model, prototypes, material, tokenizer, given.batch)
        schedule = Schedule(steps=given.steps, lr=given.lr, weight_decay=0.05, ema=_EMA, seed=83, seconds=given.seconds)
        fit("embedder/texts", model, loss, schedule)
        write_folder(model.clip, tokenizer, model_cfg(len(tokenizer)), PREPROCESS_CFG, given.out)
        print(as_table(evaluate(model.pictures, partial(model.texts, tokenizer), tower, wordnet)))
    except (ArtError, ModuleNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(f"training.embedder: {error}")


if __name__ == "__main__":
    main()
