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
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from models.image.wish_encoder import Reading, Telling, WishConfig, WishEncoder
from training import edits as of_shapes
from training import world as shapes
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language, full_caption
from training.composer.edits import Edit, instruction, random_edit
from training.composer.prompts import noun, prompt
from training.composer.scene import Mix, Scene, Stock, named, random_scene
from training.composer.words import PLAIN_STYLE
from training.loop import Check, Schedule, fit
from training.picture.wishes import Wanted, wish_of
from training.picture.world import MIX, drawn_world
from training.processes import ahead

LENGTH: Final = 40
"""Tokens of every prompt: nothing is masked, so training and use must pad alike (`max_sequence_length`)."""
BATCH: Final = 384
"""Large, since Muon's rate is high: 1,000 steps of so many tell more than 5,000 of 64."""
_VOCABULARY: Final = 2560
_SEED: Final = 72
_INSTRUCTIONS: Final = 0.3
_OF_SHAPES: Final = 0.2
"""How many prompts are of the world of shapes, which names everything."""
_LANGUAGE_SHARES: Final = (0.44, 0.28, 0.28)
_FORGOTTEN: Final = 0.01
_SILENT: Final = 0.01
"""How many prompts are empty; and how many are of nothing but strange words, which are to be some painted ground."""
_BARE: Final = 0.06
"""How many are for a thing alone with nothing said of it, half of them its bare name: what people type first."""
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
    wanted: Wanted, rng: np.random.Generator, language: Language | None = None, unknown: tuple[str, ...] = ()
) -> str:
    """What someone may have typed to get this scene or this change, in a random language unless one is given.

    Some have a word or two that mean nothing that can be drawn here: made up, or in English one of the `unknown` ones.
    """
    language = language or LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]
    said = _said_of(wanted, rng, language)
    for _ in range(int(rng.choice(3, p=_STRANGE_WORDS))):
        said = _with_strange_word(said, rng, language, unknown)
    return said


def _said_of(wanted: Wanted, rng: np.random.Generator, language: Language) -> str:
    match wanted:
        case Scene():
            return prompt(wanted, rng, language)
        case Edit():
            return instruction(wanted, rng, language)
        case shapes.Scene():
            return full_caption(wanted, rng, language)
    return of_shapes.instruction(wanted, rng, language)


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
    for _ in range(40_000):
        known |= set(re.findall("[a-z]+", _said_of(random_wish(rng, stock), rng, "en").lower()))
    return tuple(word for word in usual if word not in known and word.removesuffix("s") not in known)


def random_wish(rng: np.random.Generator, stock: Stock) -> Wanted:
    """Something that a prompt may ask for."""
    if rng.random() < _OF_SHAPES:
        return of_shapes.random_edit(rng) if rng.random() < _INSTRUCTIONS else shapes.random_scene(rng)
    return random_edit(rng, stock) if rng.random() < _INSTRUCTIONS else random_scene(rng, stock, MIX)


def thing_alone(rng: np.random.Generator, stock: Stock) -> Scene:
    """A thing as it is drawn where nothing is said of it."""
    names = stock.drawings[PLAIN_STYLE]
    figure = named(names[int(rng.integers(len(names)))])
    return Scene("white", 0, (255, 255, 255), PLAIN_STYLE, (figure,))


def bare_words(scene: Scene, rng: np.random.Generator) -> str:
    """A prompt for one thing that may be nothing but its name."""
    language = LANGUAGES[int(rng.choice(len(LANGUAGES), p=_LANGUAGE_SHARES))]
    return noun(scene.figures[0], language, rng) if rng.random() < 0.5 else prompt(scene, rng, language)


def train_tokenizer(stock: Stock) -> PreTrainedTokenizerFast:
    """The tokenizer of this world's prompts: every name of every thing, often enough, and many prompts."""
    rng = np.random.default_rng(_SEED)
    names = [n for subject in subjects().values() for language in LANGUAGES for n in subject.names[language]]
    return learn_tokenizer(
        [*names * 8, *(wish_to_words(random_wish(rng, stock), rng) for _ in range(60_000))], _VOCABULARY
    )


def learn_tokenizer(prompts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """BPE over lower-cased prompts; Japanese is cut where the script changes, so that no piece spans two words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))  # noqa: S106 (not that kind of token)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Split(Regex("[ァ-ヿ]+|[ぁ-ゟ]+|[一-龯]+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        prompts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "</s>", "<unk>"])
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=LENGTH,
        padding_side="right",
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> torch.Tensor:
    """Int64 [n, LENGTH], as `FluxPipeline` does it for both encoders."""
    encoded = tokenizer(prompts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = encoded.input_ids
    return ids


def build_encoder(config: WishConfig) -> WishEncoder:
    """3.3 M parameters, most of them the vectors of drawings."""
    encoder = WishEncoder(config)
    look_near(encoder)
    encoder.reading, encoder.telling = Reading(config), Telling(config)  # with the spread that torch gives them
    return encoder


def look_near(t5: T5EncoderModel) -> None:
    """Let the heads begin with the word before, the word after, the near and all words.

    T5's position bias starts at nearly nothing and grows by one learning rate a step; what stands next to what is all
    that these prompts consist of, and without this it takes thousands of steps to notice. And the usual spread of 1 of
    the embeddings drowns what the layers add, and learning takes several times as long.
    """
    nn.init.normal_(t5.shared.weight, std=0.1)
    attention = t5.encoder.block[0].layer[0].SelfAttention
    distances = torch.arange(-LENGTH, LENGTH + 1)
    buckets = attention._relative_position_bucket(
        distances,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    with torch.no_grad():
        for bucket in buckets.unique():
            distance = distances[buckets == bucket].float().mean()
            for head, (nearest, slope) in enumerate(((-1, 1.0), (1, 1.0), (0, 0.5), (0, 0.0))):
                attention.relative_attention_bias.weight[bucket, head] = -slope * (distance - nearest).abs().clamp(
                    max=8
                )


def reading_loss(encoder: WishEncoder, ids: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How badly prompts [n, length] are read as the wishes int64 [n, fields] that they mean, in nats of all fields."""
    heard = encoder.answers(ids)
    return torch.stack([F.cross_entropy(logits, wanted[:, field]) for field, logits in enumerate(heard)]).sum()


@torch.no_grad()
def understanding(
    encoder: WishEncoder, tokenizer: PreTrainedTokenizerFast, language: Language, count: int = 300
) -> float:
    """The share of what fresh prompts of one language say that is read rightly."""
    stock = drawn_world().stock
    rng = np.random.default_rng((_SEED, 1 << 40))
    wishes = [random_wish(rng, stock) for _ in range(count)]
    ids = tokenize(tokenizer, [wish_to_words(wish, rng, language) for wish in wishes])
    heard, wanted = encoder.wishes(ids.to(encoder.device)).cpu(), torch.tensor([wish_of(wish) for wish in wishes])
    return float((heard == wanted)[wanted > 0].float().mean())


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
        alone = [thing_alone(rng, stock) for _ in range(round(batch * _BARE))]
        told = 2 * silent + len(alone)
        wanted[2 * silent : told] = torch.tensor([wish_of(scene) for scene in alone])
        bare = [bare_words(scene, rng) for scene in alone]
        rest = [wish_to_words(wish, rng, unknown=unknown) for wish in wishes[told:]]
        said = [""] * silent + strange + bare + rest
        ids = tokenize(tokenizer, said)
        forgotten = torch.from_numpy(rng.random(ids.shape) < _FORGOTTEN) & (ids > 1)
        return ids.masked_fill(forgotten, tokenizer.unk_token_id), wanted

    made = ahead(make, workers)

    def loss_of(step: int, rng: np.random.Generator) -> torch.Tensor:  # noqa: ARG001
        ids, wanted = made(step)
        return reading_loss(encoder, ids.to(device), wanted.to(device))

    def look(step: int) -> None:
        told = ", ".join(f"{language} {understanding(encoder, tokenizer, language):.0%}" for language in LANGUAGES)
        print(f"step {step}: understood: {told}")

    fit("picture/text", encoder, loss_of, schedule, Check(500, look))
