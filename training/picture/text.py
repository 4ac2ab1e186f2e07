"""What the picture model's text encoders learn before they meet a picture: to tell what a prompt asks for.

The encoders are those of the world of shapes (a T5 encoder for the sequence, a CLIP text model for the pooled vector)
with a larger vocabulary. From both encodings alike, heads that are thrown away afterwards tell the ground, the style,
how things stand to each other, and what, how big and where each thing is; or which change an instruction asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import PreTrainedTokenizerFast

from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.composer.edits import KINDS, Edit, instruction, random_edit
from training.composer.prompts import prompt
from training.composer.scene import GROUNDS, RELATIONS, Figure, Scene, Stock, random_scene
from training.image_text import WIDTH, TextEncoders, learn_tokenizer, tokenize
from training.loop import Check, Schedule, fit
from training.picture.world import MIX, SHARES, drawn_world
from training.processes import ahead
from training.world import COLOURS, PLACES, SHAPES

BATCH: Final = 64
_VOCABULARY: Final = 2560
_SEED: Final = 72
_INSTRUCTIONS: Final = 0.3
_LANGUAGE_SHARES: Final = (0.44, 0.28, 0.28)
_UNKNOWN: Final = 0.01
_STRANGE_WORD: Final = 0.08
_UNTOLD: Final = -100
_SIZES: Final = ("big", "small", None)
_SYLLABLES: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("zor", "bla", "quin", "vex", "mor", "tal", "ish", "gra", "un", "fel", "der", "op", "ly", "sta"),
    "ko": ("쀼", "랏", "즈", "켁", "폼", "뇨", "딥", "룩", "샴", "앵"),
    "ja": ("ゾグ", "ヴェ", "ぬる", "ピョ", "むぎゅ", "ラル", "キュポ", "ほげ", "謎", "妙"),
}


def wish_to_words(wanted: Scene | Edit, rng: np.random.Generator, language: Language | None = None) -> str:
    """What someone may have typed to get this scene or this change, in a random language unless one is given."""
    language = language or LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]
    said = prompt(wanted, rng, language) if isinstance(wanted, Scene) else instruction(wanted, rng, language)
    return _with_strange_word(said, rng, language) if rng.random() < _STRANGE_WORD else said


def _with_strange_word(said: str, rng: np.random.Generator, language: Language) -> str:
    """The text with a word that means nothing, where a word may stand."""
    word = "".join(rng.choice(list(_SYLLABLES[language]), int(rng.integers(2, 4))))
    if language == "ja":
        return word + said if rng.random() < 0.5 else f"{said}、{word}"
    words = said.split(" ")
    words.insert(int(rng.integers(len(words) + 1)), word)
    return " ".join(words)


def random_wish(rng: np.random.Generator, stock: Stock) -> Scene | Edit:
    """Something that a prompt may ask for."""
    return random_edit(rng, stock) if rng.random() < _INSTRUCTIONS else random_scene(rng, stock, MIX)


def train_tokenizer(stock: Stock) -> PreTrainedTokenizerFast:
    """The tokenizer of this world's prompts: every name of every thing, often enough, and many prompts."""
    rng = np.random.default_rng(_SEED)
    names = [n for subject in subjects().values() for language in LANGUAGES for n in subject.names[language]]
    return learn_tokenizer(
        [*names * 8, *(wish_to_words(random_wish(rng, stock), rng) for _ in range(60_000))], _VOCABULARY
    )


@cache
def classes() -> dict[str, int]:
    """A number, from 1, for everything that a figure can be; 0 is nothing."""
    return {name: number for number, name in enumerate((*SHAPES, *subjects()), 1)}


_FIGURE: Final = {"what": 0, "colour": len(COLOURS), "size": 3, "place": len(PLACES)}


@dataclass(frozen=True)
class _Slot:
    """One property of a wish, and how many answers it has."""

    name: str
    answers: int


@cache
def _slots() -> tuple[_Slot, ...]:
    figures = [
        _Slot(f"{part} {number}", count or len(classes()) + 1)
        for number in range(5)  # three figures of a scene, the target and the result of a change
        for part, count in _FIGURE.items()
    ]
    return (
        _Slot("ground", len(GROUNDS)),
        _Slot("design", len(SHARES)),
        _Slot("relation", len(RELATIONS) + 1),
        _Slot("count", 4),
        _Slot("kind", len(KINDS) + 1),
        *figures,
    )


def targets(wishes: list[Scene | Edit]) -> torch.Tensor:
    """The right answer to each slot, int64 [n, slots]; what is not told is left out of the loss."""
    rows = []
    for wish in wishes:
        scene = wish if isinstance(wish, Scene) else None
        ground = wish.ground if isinstance(wish, Scene) else wish.after.ground if wish.kind == "ground" else None
        row = [_UNTOLD if ground is None else GROUNDS.index(ground)]
        row.append(_UNTOLD if scene is None or not scene.figures else list(SHARES).index(scene.design))
        row.append(_UNTOLD if scene is None else 0 if scene.relation is None else 1 + RELATIONS.index(scene.relation))
        row.append(_UNTOLD if scene is None else scene.count)
        row.append(0 if isinstance(wish, Scene) else 1 + list(KINDS).index(wish.kind))
        if isinstance(wish, Scene):
            for number in range(3):
                row += _told(wish.figures[number], placed=True) if number < len(wish.figures) else [0, *[_UNTOLD] * 3]
            row += [_UNTOLD] * 8
        else:
            row += [_UNTOLD] * 12
            row += [_UNTOLD] * 4 if wish.target is None else _told(wish.target, placed=False)
            row += [_UNTOLD] * 4 if wish.result is None else _told(wish.result, placed=False)
        rows.append(row)
    return torch.tensor(rows)


def _told(figure: Figure, *, placed: bool) -> list[int]:
    colour = _UNTOLD if figure.colour is None else COLOURS.index(figure.colour)
    place = PLACES.index(figure.place) if placed else _UNTOLD
    return [classes()[figure.name], colour, _SIZES.index(figure.size) if placed else _UNTOLD, place]


class TextTask(nn.Module):
    """The encoders with the heads that ask them; the heads train and go."""

    def __init__(self, encoders: TextEncoders) -> None:
        super().__init__()
        count = len(_slots())
        self.encoders = encoders
        self.queries = nn.Parameter(torch.randn(count, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.pooled = nn.Linear(WIDTH, count * WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, slot.answers) for slot in _slots())

    def answers(self, ids: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits of every slot [n, answers], from the sequence and from the pooled vector."""
        sequence, pooled = self.encoders(ids)
        queries = self.queries.expand(len(ids), -1, -1)
        told = self.attention(queries, sequence, sequence)[0], self.pooled(pooled).unflatten(-1, (-1, WIDTH))
        heard = [[head(each[:, slot]).float() for slot, head in enumerate(self.heads)] for each in told]
        return heard[0], heard[1]

    def loss(self, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """How badly both encodings tell what was wished for, in nats, over what was said."""
        parts = []
        for heard in self.answers(ids):
            for slot, logits in enumerate(heard):
                wrong = F.cross_entropy(logits, wanted[:, slot], ignore_index=_UNTOLD, reduction="sum")
                parts.append(wrong / (wanted[:, slot] != _UNTOLD).sum().clamp(min=1))
        return torch.stack(parts).sum()


@torch.no_grad()
def understanding(task: TextTask, tokenizer: PreTrainedTokenizerFast, language: Language, count: int = 200) -> float:
    """The share of the things in fresh prompts of one language that the sequence tells rightly."""
    stock = drawn_world().stock
    rng = np.random.default_rng((_SEED, 1 << 40))
    scenes: list[Scene | Edit] = [random_scene(rng, stock, MIX) for _ in range(count)]
    ids = tokenize(tokenizer, [wish_to_words(scene, rng, language) for scene in scenes])
    heard, wanted = task.answers(ids.to(task.queries.device))[0], targets(scenes)
    right = []
    for slot, asked in enumerate(_slots()):
        if asked.name.startswith("what"):
            there = wanted[:, slot] > 0
            right.append((heard[slot].argmax(1).cpu() == wanted[:, slot])[there])
    return float(torch.cat(right).float().mean())


def train_text(
    task: TextTask, tokenizer: PreTrainedTokenizerFast, schedule: Schedule, batch: int = BATCH, workers: int = 0
) -> None:
    """Train in place (log: `.runs/picture/text`); so many processes make up prompts beside this one."""
    stock = drawn_world().stock
    device = task.queries.device

    def make(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((schedule.seed, step))
        wishes = [random_wish(rng, stock) for _ in range(batch)]
        ids = tokenize(tokenizer, [wish_to_words(wish, rng) for wish in wishes])
        forgotten = torch.from_numpy(rng.random(ids.shape) < _UNKNOWN) & (ids > 1)
        return ids.masked_fill(forgotten, tokenizer.unk_token_id), targets(wishes)

    made = ahead(make, workers)

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:  # noqa: ARG001
        ids, wanted = made(step)
        return task.loss(ids.to(device), wanted.to(device))

    def look(step: int) -> None:
        told = ", ".join(f"{language} {understanding(task, tokenizer, language):.0%}" for language in LANGUAGES)
        print(f"step {step}: things understood: {told}")

    fit("picture/text", task, loss_of, schedule, Check(500, look))
