"""Variations by FLUX.1 Redux, which makes of a picture what text encoders make of a prompt."""

from __future__ import annotations

from typing import Any

from models import checkpoints
from models.errors import CheckpointError
from models.tasks import ImageJob


def uses_redux(job: ImageJob, checkpoint: str | None) -> bool:
    """Whether a job is a variation that Redux makes, where a checkpoint of it is configured."""
    return job.is_variation and job.strength is None and checkpoint is not None


def load_redux(checkpoint: str, pipeline: Any, dtype: Any, device: str) -> Any:
    """A FluxPriorReduxPipeline that reads prompts with the text encoders of `pipeline`.

    Raises:
        CheckpointError: the pipeline is not of the FLUX.1 kind, whose embeddings Redux makes.
    """
    import diffusers

    if not isinstance(getattr(pipeline, "transformer", None), diffusers.FluxTransformer2DModel):
        raise CheckpointError(f"options.redux: is for FLUX.1 checkpoints, and this is a {type(pipeline).__name__}")
    source = checkpoints.local_folder(checkpoint) or checkpoint
    redux = diffusers.FluxPriorReduxPipeline.from_pretrained(source, dtype=dtype).to(device)
    readers = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    redux.register_modules(**{name: getattr(pipeline, name) for name in readers})
    redux.tokenizer_max_length = pipeline.tokenizer_max_length
    return redux
