"""Qwen3-TTS as qwen-tts saves it; to be written by a process that has qwen-tts (`models.speech.engines.qwen_tts`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.speech.engines.qwen_tts import import_qwen_tts
from models.speech.text import LANGUAGES
from tests.checkpoints.words import byte_level_bpe

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")


@dataclass(frozen=True)
class Sizes:
    """How large a checkpoint is. `text_vocabulary`: the words of its embedding; None: as many as the tokenizer has."""

    talker: dict[str, Any]
    predictor: dict[str, Any]
    text_hidden: int
    speaker_encoder: dict[str, Any]
    codes: int
    codebooks: int
    encoder: dict[str, Any]
    decoder: dict[str, Any]
    text_vocabulary: int | None = None


_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.2,
}
_SMALL_CODEC: dict[str, Any] = {**_SMALL, "hidden_size": 16, "head_dim": 8, "codebook_size": 256}
TINY = Sizes(
    talker={**_SMALL, "rope_scaling": {"rope_type": "default", "interleaved": True, "mrope_section": [4, 2, 2]}},
    predictor=_SMALL,
    text_hidden=24,
    speaker_encoder={
        "enc_dim": 32,
        "enc_channels": [16, 16, 16, 16, 48],
        "enc_attention_channels": 8,
        "enc_res2net_scale": 2,
        "enc_se_channels": 8,
    },
    codes=256,
    codebooks=3,
    encoder={
        **_SMALL_CODEC,
        "num_filters": 4,
        "upsample_groups": 16,
        "codebook_dim": 8,
        "vector_quantization_hidden_dimension": 8,
        "num_quantizers": 6,
    },
    decoder={**_SMALL_CODEC, "codebook_dim": 16, "latent_dim": 16, "decoder_dim": 32, "num_quantizers": 3},
)
RELEASED = Sizes(
    talker={
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_theta": 1_000_000,
        "rope_scaling": {"rope_type": "default", "interleaved": True, "mrope_section": [24, 20, 20]},
    },
    predictor={
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 5,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    text_hidden=2048,
    speaker_encoder={"enc_dim": 2048},
    codes=2048,
    codebooks=16,
    encoder={"use_causal_conv": True},
    decoder={"codebook_dim": 512, "hidden_size": 512, "intermediate_size": 1024, "head_dim": 64},
    text_vocabulary=151_936,
)
"""Qwen3-TTS-12Hz-1.7B-Base; what is not named is qwen-tts' own default."""


def write_qwen_tts(folder: Path, sizes: Sizes = TINY) -> None:
    """A Base Qwen3TTSForConditionalGeneration of 24 kHz, whose sentences do not end by themselves."""
    import_qwen_tts()

    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration

    torch.manual_seed(0)
    config = _config(_write_tokenizer(folder), sizes)
    model = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**config))
    end = config["talker_config"]["codec_eos_token_id"]
    model.talker.codec_head.weight.data[end] = 0  # half of all others score higher, and only 50 are chosen from
    model.save_pretrained(folder)
    # what is saved has fields of transformers' own, which qwen-tts refuses to read again
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_tts", **config}))
    chances = {"temperature": 0.9, "top_k": 50, "top_p": 1.0}
    defaults = {"do_sample": True, "subtalker_dosample": True, "repetition_penalty": 1.05, "max_new_tokens": 8192}
    defaults |= {f"{part}{name}": value for part in ("", "subtalker_") for name, value in chances.items()}
    (folder / "generation_config.json").write_text(json.dumps(defaults))
    _write_speech_tokenizer(folder / "speech_tokenizer", sizes)


def _config(vocabulary: dict[str, int], sizes: Sizes) -> dict[str, Any]:
    # the last 1024 of the talker's codes are not sounds, whatever the size of the codebooks
    marks = iter(range(sizes.codes, sizes.codes + 1024))
    return {
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "1b7",
        "tts_model_type": "base",
        "im_start_token_id": vocabulary["<|im_start|>"],
        "im_end_token_id": vocabulary["<|im_end|>"],
        "tts_pad_token_id": vocabulary["<tts_pad>"],
        "tts_bos_token_id": vocabulary["<tts_text_bos>"],
        "tts_eos_token_id": vocabulary["<tts_text_eod>"],
        "talker_config": {
            **sizes.talker,
            "vocab_size": sizes.codes + 1024,
            "text_vocab_size": sizes.text_vocabulary or len(vocabulary),
            "text_hidden_size": sizes.text_hidden,
            "num_code_groups": sizes.codebooks,
            "code_predictor_config": {
                **sizes.predictor,
                "vocab_size": sizes.codes,
                "num_code_groups": sizes.codebooks,
            },
            "codec_bos_id": next(marks),
            "codec_eos_token_id": next(marks),
            "codec_think_id": next(marks),
            "codec_nothink_id": next(marks),
            "codec_pad_id": next(marks),
            "codec_think_bos_id": next(marks),
            "codec_think_eos_id": next(marks),
            "codec_language_id": {names[0].lower(): next(marks) for names in LANGUAGES.values()},
            "spk_id": {},
            "spk_is_dialect": {},
        },
        "speaker_encoder_config": {**sizes.speaker_encoder, "sample_rate": 24_000},
    }


def _write_tokenizer(folder: Path) -> dict[str, int]:
    from qwen_tts.core.models import Qwen3TTSProcessor
    from transformers import Qwen2TokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = byte_level_bpe(400)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    tokenizer = Qwen2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.add_special_tokens({"additional_special_tokens": list(_SPECIAL)})
    Qwen3TTSProcessor(tokenizer).save_pretrained(folder)
    found: dict[str, int] = tokenizer.get_vocab()
    return found


def _write_speech_tokenizer(folder: Path, sizes: Sizes) -> None:
    """12.5 frames a second, as released: strides of 8, 6, 5, 4 and 2 one way, of 8, 5, 4, 3, 2 and 2 the other."""
    import torch
    from qwen_tts.core import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model
    from transformers import EncodecFeatureExtractor

    config = Qwen3TTSTokenizerV2Config(
        encoder_config=sizes.encoder,
        decoder_config=sizes.decoder,
        encoder_valid_num_quantizers=sizes.codebooks,
    )
    model = Qwen3TTSTokenizerV2Model(config)
    for name, values in (*model.named_buffers(), *model.named_parameters()):
        if name.endswith(("embed_sum", "embedding_sum")):  # the encoder's codebooks and the decoder's
            torch.nn.init.normal_(values)  # zeros by default
    model.save_pretrained(folder)
    EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(folder)
