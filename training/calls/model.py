"""The model that reads a message: its tokenizer, its form, and its answer.

A small ModernBERT that labels every character: the first token, which says whether there is a picture in the
conversation, by the tool that the message calls for, the others by whether they are a part of what the tool gets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForTokenClassification

from training.calls.messages import TOOLS, Message

PAD: Final = "[PAD]"
UNKNOWN: Final = "[UNK]"
NO_PICTURE: Final = "[NO PICTURE]"
PICTURE: Final = "[PICTURE]"
MAX_TOKENS: Final = 384
"""Of a message; what is longer is read so far."""


def make_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token for each letter of these texts, of Hangul for each part of one; capitals and widths are no matter."""
    normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    letters = sorted({letter for text in texts for letter in normalizer.normalize_str(text)})
    vocabulary = {token: i for i, token in enumerate((PAD, UNKNOWN, NO_PICTURE, PICTURE, *letters))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.add_special_tokens([PAD, UNKNOWN, NO_PICTURE, PICTURE])
    return tokenizer


def make_model(vocabulary: int) -> ModernBertForTokenClassification:
    """The model before it has learnt anything: 1 million parameters."""
    near, far = "sliding_attention", "full_attention"
    config = ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=224,
        num_hidden_layers=4,
        num_attention_heads=4,
        layer_types=[near, far, near, far],
        local_attention=16,
        max_position_embeddings=MAX_TOKENS + 1,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=2,
        sep_token_id=None,
        classifier_dropout=0.1,
        mlp_dropout=0.1,
        embedding_dropout=0.1,
        id2label=dict(enumerate(TOOLS)),
        label2id={tool: i for i, tool in enumerate(TOOLS)},
    )
    config._attn_implementation = "sdpa"
    return ModernBertForTokenClassification(config)


def encoded(message: Message, tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a message, and the characters of each but the first."""
    encoding = tokenizer.encode(message.text, add_special_tokens=False)
    first = tokenizer.token_to_id(PICTURE if message.has_picture else NO_PICTURE)
    assert first is not None
    return [first, *encoding.ids[:MAX_TOKENS]], encoding.offsets[:MAX_TOKENS]


def labels(message: Message, offsets: list[tuple[int, int]]) -> list[int]:
    """The label of each token."""
    tool = TOOLS.index(message.tool)
    start, end = message.span
    return [tool, *(tool if start <= first and last <= end else 0 for first, last in offsets)]


def read(model: Any, tokenizer: Tokenizer, message: Message) -> tuple[str, str]:
    """The tool that a message calls for, and what that gets."""
    ids, offsets = encoded(message, tokenizer)
    with torch.inference_mode():
        scores: Tensor = model(input_ids=torch.tensor([ids])).logits[0].float()
    tool = int(scores[0].argmax())
    inside = [pair for pair, row in zip(offsets, scores[1:], strict=True) if row[tool] > row[0]]
    if tool == 0 or not inside:
        return TOOLS[tool], message.text if tool else ""
    return TOOLS[tool], message.text[inside[0][0] : inside[-1][1]].strip()


def load(folder: Path) -> tuple[Any, Tokenizer]:
    """The trained model and its tokenizer."""
    model = ModernBertForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return model, Tokenizer.from_file(str(folder / "tokenizer.json"))
