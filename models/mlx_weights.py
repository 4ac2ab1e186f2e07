"""What engines on MLX share: how it is prepared, as which numbers weights are kept, and how many bytes they take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from models.errors import CheckpointError

if TYPE_CHECKING:
    from models.entry import ModelEntry


def prepare_mlx(entry: ModelEntry, library: str, used: Collection[str] = ()) -> None:
    """Import MLX for an entry, on its device. To be called before `library` is imported, `mlx-vlm` or `mlx-audio`.

    These take tokenizers from transformers, which is kept from the packages that it has no use for but those `used`.

    Raises:
        CheckpointError: they are not installed.
    """
    from models.quantizers import leave_out_unused

    leave_out_unused([entry.checkpoint], used)
    if any(find_spec(name) is None for name in ("mlx", library.replace("-", "_"))):
        raise CheckpointError(f"the engine {entry.engine} needs the extra `mac`: pip install {library}")
    import mlx.core as mx

    if entry.device == "cpu":
        mx.set_default_device(mx.cpu)  # mlx-vlm makes its stream on the default device when it is imported


def is_of_mlx_audio(config: Mapping[str, Any], kind: Literal["stt", "tts"]) -> bool:
    """Whether mlx-audio hears ("stt") or speaks ("tts") with such a checkpoint; True where it is not installed.

    That is said when the checkpoint is loaded.
    """
    try:
        from mlx_audio.registry import classify_model, model_type_from_config
    except ImportError:
        return True
    return bool(classify_model(model_type_from_config(config) or "") == kind)


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
