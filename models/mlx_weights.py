"""The weights of a model on MLX: as which numbers they are kept, and how many bytes they take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def set_dtype(model: Any, wanted: str, kept: Collection[str] = ()) -> None:
    """Weights as configured; `auto` leaves an accelerator what the checkpoint has, and gives a CPU float32.

    `kept` names parts of the model that stay as they are.
    """
    import mlx.core as mx
    from mlx.utils import tree_map

    if wanted == "auto":
        if mx.default_device() != mx.Device(mx.cpu):
            return
        wanted = "float32"
    dtype = getattr(mx, wanted)
    weights = {name: part for name, part in model.parameters().items() if name not in kept}
    model.update(
        tree_map(lambda array: array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array, weights)
    )
    mx.eval(model.parameters())


def parameter_bytes(model: Any) -> int:
    """Bytes of the parameters in memory."""
    from mlx.utils import tree_flatten

    return sum(array.nbytes for _, array in tree_flatten(model.parameters()))
