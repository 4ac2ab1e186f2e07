"""The tokenizer of the built-in vision-language model: a small byte-level BPE in the format of Qwen2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from training import wordings
from training.captions import (
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    LANGUAGES,
    PLACE_NOUNS,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    Language,
)
from training.questions import TASK_PROMPTS, ask, ask_two, changed, talk
from training.world import random_scene

SPECIAL_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's template without its default system message."""
_VOCABULARY: Final = 2048


def _world_words(language: Language) -> re.Pattern[str]:
    """The world's words with the space before them: no token may reach across their edges."""
    tables: tuple[dict[Language, Any], ...] = (
        COLOUR_ADJECTIVES, COLOUR_NOUNS, SHAPE_NOUNS, SIZE_ADJECTIVES, PLACE_NOUNS,
    )  # fmt: skip
    words = {word for table in tables for synonyms in table[language].values() for word in synonyms}
    words |= {*wordings.PICTURE[language], *wordings.SHAPE[language]}
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("( ?(?:" + "|".join(map(re.escape, longest_first)) + "))")


def _texts(count: int) -> Iterator[str]:
    """Questions and answers; pieces of them in Korean and Japanese, whose words are not set apart by spaces.

    Words that are written in pictures are replaced by digits, so that letters stay tokens of their own: a model that
    reads letter by letter cannot know which letters make a token.
    """
    rng = np.random.default_rng(12)
    patterns = {language: _world_words(language) for language in LANGUAGES}
    yield from TASK_PROMPTS.values()
    yield from wordings.SYSTEM
    yield from ["system\n", "user\n", "assistant\n"] * 200
    for i in range(count):
        language = LANGUAGES[i % len(LANGUAGES)]
        scene = random_scene(rng, things=(0.02, 0.4, 0.33, 0.25), word=0.3)
        if scene.word:
            scene = type(scene)(scene.background, scene.background_rgb, scene.things, "7")
        chance = rng.random()
        if chance < 0.08:
            exchange = talk(rng, language)
        elif chance < 0.25:
            exchange = ask_two(scene, changed(scene, rng), rng, language)
        else:
            drawn = ask(scene, rng, language)
            assert drawn is not None
            exchange = drawn
        for text in (exchange.question, exchange.answer):
            if language == "en":
                yield text
            else:
                yield from filter(None, patterns[language].split(text))


def train_tokenizer(texts: Iterable[str] | None = None, vocabulary: int = _VOCABULARY) -> Qwen2Tokenizer:
    """Learn the merges, and wrap them as a Qwen2 tokenizer with its special tokens after the ordinary ones.

    Args:
        texts: what to learn from; by default the world of shapes.
        vocabulary: how many tokens there are, special ones included.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=4,
    )
    bpe.train_from_iterator(_texts(60_000) if texts is None else texts, trainer)
    numbers = bpe.get_vocab()
    merges = [tuple(pair) for pair in _merges(bpe)]
    # Their order decides their numbers: right after the ordinary tokens.
    for token in SPECIAL_TOKENS:
        numbers[token] = len(numbers)
    tokenizer = Qwen2Tokenizer(
        vocab=numbers,
        merges=merges,
        unk_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        model_max_length=4096,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS], special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _merges(bpe: Tokenizer) -> list[list[str]]:
    merges: list[list[str]] = json.loads(bpe.to_str())["model"]["merges"]
    return merges
