"""Tokenizers that know a few sentences in three languages and can write every text."""

from __future__ import annotations

import json
from typing import Any

SENTENCES = [
    "a red circle on a white background",
    "three small blue stars on the left and a green square",
    "what colour is the shape in the picture?",
    "describe this image in one short sentence please",
    "빨간색 원이 흰색 배경 위에 있습니다",
    "이 이미지에 뭐가 있어?",
    "赤い円が右にあります",
]
"""What the tokenizers are trained on; three languages, so that characters are split into bytes."""

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
"""Sizes of every tiny transformer, in transformers' words."""
LIVELY: dict[str, Any] = {**SMALL, "initializer_range": 0.2}
"""The same with weights that answer differently to different input."""


def byte_level_bpe(size: int, suffix: str = "", special: tuple[str, ...] = ()) -> tuple[dict[str, int], list[str]]:
    """Vocabulary and merges of a byte-level BPE; it can write every text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=suffix) if suffix else models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends: dict[str, Any] = {"end_of_word_suffix": suffix} if suffix else {}
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **ends,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    vocab, merges = byte_level_bpe(400, "</w>", ("<|startoftext|>", "<|endoftext|>"))
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges], model_max_length=77)


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    pieces = sorted({"▁" + word for line in SENTENCES for word in line.split()} | set("".join(SENTENCES)) | {"▁"})
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=special + [(piece, -2.0 - len(piece)) for piece in pieces], extra_ids=0)


def qwen_tokenizer(template: str, special: tuple[str, ...] = (), named: dict[str, str] | None = None) -> Any:
    from transformers import Qwen2Tokenizer

    vocab, merges = byte_level_bpe(400)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[tuple(m.split(" ")) for m in merges],
        model_max_length=4096,
        extra_special_tokens=named or {},
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *special]})
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = template
    return tokenizer


def bert_tokenizer() -> Any:
    from transformers import BertTokenizer

    words = sorted({word for line in SENTENCES for word in line.replace("?", " ? ").split()} | {"a", "photo", "of"})
    letters = sorted(set("".join(SENTENCES)) - {" "})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{x}" for x in letters), *letters]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))})


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

IMAGE_CHATML = (
    "{%% for m in messages %%}<|im_start|>{{ m.role }}\n{%% for part in m.content %%}"
    "{%% if part.type == 'image' %%}%s{%% else %%}{{ part.text }}{%% endif %%}{%% endfor %%}<|im_end|>\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)
