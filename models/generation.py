"""What a checkpoint may say about how transformers generates: how an answer begins and ends, nothing else.

A checkpoint's `generation_config.json` can set a repetition penalty, beams, banned words, a shortest length and thirty
other things that change every answer. `generate` applies them before our own processors and fills in whatever a call
leaves out, so that a greedy answer would not be greedy and log-probabilities not the model's. What changes an answer
comes from the request, or from the defaults that docs/configuration.md names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def keep_only_token_ids(model: Any, *others: str) -> None:
    """Drop all other generation settings of a loaded model, and of the models inside it that generate for it.

    `others` are names of settings to keep as well, where they are set.
    """
    for module in model.modules():
        settings = getattr(module, "generation_config", None)
        if settings is not None:
            module.generation_config = neutral(settings, *others)


def neutral(settings: GenerationConfig, *others: str) -> GenerationConfig:
    """A greedy search that leaves scores as they are, with the token ids of `settings` and its settings `others`.

    `generate` fills in `top_k` 50 and `max_length` 20; the first acts on sampling only, the second is overridden by
    `max_new_tokens`, which every engine passes.
    """
    from transformers import GenerationConfig

    return GenerationConfig(**{name: getattr(settings, name, None) for name in (*_TOKEN_IDS, *others)})


@contextmanager
def seeded(model: Any, seed: int) -> Iterator[None]:
    """The global generators from `seed`, and afterwards as they were: some models' `generate` takes no other."""
    import torch

    device: torch.device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
