"""Make the embedder of drawings and photographs: `python -m training.embedder`, after `python -m training.art`.

The picture tower stays as ImageNet made it; a linear layer on it and a text tower are learnt together, on features
that are computed once: of drawings, of scenes, and of photographs that were never taken. The class vectors tell which
way the features of a class lie, and drawings, how features of one thing scatter; a feature with the direction of the
one and the scatter of the other stands for a photograph. So no photograph is needed, and a step takes milliseconds.

What comes out is a folder that open_clip loads, and figures: drawings in designs that never trained, and real
photographs, which only test.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import open_clip
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from training import eyes
from training.art.designs import designs_for
from training.art.fetch import ArtError
from training.art.subjects import NameLanguage, subjects
from training.captions import LANGUAGES
from training.clip import contrastive_loss, encode_text, learn_tokenizer, write_folder
from training.composer.prompts import prompt
from training.embedder.gallery import Gallery, open_gallery
from training.embedder.lexicon import CLASSES, Lexicon, phrase
from training.embedder.photographs import photographs
from training.embedder.tower import ARCHITECTURE, SIDE, WIDTH, features, load_tower
from training.embedder.wordnet import WordNet
from training.evaluate import Row, as_table
from training.loop import RUNS, Schedule, fit

FOLDER: Final = RUNS / "embedder"
DIM: Final = 256
_VOCABULARY: Final = 7000
_LONGEST: Final = 48
_LIKENESS: Final = 0.3
"""How much of a photograph's feature, as a cosine, points where its class vector does; 0.25 in real ones, measured."""
_EMA: Final = 0.995
_MOSTLY: Final = (0.3, 0.14, 0.22, 0.34)
"""Shares of a batch: drawings and their names, scenes and a name, scenes and a prompt, photographs and nouns."""


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


@dataclass(frozen=True)
class Material:
    """What a batch is drawn from: features by what they show.

    Attributes:
        galleries: of the designs that may train what recognises.
        classes: float32 [1000, 1280], where the features of each class point, of length 1.
        photographed: the mean feature of photographs, float32 [1280].
        scatter: float32 [n, 1280], how far features of one thing lie from their mean.
        lexicon: the nouns.
    """

    galleries: tuple[Gallery, ...]
    classes: torch.Tensor
    photographed: torch.Tensor
    scatter: torch.Tensor
    lexicon: Lexicon

    @classmethod
    def gather(cls, tower: Any, class_vectors: torch.Tensor, lexicon: Lexicon) -> Material:
        """Compute or read everything."""
        galleries = tuple(open_gallery(design, tower) for design in designs_for("draw", "recognise"))
        drawn = torch.cat([gallery.drawn - gallery.drawn.mean(0) for gallery in galleries])
        things = torch.cat([gallery.things for gallery in galleries])
        count = torch.zeros(len(subjects())).index_add(0, things, torch.ones(len(things)))
        sums = torch.zeros(len(subjects()), WIDTH).index_add(0, things, drawn)
        scatter = drawn - (sums / count.clamp(min=1)[:, None])[things]
        # Before its last rectifier a feature has the mean and spread that batch norm gave it.
        norm = tower.bn2
        before = norm.bias + norm.weight.abs() * torch.randn(4000, WIDTH)
        photographed = before.clamp(0, 6).mean(0).detach()
        directions = functional.normalize(class_vectors - class_vectors.mean(0), dim=1)
        return cls(galleries, directions, photographed, scatter, lexicon)

    def photographs(self, classes: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Features like those of photographs of these classes, float32 [n, 1280]."""
        noise = self.scatter[torch.from_numpy(rng.integers(len(self.scatter), size=(2, len(classes))))].sum(0)
        noise = functional.normalize(noise, dim=1)
        likeness = torch.from_numpy(rng.uniform(0.7, 1.4, (len(classes), 1))).float() * _LIKENESS
        towards = likeness * self.classes[classes] + (1 - likeness**2).sqrt() * noise
        length = torch.from_numpy(rng.uniform(9, 16, (len(classes), 1))).float()
        return self.photographed + length * towards


class Embedder(nn.Module):
    """open_clip's model; only what is on top of the picture tower learns."""

    def __init__(self, tower: nn.Module, vocab_size: int) -> None:
        super().__init__()
        described = model_cfg(vocab_size)
        described["text_cfg"].pop("tokenizer_kwargs")
        clip: Any = open_clip.CLIP(**described)
        clip.positional_embedding.data.copy_(eyes.sinusoids(*clip.positional_embedding.shape))
        clip.visual.trunk.load_state_dict(tower.state_dict())
        clip.visual.trunk.requires_grad_(requires_grad=False)
        self.clip = clip

    def begin_with(self, material: Material) -> None:
        """Let the linear layer keep the directions in which classes and drawings differ most."""
        drawn = torch.cat([gallery.drawn for gallery in material.galleries])
        middle = (drawn.mean(0) + material.photographed) / 2
        apart = functional.normalize(drawn - drawn.mean(0), dim=1)
        chosen = torch.cat([material.classes, apart[torch.randperm(len(apart))[:1000]]])
        directions = torch.linalg.svd(chosen, full_matrices=False).Vh[:DIM]
        layer: Any = self.clip
        layer = layer.visual.head.proj
        with torch.no_grad():
            layer.weight.copy_(directions)
            layer.bias.copy_(-directions @ middle)

    def pictures(self, given: torch.Tensor) -> torch.Tensor:
        """Features [n, 1280] -> embeddings [n, 256] of length 1."""
        clip: Any = self.clip
        return functional.normalize(clip.visual.head(given).float(), dim=1)

    def texts(self, tokenizer: PreTrainedTokenizerFast, said: list[str]) -> torch.Tensor:
        """Embeddings [n, 256] of length 1."""
        ids = tokenizer(said, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt").input_ids
        return functional.normalize(encode_text(self.clip, ids).float(), dim=1)

    def train(self, mode: bool = True) -> Embedder:
        """As usual, but the tower's statistics stay."""
        super().train(mode)
        clip: Any = self.clip
        clip.visual.trunk.eval()
        return self


class Losses:
    """The loss of a step."""

    def __init__(self, model: Embedder, material: Material, tokenizer: PreTrainedTokenizerFast, batch: int) -> None:
        self._model, self._material, self._tokenizer = model, material, tokenizer
        counts = [round(share * batch) for share in _MOSTLY]
        self._drawn, self._single, self._prompted, self._photographed = counts

    def __call__(self, _step: int, rng: np.random.Generator) -> torch.Tensor:
        """Contrastive loss of a random batch, where a text may fit several pictures."""
        texts: list[str] = []
        nouns: list[int] = []
        shown: list[int] = []  # what each picture is of; -1 for scenes of several things
        pictures: list[torch.Tensor] = []
        lexicon, galleries = self._material.lexicon, self._material.galleries
        for number in range(self._drawn + self._single + self._prompted):
            gallery = galleries[int(rng.integers(len(galleries)))]
            if number < self._drawn:
                row = int(rng.integers(len(gallery.things)))
                thing = int(gallery.things[row])
                pictures.append(gallery.drawn[row])
            else:
                row, thing = self._scene(gallery, rng, single=number < self._drawn + self._single)
                pictures.append(gallery.seen[row])
            shown.append(-1 if thing < 0 else CLASSES + thing)
            if number < self._drawn + self._single:
                texts.append(phrase(lexicon.nouns[thing], rng))
                nouns.append(thing)
            else:
                texts.append(prompt(gallery.scenes[row], rng, LANGUAGES[int(rng.integers(len(LANGUAGES)))]))
                nouns.append(-1)
        classes = torch.from_numpy(rng.integers(CLASSES, size=self._photographed))
        pictures += list(self._material.photographs(classes, rng))
        for each in classes.tolist():
            fitting = lexicon.table[:, each].nonzero().flatten()
            # Narrow nouns as often as wide ones: first how wide, then which.
            noun = int(fitting[int(rng.integers(len(fitting)))])
            texts.append(phrase(lexicon.nouns[noun], rng))
            nouns.append(noun)
            shown.append(each)
        seen = self._model.pictures(torch.stack(pictures))
        heard = self._model.texts(self._tokenizer, texts)
        clip: Any = self._model.clip
        scale = clip.logit_scale.clamp(max=math.log(60)).exp()
        with torch.autocast("cpu", enabled=False):  # bfloat16 has too few digits for the logits
            return contrastive_loss(scale * heard @ seen.T, self._fitting(nouns, shown))

    def _scene(self, gallery: Gallery, rng: np.random.Generator, *, single: bool) -> tuple[int, int]:
        """A scene's number, and what it is of: a thing where it is to show one alone."""
        while True:
            row = int(rng.integers(len(gallery.scenes)))
            figures = gallery.scenes[row].figures
            if not single:
                return row, -1
            if len(figures) == 1 and not figures[0].is_shape:
                return row, list(subjects()).index(figures[0].name)

    def _fitting(self, nouns: list[int], shown: list[int]) -> torch.Tensor:
        fits = torch.eye(len(nouns), dtype=torch.bool)
        said = [i for i, noun in enumerate(nouns) if noun >= 0]
        of_one = [i for i, what in enumerate(shown) if what >= 0]
        table = self._material.lexicon.table
        known = table[torch.tensor([nouns[i] for i in said])][:, torch.tensor([shown[i] for i in of_one])]
        fits[torch.tensor(said)[:, None], torch.tensor(of_one)] |= known
        return fits


def train_tokenizer(lexicon: Lexicon, galleries: tuple[Gallery, ...]) -> PreTrainedTokenizerFast:
    """The tokenizer of nouns, phrases and prompts."""
    rng = np.random.default_rng(82)
    said = [phrase(noun, rng) for noun in lexicon.nouns for _ in range(6)]
    said += [word for noun in lexicon.nouns for words in noun.words.values() for word in words] * 3
    for gallery in galleries:
        said += [prompt(scene, rng, language) for scene in gallery.scenes for language in LANGUAGES]
    return learn_tokenizer(said, _VOCABULARY, min_frequency=3)


def _ranked(heard: torch.Tensor, seen: torch.Tensor) -> tuple[float, float]:
    """The shares of the texts whose own picture comes first, and in five."""
    likeness = heard @ seen.T
    ahead = (likeness > likeness.diag()[:, None]).sum(1)
    return float((ahead < 1).float().mean()), float((ahead < 5).float().mean())


@torch.inference_mode()
def evaluate(model: Embedder, tokenizer: PreTrainedTokenizerFast, tower: nn.Module, wordnet: WordNet) -> list[Row]:
    """The embedder's lines of the table."""
    rows = []
    names = list(subjects().values())
    for design in designs_for("judge"):
        gallery = open_gallery(design, tower, scenes=0)
        chosen = torch.randperm(len(gallery.things), generator=torch.Generator().manual_seed(1))[:300]
        seen = model.pictures(gallery.drawn[chosen])
        for language in LANGUAGES:
            said = [names[int(thing)].names[language][0] for thing in gallery.things[chosen]]
            first, five = _ranked(model.texts(tokenizer, said), seen)
            rows.append(
                Row("embedder", f"drawing among {len(chosen)} in {design}, {language}", first, 0.8, len(chosen))
            )
            rows.append(Row("embedder", f"in five, {design}, {language}", five, 0.93, len(chosen)))
    stamps = photographs(wordnet)
    seen = model.pictures(features(tower, [stamp.picture() for stamp in stamps]))
    rows += _of_photographs(model, tokenizer, [stamp.noun for stamp in stamps], seen, "en", (0.7, 0.85))
    by_name = {name: subject for subject in names for name in subject.names["en"]}
    for other in ("ko", "ja"):
        known = [i for i, stamp in enumerate(stamps) if stamp.noun in by_name]
        said = [by_name[stamps[i].noun].names[other][0] for i in known]
        rows += _of_photographs(model, tokenizer, said, seen, other, (0.6, 0.75), known)
    return rows


def _of_photographs(
    model: Embedder,
    tokenizer: PreTrainedTokenizerFast,
    said: list[str],
    seen: torch.Tensor,
    language: NameLanguage,
    bars: tuple[float, float],
    own: list[int] | None = None,
) -> list[Row]:
    """Each text against all photographs; `own` says which is whose."""
    order = torch.tensor(own if own is not None else range(len(said)))
    likeness = model.texts(tokenizer, said) @ seen.T
    ahead = (likeness > likeness.gather(1, order[:, None])).sum(1)
    first, five = ((ahead < most).float().mean().item() for most in (1, 5))
    return [
        Row("embedder", f"photograph among {len(seen)}, {language}", first, bars[0], len(said)),
        Row("embedder", f"photograph in five, {language}", five, bars[1], len(said)),
    ]


def main() -> None:
    """Compute features, train, save, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
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
        model = Embedder(tower, len(tokenizer))
        model.begin_with(material)
        schedule = Schedule(steps=given.steps, lr=given.lr, weight_decay=0.05, ema=_EMA, seed=83, seconds=given.seconds)
        fit("embedder", model, Losses(model, material, tokenizer, given.batch), schedule)
        write_folder(model.clip, tokenizer, model_cfg(len(tokenizer)), PREPROCESS_CFG, given.out)
        print(as_table(evaluate(model, tokenizer, tower, wordnet)))
    except (ArtError, ModuleNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(f"training.embedder: {error}")


if __name__ == "__main__":
    main()
