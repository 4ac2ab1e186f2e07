"""How the picture model learns to read: prompts in three languages, and the wishes that they mean.

No picture is seen here. What is told to the transformer is a wish, so that a prompt in any language and wording that is
read rightly draws as well as another.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import PreTrainedTokenizerFast

from models.image.painter import FIELDS, Reading, Telling, WishConfig, WishEncoder
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.composer.edits import Edit, instruction, random_edit
from training.composer.prompts import prompt
from training.composer.scene import Mix, Scene, Stock, random_scene
from training.image_text import learn_tokenizer, look_near, tokenize
from training.loop import Check, Schedule, fit
from training.picture.wishes import wish_of
from training.picture.world import MIX, drawn_world
from training.processes import ahead

BATCH: Final = 384
"""Large, since Muon's rate is high: 1,000 steps of so many tell more than 5,000 of 64."""
_VOCABULARY: Final = 2560
_SEED: Final = 72
_INSTRUCTIONS: Final = 0.3
_LANGUAGE_SHARES: Final = (0.44, 0.28, 0.28)
_FORGOTTEN: Final = 0.01
_SILENT: Final = 0.01
"""How many prompts are empty; and how many are of nothing but strange words, which are to be some painted ground."""
_EMPTY: Final = Mix(figures=(1.0, 0.0, 0.0, 0.0))
_STRANGE_WORDS: Final = (0.85, 0.11, 0.04)
"""How likely a prompt has none, one or two of them."""
_SYLLABLES: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("zor", "bla", "quin", "vex", "mor", "tal", "ish", "gra", "un", "fel", "der", "op", "ly", "sta"),
    "ko": ("쀼", "랏", "즈", "켁", "폼", "뇨", "딥", "룩", "샴", "앵"),
    "ja": ("ゾグ", "ヴェ", "ぬる", "ピョ", "むぎゅ", "ラル", "キュポ", "ほげ", "謎", "妙"),
}
_UNKNOWN: Final = Path(__file__).parent / "unknown"
"""What people write in Korean and Japanese that cannot be drawn here; English has WordNet."""


def wish_to_words(
    wanted: Scene | Edit, rng: np.random.Generator, language: Language | None = None, unknown: tuple[str, ...] = ()
) -> str:
    """What someone may have typed to get this scene or this change, in a random language unless one is given.

    Some have a word or two that mean nothing that can be drawn here: made up, or in English one of the `unknown` ones.
    """
    language = language or LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]
    said = prompt(wanted, rng, language) if isinstance(wanted, Scene) else instruction(wanted, rng, language)
    for _ in range(int(rng.choice(3, p=_STRANGE_WORDS))):
        said = _with_strange_word(said, rng, language, unknown)
    return said


def _strange_words(rng: np.random.Generator, unknown: tuple[str, ...]) -> str:
    """A prompt in which nothing can be drawn."""
    language = LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]
    words = [_strange_word(rng, language, unknown) for _ in range(int(rng.integers(1, 6)))]
    return ("" if language == "ja" else " ").join(words)


def _strange_word(rng: np.random.Generator, language: Language, unknown: tuple[str, ...]) -> str:
    usual = unknown if language == "en" else _unknown_words_of(language)
    if usual and rng.random() < 0.7:
        return usual[int(rng.integers(len(usual)))]
    return "".join(rng.choice(list(_SYLLABLES[language]), int(rng.integers(2, 4))))


def _with_strange_word(said: str, rng: np.random.Generator, language: Language, unknown: tuple[str, ...]) -> str:
    """The text with a word that means nothing, where a word may stand."""
    word = _strange_word(rng, language, unknown)
    if language == "ja":
        return word + said if rng.random() < 0.5 else f"{said}、{word}"
    words = said.split(" ")
    words.insert(int(rng.integers(len(words) + 1)), word)
    return " ".join(words)


@cache
def _unknown_words_of(language: Language) -> tuple[str, ...]:
    return tuple((_UNKNOWN / f"{language}.txt").read_text("utf-8").split("\n")[:-1])


def unknown_words(stock: Stock, usual: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the usual words that prompts never have."""
    rng = np.random.default_rng(_SEED)
    known = {name for subject in subjects().values() for name in " ".join(subject.names["en"]).lower().split()}
    for _ in range(20_000):
        for said in (prompt(random_scene(rng, stock, MIX), rng, "en"), instruction(random_edit(rng, stock), rng, "en")):
            known |= set(re.findall("[a-z]+", said.lower()))
    return tuple(word for word in usual if word not in known and word.removesuffix("s") not in known)


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


def build_encoder(config: WishConfig) -> WishEncoder:
    """2.1 M parameters, more than half of them the vectors of drawings."""
    encoder = WishEncoder(config)
    look_near(encoder)
    encoder.reading, encoder.telling = Reading(config), Telling(config)  # with the spread that torch gives them
    return encoder


def reading_loss(encoder: WishEncoder, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How badly prompts [n, length] are read as the wishes int64 [n, fields] that they mean, in nats of all fields."""
    heard = encoder.answers(ids)
    return torch.stack([F.cross_entropy(logits, wanted[:, field]) for field, logits in enumerate(heard)]).sum()


@torch.no_grad()
def understanding(
    encoder: WishEncoder, tokenizer: PreTrainedTokenizerFast, language: Language, count: int = 300
) -> float:
    """The share of the things in fresh prompts of one language that are read rightly, at their place in the order."""
    stock = drawn_world().stock
    rng = np.random.default_rng((_SEED, 1 << 40))
    scenes: list[Scene | Edit] = [random_scene(rng, stock, MIX) for _ in range(count)]
    ids = tokenize(tokenizer, [wish_to_words(scene, rng, language) for scene in scenes])
    heard, wanted = encoder.wishes(ids.to(encoder.device)).cpu(), torch.tensor([wish_of(scene) for scene in scenes])
    right = []
    for field, name in enumerate(FIELDS):
        if name.startswith("what"):
            there = wanted[:, field] > 0
            right.append((heard[:, field] == wanted[:, field])[there])
    return float(torch.cat(right).float().mean())


def train_reading(
    encoder: WishEncoder,
    tokenizer: PreTrainedTokenizerFast,
    unknown: tuple[str, ...],
    schedule: Schedule,
    batch: int = BATCH,
    workers: int = 0,
) -> None:
    """Teach it to read (log: `.runs/picture/text`); so many processes make up prompts beside this one."""
    stock = drawn_world().stock
    device = encoder.device
    encoder.telling.requires_grad_(False)

    def make(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((schedule.seed, step))
        wishes = [random_wish(rng, stock) for _ in range(batch)]
        wanted = torch.tensor([wish_of(wish) for wish in wishes])
        silent = max(1, round(batch * _SILENT))
        wanted[:silent] = 0
        strange = [_strange_words(rng, unknown) for _ in range(silent)]
        wanted[silent : 2 * silent] = torch.tensor([wish_of(random_scene(rng, stock, _EMPTY)) for _ in range(silent)])
        rest = [wish_to_words(wish, rng, unknown=unknown) for wish in wishes[2 * silent :]]
        said = [""] * silent + strange + rest
        ids = tokenize(tokenizer, said)
        forgotten = torch.from_numpy(rng.random(ids.shape) < _FORGOTTEN) & (ids > 1)
        return ids.masked_fill(forgotten, tokenizer.unk_token_id), wanted

    made = ahead(make, workers)

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:  # noqa: ARG001
        ids, wanted = made(step)
        return reading_loss(encoder, ids.to(device), wanted.to(device))

    def look(step: int) -> None:
        told = ", ".join(f"{language} {understanding(encoder, tokenizer, language):.0%}" for language in LANGUAGES)
        print(f"step {step}: things understood: {told}")

    fit("picture/text", encoder, loss_of, schedule, Check(500, look))
