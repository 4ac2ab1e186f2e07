"""The built-in vision-language model, a small Qwen2.5-VL: `python -m training.vlm`, after `python -m training.sight`.

`--frozen-steps` with a vision tower that is left alone, so that the language model learns the languages cheaply, then
`--steps` of everything together. The result has the files and names of a released Qwen2.5-VL checkpoint.
"""

from __future__ import annotations

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)

from training.conversations import UNTOLD, Rows, Talks, pack
from training.evaluate import MODELS
from training.loop import RUNS, Schedule, fit
from training.sight import (
    DEPTH,
    MERGE,
    PATCH,
    TEMPORAL,
    WIDTH,
    Heads,
    configuration,
    kept,
    look,
    patches,
    sight_loss,
    targets,
    worn,
)
from training.vlm_tokenizer import CHAT_TEMPLATE, SPECIAL_TOKENS, train_tokenizer
from training.world import COLOURS, SHAPES, SIDE, render

FOLDER = MODELS / "vlm"
_HELPED = 0.08
"""How much seeing counts beside speaking."""
_GUIDED = 0.2
"""How much the meaning of names counts."""


class Guide(nn.Module):
    """Asks half-way through the language model what the name of a thing means: where it is, its colour and shape.

    The name of a thing has to find the thing among the picture's tokens; answers alone teach that last of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(WIDTH, size) for size in (7, 7, len(COLOURS), len(SHAPES)))

    def forward(self, hidden: Tensor, meanings: Tensor) -> Tensor:
        """The loss of names [n, width] whose meanings are [n, 4]."""
        normed = F.rms_norm(hidden.float(), (WIDTH,))
        loss = hidden.new_zeros((), dtype=torch.float32)
        for head, meaning in zip(self.heads, meanings.T, strict=True):
            if (meaning != UNTOLD).any():
                loss = loss + F.cross_entropy(head(normed).float(), meaning, ignore_index=UNTOLD)
        return loss


class Student(nn.Module):
    """The model, and the heads that help its vision tower and its language model."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        numbers = {t: tokenizer.convert_tokens_to_ids(t) for t in SPECIAL_TOKENS}
        self.image_token: int = numbers["<|image_pad|>"]
        self.padding: int = numbers["<|endoftext|>"]
        self.model = Qwen2_5_VLForConditionalGeneration(
            configuration(
                len(tokenizer),
                bos_token_id=numbers["<|endoftext|>"],
                eos_token_id=numbers["<|im_end|>"],
                image_token_id=numbers["<|image_pad|>"],
                video_token_id=numbers["<|video_pad|>"],
                vision_start_token_id=numbers["<|vision_start|>"],
                vision_end_token_id=numbers["<|vision_end|>"],
            )
        )
        self.heads = Heads()
        self.guide = Guide()

    def see(self, sight: dict[str, Tensor]) -> None:
        """Take over the vision tower and heads that `training.sight` has trained."""
        self.model.model.visual.load_state_dict(_below("visual.", sight))
        self.heads.load_state_dict(_below("heads.", sight))

    def go_on(self, start: Path) -> None:
        """Take over a kept run's checkpoint, or the model in a folder that `save` has written."""
        if start.is_dir():
            self.model.load_state_dict(Qwen2_5_VLForConditionalGeneration.from_pretrained(start).state_dict())
        else:
            self.load_state_dict(torch.load(start, weights_only=True)["model"], strict=False)

    def follow(self) -> None:
        """Take over what `training.sight` knows by now, while it still runs beside."""
        checkpoint = RUNS / "vlm-sight" / "checkpoint.pt"
        if checkpoint.exists():
            self.see(torch.load(checkpoint, weights_only=True)["average"])

    def answer_loss(self, rows: Rows, merged: Tensor) -> Tensor:
        """Cross-entropy of the answers' tokens, and of what names mean. `merged`: [pictures, 16, width]."""
        inner = self.model.model
        embeds = inner.get_input_embeddings()(rows.tokens)
        shown = rows.tokens == self.image_token
        seen = merged.flatten(0, 1)[rows.pictures].to(embeds.dtype)
        embeds = embeds.masked_scatter(shown[..., None], seen)
        output = inner.language_model(
            inputs_embeds=embeds,
            position_ids=rows.positions,
            attention_mask={"full_attention": rows.sees},
            use_cache=False,
            output_hidden_states=True,
        )
        hidden, halfway = output.last_hidden_state, output.hidden_states[2]
        learnt = rows.weights[:, 1:] > 0
        logits = self.model.lm_head(hidden[:, :-1][learnt]).float()
        weights = rows.weights[:, 1:][learnt]
        losses = F.cross_entropy(logits, rows.tokens[:, 1:][learnt], reduction="none")
        answers = (losses * weights).sum() / weights.sum()
        guided = self.guide(halfway[rows.names[:, 0], rows.names[:, 1]], rows.meanings)
        loss: Tensor = answers + _GUIDED * guided
        return loss


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer in the folder, learnt first if there is none."""
    if not (folder / "tokenizer.json").exists():
        train_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def teach(
    name: str,
    student: Student,
    tokenizer: Any,
    schedule: Schedule,
    *,
    frozen: bool,
    singles: int,
    pairs: int,
    word: float = 0.4,
) -> None:
    """Train in place; the run is called `name`. `frozen`: the vision tower is used as it is."""

    @lru_cache(maxsize=100_000)
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    visual = student.model.model.visual
    visual.requires_grad_(not frozen)
    student.heads.requires_grad_(not frozen)
    talks = Talks(encode, student.image_token, word)

    def loss_of(step: int, rng: np.random.Generator) -> Tensor:
        if frozen and step % 25 == 0:
            student.follow()
        scenes, conversations = talks.draw(singles, pairs, rng)
        rows = pack(conversations, student.padding)
        pixels = torch.from_numpy(patches(np.stack([worn(render(s), rng) for s in scenes])))
        with torch.set_grad_enabled(not frozen):
            merged = look(visual, pixels)
        loss = student.answer_loss(rows, merged)
        if not frozen:
            names, covers = map(torch.from_numpy, targets(scenes))
            loss = loss + _HELPED * sight_loss(student.heads, merged, names, covers)
        return loss

    fit(name, student, loss_of, schedule)


def released_config(student: Student) -> dict[str, Any]:
    """`config.json` as the released Qwen2.5-VL checkpoints have it: the language model's fields at the top level."""
    config = student.model.config
    text, vision = config.text_config, config.vision_config
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": text.bos_token_id,
        "eos_token_id": text.eos_token_id,
        "vision_start_token_id": config.vision_start_token_id,
        "vision_end_token_id": config.vision_end_token_id,
        "image_token_id": config.image_token_id,
        "video_token_id": config.video_token_id,
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": text.max_position_embeddings,
        "max_window_layers": text.num_hidden_layers,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": text.num_attention_heads,
        "num_hidden_layers": text.num_hidden_layers,
        "num_key_value_heads": text.num_key_value_heads,
        "rms_norm_eps": text.rms_norm_eps,
        "rope_theta": text.rope_parameters["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": list(text.rope_parameters["mrope_section"])},
        "sliding_window": 4096,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": text.vocab_size,
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": vision.depth,
            "hidden_act": "silu",
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "in_chans": 3,
            "in_channels": 3,
            "out_hidden_size": vision.out_hidden_size,
            "patch_size": vision.patch_size,
            "spatial_merge_size": vision.spatial_merge_size,
            "spatial_patch_size": vision.patch_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "tokens_per_second": 2,
            "window_size": vision.window_size,
            "fullatt_block_indexes": list(range(DEPTH)),
        },
    }


def save(student: Student, tokenizer: Any, folder: Path) -> None:
    """Write the folder that `AutoModelForImageTextToText` and `AutoProcessor` load."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(released_config(student), indent=2) + "\n")
    state = student.model.state_dict()
    state.pop("lm_head.weight")  # tied
    weights = {
        # half the size; config.json asks for float32, so that answers are computed in it
        name.removeprefix("model.") if "visual." in name else name.replace("language_model.", ""): value.bfloat16()
        for name, value in state.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    images = Qwen2VLImageProcessor(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=TEMPORAL,
        min_pixels=SIDE * SIDE,
        max_pixels=SIDE * SIDE,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    Qwen2_5_VLProcessor(images, tokenizer, _videos(), chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    images.save_pretrained(folder)  # preprocessor_config.json, where older loaders look
    config = student.model.config.text_config
    GenerationConfig(
        do_sample=False,
        eos_token_id=config.eos_token_id,
        bos_token_id=config.bos_token_id,
        pad_token_id=student.padding,
    ).save_pretrained(folder)


def _videos() -> Any:
    from transformers import Qwen2VLVideoProcessor

    return Qwen2VLVideoProcessor(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=TEMPORAL,
        min_pixels=SIDE * SIDE,
        max_pixels=SIDE * SIDE,
    )


def _schedule(steps: int, lr: float, muon: float, seed: int) -> Schedule:
    return Schedule(steps=steps, lr=lr, muon=muon, hold=steps // 2, warmup=50, weight_decay=0.02, ema=0.995, seed=seed)


def main() -> None:
    """Train in two stages and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frozen-steps", type=int, default=1500, help="steps with the vision tower left alone")
    parser.add_argument("--frozen-lr", type=float, default=1.5e-3, help="highest rate of the first stage")
    parser.add_argument("--frozen-muon", type=float, default=1e-2, help="Muon's in the first stage")
    parser.add_argument("--steps", type=int, default=2500, help="steps of everything together")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest rate of the second stage")
    parser.add_argument("--muon", type=float, default=5e-3, help="Muon's in the second stage")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of pictures in a step of the second stage")
    parser.add_argument("--word", type=float, default=0.4, help="how many of its pictures have a word")
    parser.add_argument("--start", type=Path, help="go on from this run's checkpoint.pt or this model's folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(3)
    started = arguments.start is not None and arguments.start.is_dir()
    tokenizer = tokenizer_of(arguments.start if started else RUNS / "vlm" / "tokenizer")
    student = Student(tokenizer)
    if kept().exists():
        student.see(torch.load(kept(), weights_only=True))
    if arguments.start:
        student.go_on(arguments.start)
    if arguments.frozen_steps:
        first = _schedule(arguments.frozen_steps, arguments.frozen_lr, arguments.frozen_muon, seed=5)
        teach("vlm-words", student, tokenizer, first, frozen=True, singles=12, pairs=3)
        if kept().exists():
            student.see(torch.load(kept(), weights_only=True))  # it may have learnt on meanwhile
    if arguments.steps:
        second = _schedule(arguments.steps, arguments.lr, arguments.muon, seed=6)
        teach(
            "vlm-all", student, tokenizer, second, frozen=False, singles=12, pairs=arguments.pairs, word=arguments.word
        )
    save(student, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
