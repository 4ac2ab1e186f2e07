"""How captions are written, whatever the model: options, batches, tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from models.engine import Options
from models.errors import Cancelled

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class CaptionerOptions(Options):
    """What the catalogue entry of a captioner can say."""

    max_new_tokens: int = Field(default=40, ge=1, le=512, description="longest caption, prefix not counted")
    num_beams: int = Field(default=1, ge=1, le=16, description="beams of the search; 1 = greedy")
    max_batch: int = Field(default=16, ge=1, description="pictures that go through the model at once")


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def generated(
    model: Any, inputs: Mapping[str, Any], options: CaptionerOptions, is_cancelled: Callable[[], bool]
) -> torch.Tensor:
    """The tokens that a model of transformers writes, always the same; as its `generate` gives them.

    Raises:
        Cancelled: `is_cancelled()` was true; it is asked once per token.
    """
    import torch
    from transformers import StoppingCriteriaList

    def watch(ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((ids.shape[0],), is_cancelled(), device=ids.device, dtype=torch.bool)

    with torch.inference_mode():
        tokens: torch.Tensor = model.generate(
            **inputs,
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([watch]),
        )
    if is_cancelled():
        raise Cancelled
    return tokens
