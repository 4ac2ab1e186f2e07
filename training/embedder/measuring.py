"""What the embedder reaches: on drawings in designs that never trained, and on real photographs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from training.art.designs import designs_for
from training.art.subjects import NameLanguage, subjects
from training.captions import LANGUAGES
from training.embedder.gallery import open_gallery
from training.embedder.lexicon import Lexicon
from training.embedder.photographs import photographs
from training.embedder.prototypes import Prototypes
from training.evaluate import Row
from training.tower import features
from training.wordnet import WordNet

Pictures = Callable[[torch.Tensor], torch.Tensor]
"""Features [n, 1280] -> embeddings of length 1."""
Texts = Callable[[list[str]], torch.Tensor]
"""Texts -> embeddings of length 1."""


def of_nouns(prototypes: Prototypes, lexicon: Lexicon) -> Texts:
    """The texts of a tower that would know every word: each is the vector of its noun."""
    rows = {
        word.lower(): row
        for row, noun in reversed(list(enumerate(lexicon.nouns)))
        for words in noun.words.values()
        for word in words
    }
    return lambda said: prototypes.nouns()[[rows[text.lower()] for text in said]]


def _ranked(heard: torch.Tensor, seen: torch.Tensor) -> tuple[float, float]:
    """The shares of the texts whose own picture comes first, and in five."""
    likeness = heard @ seen.T
    ahead = (likeness > likeness.diag()[:, None]).sum(1)
    return float((ahead < 1).float().mean()), float((ahead < 5).float().mean())


@torch.inference_mode()
def evaluate(pictures: Pictures, texts: Texts, tower: nn.Module, wordnet: WordNet) -> list[Row]:
    """The embedder's lines of the table."""
    rows = []
    names = list(subjects().values())
    for design in designs_for("judge"):
        gallery = open_gallery(design, tower, scenes=0)
        chosen = torch.randperm(len(gallery.things), generator=torch.Generator().manual_seed(1))[:300]
        seen = pictures(gallery.drawn[chosen])
        for language in LANGUAGES:
            said = [names[int(thing)].names[language][0] for thing in gallery.things[chosen]]
            first, five = _ranked(texts(said), seen)
            rows.append(
                Row("embedder", f"drawing among {len(chosen)} in {design}, {language}", first, 0.8, len(chosen))
            )
            rows.append(Row("embedder", f"in five, {design}, {language}", five, 0.93, len(chosen)))
    stamps = photographs(wordnet)
    seen = pictures(features(tower, [stamp.picture() for stamp in stamps]))
    rows += _of_photographs(texts, [stamp.noun for stamp in stamps], seen, "en", (0.7, 0.85))
    by_name = {name: subject for subject in names for name in subject.names["en"]}
    for other in ("ko", "ja"):
        known = [i for i, stamp in enumerate(stamps) if stamp.noun in by_name]
        said = [by_name[stamps[i].noun].names[other][0] for i in known]
        rows += _of_photographs(texts, said, seen, other, (0.6, 0.75), known)
    return rows


def _of_photographs(
    texts: Texts,
    said: list[str],
    seen: torch.Tensor,
    language: NameLanguage,
    bars: tuple[float, float],
    own: list[int] | None = None,
) -> list[Row]:
    """Each text against all photographs; `own` says which is whose."""
    order = torch.tensor(own if own is not None else range(len(said)))
    likeness = texts(said) @ seen.T
    ahead = (likeness > likeness.gather(1, order[:, None])).sum(1)
    first, five = ((ahead < most).float().mean().item() for most in (1, 5))
    return [
        Row("embedder", f"photograph among {len(seen)}, {language}", first, bars[0], len(said)),
        Row("embedder", f"photograph in five, {language}", five, bars[1], len(said)),
    ]
