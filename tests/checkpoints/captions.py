"""Captioners, and a model that puts words and pictures in one space."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tests.checkpoints.words import LIVELY, bert_tokenizer, byte_level_bpe, clip_tokenizer


def write_blip(folder: Path) -> None:
    """A BlipForConditionalGeneration that reads pictures of 32x32."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    config = BlipConfig(
        text_config={
            **LIVELY,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            "encoder_hidden_size": 32,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**LIVELY, "image_size": 32, "patch_size": 8},
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


def write_blip2(folder: Path) -> None:
    """A Blip2ForConditionalGeneration on OPT that reads pictures of 32x32 as 4 tokens."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessor,
        GPT2Tokenizer,
    )

    torch.manual_seed(0)
    vocab, merges = byte_level_bpe(400, "", ("<pad>", "<s>", "</s>", "<unk>"))
    tokenizer = GPT2Tokenizer(
        vocab=vocab,
        merges=[tuple(m.split(" ")) for m in merges],
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )
    processor = Blip2Processor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer, num_query_tokens=4)
    config = Blip2Config(
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "ffn_dim": 37,
            "init_std": 0.2,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 256,
            "tie_word_embeddings": False,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**LIVELY, "image_size": 32, "patch_size": 8},
        qformer_config={**LIVELY, "vocab_size": 8, "encoder_hidden_size": 32, "cross_attention_frequency": 1},
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
    )
    model = Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)  # zeros by default
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_open_clip(folder: Path) -> None:
    """An open_clip ViT with its own tokenizer in the folder, the way `push_to_hf_hub` lays it out."""
    import open_clip
    import torch
    from open_clip.push_to_hf_hub import save_for_hf
    from open_clip.tokenizer import HFTokenizer
    from open_clip.transform import PreprocessCfg

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = clip_tokenizer()
    tokenizer.save_pretrained(folder)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "hf_tokenizer_name": "in-this-folder",
            "tokenizer_kwargs": {"strip_sep_token": False},
            "context_length": 16,
            "vocab_size": len(tokenizer),
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    model = open_clip.CLIP(**config)
    open_clip.set_model_preprocess_cfg(model, asdict(PreprocessCfg(size=32)))
    hf_tokenizer = HFTokenizer(str(folder), context_length=16)
    save_for_hf(model, hf_tokenizer, config, str(folder), safe_serialization=True)
