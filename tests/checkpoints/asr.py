"""Recognisers of speech: Whisper, Moonshine, two of CTC and one that is asked in a chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.checkpoints.words import LIVELY, SENTENCES, byte_level_bpe, qwen_tokenizer

_LANGUAGES = ("en", "ko", "ja", "de")
_WHISPERED = (
    "<|startoftranscript|>", *(f"<|{tag}|>" for tag in _LANGUAGES), "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
_SIZES = {"d_model": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_layers": 2}
_WHISPER = {**_SIZES, "decoder_layers": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "init_std": 0.2}


def write_whisper(folder: Path) -> None:
    """A WhisperForConditionalGeneration of four languages, with heads that align words."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    torch.manual_seed(0)
    vocab, merges = byte_level_bpe(400)
    tokenizer = WhisperTokenizer(vocab=vocab, merges=[tuple(pair.split(" ")) for pair in merges])
    tokenizer.add_special_tokens({"additional_special_tokens": list(_WHISPERED)})
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1501)])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in _WHISPERED}
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    special = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
    }
    config = WhisperConfig(**_WHISPER, **special, vocab_size=len(tokenizer), num_mel_bins=80, max_target_positions=48)
    model = WhisperForConditionalGeneration(config)
    settings = dict(
        **special,
        is_multilingual=True,
        lang_to_id={f"<|{tag}|>": ids[f"<|{tag}|>"] for tag in _LANGUAGES},
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        alignment_heads=[[0, 0], [1, 1]],
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    for name, value in {**settings, "_from_model_config": False}.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


def write_moonshine(folder: Path) -> None:
    """A MoonshineForConditionalGeneration, which hears samples as they are."""
    import torch
    from transformers import (
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
    )

    torch.manual_seed(0)
    tokenizer = _byte_level_tokenizer()
    config = MoonshineConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    MoonshineForConditionalGeneration(config).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)


def write_wav2vec2(folder: Path) -> None:
    """A Wav2Vec2ForCTC that writes letters."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    config = Wav2Vec2Config(
        **LIVELY,
        vocab_size=len(letters),
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=False), tokenizer).save_pretrained(folder)


def write_parakeet(folder: Path) -> None:
    """A ParakeetForCTC that writes pieces of words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        ParakeetCTCConfig,
        ParakeetEncoderConfig,
        ParakeetFeatureExtractor,
        ParakeetForCTC,
        ParakeetProcessor,
        ParakeetTokenizer,
    )

    torch.manual_seed(0)
    pieces = sorted({"▁" + word for line in SENTENCES for word in line.split()} | set("".join(SENTENCES)) | {"▁"})
    inner = Tokenizer(models.Unigram([("<unk>", 0.0), *((piece, -2.0) for piece in pieces), ("<pad>", 0.0)], unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    tokenizer = ParakeetTokenizer(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>")
    encoder = ParakeetEncoderConfig(**LIVELY, subsampling_conv_channels=8, num_mel_bins=80)
    config = ParakeetCTCConfig(
        encoder_config=encoder.to_dict(), vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id
    )
    ParakeetForCTC(config).save_pretrained(folder)
    ParakeetProcessor(ParakeetFeatureExtractor(), tokenizer).save_pretrained(folder)


_QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_qwen3_asr(folder: Path) -> None:
    """A Qwen3ASRForConditionalGeneration, which is asked in a chat."""
    import torch
    from transformers import (
        Qwen3ASRConfig,
        Qwen3ASRFeatureExtractor,
        Qwen3ASRForConditionalGeneration,
        Qwen3ASRProcessor,
    )

    torch.manual_seed(0)
    named = {
        "audio_token": "<|audio_pad|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
        "timestamp_token": "<timestamp>",
    }
    tokenizer = qwen_tokenizer(_QWEN_TEMPLATE, tuple(named.values()), named)
    config = Qwen3ASRConfig(
        audio_config={
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 37,
            "downsample_hidden_size": 8,
            "output_dim": 32,
            "initializer_range": 0.2,
        },
        text_config={
            **LIVELY,
            "vocab_size": len(tokenizer),
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio_pad|>"),
        timestamp_token_id=tokenizer.convert_tokens_to_ids("<timestamp>"),
        pad_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen3ASRForConditionalGeneration(config).save_pretrained(folder)
    Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer, chat_template=_QWEN_TEMPLATE).save_pretrained(folder)


def _byte_level_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ("<unk>", "<s>", "</s>", "<pad>")
    vocab, merges = byte_level_bpe(400, "", special)
    tokenizer = Tokenizer(models.BPE(vocab, [(left, right) for left, right in map(str.split, merges)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
