"""A Pocket TTS: a voice that is whatever recording it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.checkpoints.words import LIVELY, byte_level_bpe

_PLACEHOLDERS = {
    "audio_prompt_token": "<|audio_prompt|>",
    "audio_latent_token": "<|audio_latent|>",
    "audio_prompt_bos_token": "<|audio_prompt_bos|>",
    "audio_bos_token": "<|audio_bos|>",
}
_POCKET_TEMPLATE = (
    "{% for part in messages[0].content if part.type == 'audio' %}<|audio_prompt_bos|><|audio_prompt|>{% endfor %}"
    "{% for part in messages[0].content if part.type == 'text' %}{{ part.text[0] | upper }}{{ part.text[1:] }}"
    "{% if part.text[-1] not in '.!?' %}.{% endif %}{% endfor %}<|audio_bos|>"
)


def write_pocket_tts(folder: Path) -> None:
    """A PocketTTSForConditionalGeneration of 24 kHz and 12.5 frames a second, its audio tokenizer in a folder below."""
    import torch
    from transformers import (
        GenerationConfig,
        PocketTTSAudioTokenizerConfig,
        PocketTTSAudioTokenizerModel,
        PocketTTSConfig,
        PocketTTSFeatureExtractor,
        PocketTTSForConditionalGeneration,
        PocketTTSProcessor,
    )

    torch.manual_seed(0)
    tokenizer = _pocket_tokenizer()
    config = PocketTTSConfig(
        **LIVELY,
        head_dim=16,
        vocab_size=len(tokenizer),
        latent_dim=8,
        flow_head_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "latent_dim": 8,
            "condition_dim": LIVELY["hidden_size"],
            "frequency_embedding_size": 8,
        },
        pad_token_id=tokenizer.pad_token_id,
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in _PLACEHOLDERS.items()},
    )
    model = PocketTTSForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.7, return_dict_in_generate=True)
    model.save_pretrained(folder)

    codec = PocketTTSAudioTokenizerModel(
        PocketTTSAudioTokenizerConfig(
            **LIVELY, num_key_value_heads=2, num_filters=4, upsample_groups=LIVELY["hidden_size"], latent_dim=8
        )
    )
    codec.save_pretrained(folder / "audio_tokenizer")
    codec = PocketTTSAudioTokenizerModel.from_pretrained(folder / "audio_tokenizer")  # so that it knows where it lies
    processor = PocketTTSProcessor(PocketTTSFeatureExtractor(), tokenizer, codec, chat_template=_POCKET_TEMPLATE)
    processor.save_pretrained(folder)


def _pocket_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab, merges = byte_level_bpe(400, "", ("<pad>",))
    tokenizer = Tokenizer(models.BPE(vocab, [(left, right) for left, right in map(str.split, merges)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", padding_side="left", extra_special_tokens=_PLACEHOLDERS
    )
