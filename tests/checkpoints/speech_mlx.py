"""Qwen3-TTS in the layout of the released checkpoints: the talker's folder with the speech tokenizer's in it.

Its parts are those of mlx-audio and, for the encoder of recordings, transformers; written as torch has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from models.speech.text import LANGUAGES
from tests.checkpoints.words import SMALL, byte_level_bpe

_CODES = 32
_CODEBOOKS = 4
_SPECIAL = 1024  # the last ids of the talker's vocabulary, none of which is a sound; mlx-audio counts on this number
_LIVELINESS = 2.5  # what mlx starts from gives nearly the same answer to everything
_WIDE = 72
"""mlx-audio tells torch's kernels of one step from its own by their being wider than 64."""
_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")
_LANGUAGES = {names[0].lower(): _CODES + 20 + number for number, names in enumerate(LANGUAGES.values())}


def write_qwen3_tts(folder: Path, *, never_ends: bool = False, **fields: Any) -> None:
    """A Qwen3TTSForConditionalGeneration of 24 kHz and 12.5 frames a second, of 4 codebooks with 32 codes each.

    A sentence lasts a second or two, by chance; with `never_ends` it goes on. `fields` are of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(folder)
    config = {**_config(ids, never_ends), **fields}
    (folder / "config.json").write_text(json.dumps(config))
    chances = {"do_sample": True, "temperature": 0.9, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps({**chances, "max_new_tokens": 8192}))
    _write_talker(folder, config)
    _write_speech_tokenizer(folder / "speech_tokenizer")


def _write_tokenizer(folder: Path) -> dict[str, int]:
    vocab, merges = byte_level_bpe(400)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    ids = {token: len(vocab) + number for number, token in enumerate(_TOKENS)}
    added = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token, number in ids.items()
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "added_tokens_decoder": added,
                "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
                "eos_token": "<|im_end|>",
                "pad_token": "<|endoftext|>",
                "model_max_length": 131072,
                "tokenizer_class": "Qwen2Tokenizer",
            }
        )
    )
    return ids


def _config(ids: dict[str, int], never_ends: bool) -> dict[str, Any]:
    transformer = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "0b6",
        "tts_model_type": "base",
        "im_start_token_id": ids["<|im_start|>"],
        "im_end_token_id": ids["<|im_end|>"],
        "tts_pad_token_id": ids["<tts_pad>"],
        "tts_bos_token_id": ids["<tts_text_bos>"],
        "tts_eos_token_id": ids["<tts_text_eod>"],
        "speaker_encoder_config": {
            "enc_dim": SMALL["hidden_size"],
            "enc_channels": [*[_WIDE] * 4, 3 * _WIDE],
            "enc_se_channels": _WIDE,
            "enc_attention_channels": _WIDE,
            "sample_rate": 24_000,
        },
        "talker_config": {
            **transformer,
            "code_predictor_config": {
                **transformer,
                "num_hidden_layers": 1,
                "vocab_size": _CODES,
                "num_code_groups": _CODEBOOKS,
            },
            "vocab_size": _CODES + _SPECIAL,
            "num_code_groups": _CODEBOOKS,
            "text_vocab_size": max(ids.values()) + 1,
            "text_hidden_size": SMALL["hidden_size"],
            "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
            "codec_pad_id": _CODES,
            "codec_bos_id": _CODES + 1,
            "codec_eos_token_id": 10**6 if never_ends else _CODES + 2,
            "codec_think_id": _CODES + 6,
            "codec_nothink_id": _CODES + 7,
            "codec_think_bos_id": _CODES + 8,
            "codec_think_eos_id": _CODES + 9,
            "codec_language_id": _LANGUAGES,
        },
    }


def _write_talker(folder: Path, config: dict[str, Any]) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_audio.tts.models.qwen3_tts.config import ModelConfig
    from mlx_audio.tts.models.qwen3_tts.qwen3_tts import Model

    mx.random.seed(0)
    weights = {name: np.array(array) for name, array in tree_flatten(Model(ModelConfig.from_dict(config)).parameters())}
    for name, array in weights.items():
        if name.startswith("talker") and array.ndim == 2:
            array *= _LIVELINESS
    _save(folder, {name: _as_in_torch(name, array) for name, array in weights.items()})


def _write_speech_tokenizer(folder: Path) -> None:
    decoder, encoder = _decoder_config(), _encoder_config()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Qwen3TTSTokenizerV2Model"],
                "model_type": "qwen3_tts_tokenizer_12hz",
                "encoder_valid_num_quantizers": _CODEBOOKS,
                "input_sample_rate": 24_000,
                "output_sample_rate": 24_000,
                "decode_upsample_rate": 1920,
                "encode_downsample_rate": 1920,
                "decoder_config": decoder,
                "encoder_config": encoder,
            }
        )
    )
    _save(folder, {**_decoder_weights(decoder), **_encoder_weights(encoder)})


def _decoder_config() -> dict[str, Any]:
    return {
        **SMALL,
        "head_dim": 16,
        "num_key_value_heads": SMALL["num_attention_heads"],
        "latent_dim": 8,
        "codebook_dim": 2 * _WIDE,
        "codebook_size": _CODES,
        "decoder_dim": 8,
        "num_quantizers": _CODEBOOKS,
        "upsample_rates": [],  # its blocks of wide convolutions at 24 kHz are slow on a CPU
        "upsampling_ratios": [6, 5, 8, 8],
    }


def _encoder_config() -> dict[str, Any]:
    return {
        **SMALL,
        "head_dim": 16,
        "num_key_value_heads": SMALL["num_attention_heads"],
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "codebook_size": _CODES,
        "num_filters": 4,
        "num_quantizers": _CODEBOOKS,
        "upsampling_ratios": [8, 6, 5, 4],
        "sampling_rate": 24_000,
        "use_causal_conv": True,
    }


def _decoder_weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_audio.tts.models.qwen3_tts.config import Qwen3TTSTokenizerDecoderConfig
    from mlx_audio.tts.models.qwen3_tts.speech_tokenizer import Qwen3TTSSpeechTokenizerDecoder

    mx.random.seed(1)
    decoder = Qwen3TTSSpeechTokenizerDecoder(Qwen3TTSTokenizerDecoderConfig(**config))
    weights = {}
    for name, value in tree_flatten(decoder.parameters()):
        array = np.array(value)
        base, is_codebook, _ = f"decoder.{name}".partition(".codebook.embed.weight")
        if is_codebook:  # torch keeps them as sums over how often each code was used
            weights[f"{base}._codebook.embedding_sum"] = 2 * array
            weights[f"{base}._codebook.cluster_usage"] = np.full(len(array), 2, np.float32)
        else:
            weights[base] = _as_in_torch(base, array)
    return weights


def _encoder_weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    import torch
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    mimi = MimiModel(MimiConfig(**config, upsample_groups=config["hidden_size"]))
    for name, buffer in mimi.named_buffers():
        if name.endswith("embed_sum"):
            torch.nn.init.normal_(buffer)
    used = {name: value for name, value in mimi.state_dict().items() if not name.startswith(("decoder", "upsample"))}
    # transformers' own names have changed since the checkpoints were released
    released = {name.removeprefix("encoder.").replace("encoder_seanet", "encoder"): used[name] for name in used}
    return {f"encoder.{name}": value.numpy() for name, value in released.items()}


def _as_in_torch(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 3:
        return array
    is_transposed = "upsample" in name and ".0.conv" in name
    return array.transpose((2, 0, 1) if is_transposed else (0, 2, 1))


def _save(folder: Path, weights: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, folder / "model.safetensors")
