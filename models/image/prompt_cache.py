"""Text encoders' outputs, remembered by prompt.

Prompts come again: with another seed, as the empty negative prompt, for the next batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cachetools import LRUCache, cached

from models.tasks import LoraUse


def remember_prompts(pipeline: Any, kept: LRUCache[Any, Any], loras: Callable[[], tuple[LoraUse, ...]]) -> None:
    """Let a pipeline's `encode_prompt` look into `kept` first, which all pipelines of a model share.

    Embeddings are kept for one picture, however large the batch. `loras()` are the adapters in use, which may change
    what an encoder makes of a prompt.
    """
    encode: Callable[..., Any] = pipeline.encode_prompt
    signature = inspect.signature(encode)
    name = f"{type(pipeline).__name__}.encode_prompt"

    @cached(kept, key=lambda given: (name, repr(sorted(given.arguments.items())), loras()))
    def encode_one(given: inspect.BoundArguments) -> Any:
        return encode(*given.args, **given.kwargs)

    def encode_prompt(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        if not _is_plain(list(given.arguments.values())):
            return encode(*args, **kwargs)
        count = 1
        if "num_images_per_prompt" in given.arguments and isinstance(given.arguments.get("prompt"), str):
            count, given.arguments["num_images_per_prompt"] = given.arguments["num_images_per_prompt"], 1
        embeddings = encode_one(given)
        return embeddings if count == 1 else tuple(_for_each(part, count) for part in embeddings)

    pipeline.encode_prompt = encode_prompt


def _for_each(embeddings: Any, count: int) -> Any:
    """The embeddings of one prompt for each picture of a batch; what has no row for the prompt is for all of them."""
    import torch

    one_row = isinstance(embeddings, torch.Tensor) and embeddings.shape[0] == 1
    return embeddings.repeat_interleave(count, dim=0) if one_row else embeddings


def _is_plain(value: object) -> bool:
    """Whether `repr` tells the value from every other one: no pictures, no tensors."""
    import torch

    if isinstance(value, (list, tuple)):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (str, int, float, torch.device, torch.dtype))
