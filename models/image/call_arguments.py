"""From a job to the arguments of a diffusers pipeline's call."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from models.errors import CheckpointError, InvalidInput
from models.image.pipeline_tasks import GUIDED_ABOVE_0, PipelineTask
from models.image.sources import Sources
from models.tasks import ImageJob

GuidanceArgument = Literal["guidance_scale", "true_cfg_scale", "none"]

_FROM_JOB: Final = frozenset(
    {
        "prompt", "negative_prompt", "width", "height", "num_inference_steps", "generator", "num_images_per_prompt",
        "callback_on_step_end", "output_type", "return_dict", "image", "mask_image", "strength",
    }
)  # fmt: skip
"""Arguments that come from the job, so that the option `call` may not set them."""
_NEEDED: Final = frozenset(
    {"prompt", "num_inference_steps", "generator", "num_images_per_prompt", "callback_on_step_end"}
)
"""Arguments without which a pipeline cannot do what a job says."""


def parameters_of(cls: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline class's call, by name."""
    return inspect.signature(cls.__call__).parameters


def check_calls(classes: Sequence[Any], fixed: Collection[str], checkpoint: str) -> None:
    """Check that pipelines take what a job needs, and one of them each of the `fixed` arguments.

    Raises:
        CheckpointError: it names the argument.
    """
    for cls in classes:
        if missing := _NEEDED - parameters_of(cls).keys():
            raise CheckpointError(f"{cls.__name__} takes no {', '.join(sorted(missing))}, so it cannot be used here")
    known = {name for cls in classes for name in parameters_of(cls)}
    for name in fixed:
        if name in _FROM_JOB:
            raise CheckpointError(f"options.call: {name!r} is set by each request")
        if name not in known:
            others = ", ".join(sorted(known - _FROM_JOB - {"self"}))
            raise CheckpointError(f"options: the pipeline of {checkpoint!r} has no argument {name!r}; it has: {others}")


class CallArguments:
    """The arguments of a loaded checkpoint's pipelines. `fixed` are those of every call."""

    def __init__(self, pipeline: Any, fixed: Mapping[str, Any], guidance_argument: GuidanceArgument | None) -> None:
        parameters = parameters_of(type(pipeline))
        self._fixed = fixed
        self._guidance = guidance_argument or _guidance_argument(pipeline, parameters)
        self._takes_negative_prompt = "negative_prompt" in parameters and (
            # with a true_cfg_scale that stays at 1, a pipeline ignores the negative prompt
            "true_cfg_scale" not in parameters
            or self._guidance == "true_cfg_scale"
            or fixed.get("true_cfg_scale", 1) > 1
        )

    def of_job(self, pipeline: Any, task: PipelineTask, job: ImageJob, sources: Sources) -> dict[str, Any]:
        """The arguments that are the same for all pictures of a job.

        Raises:
            InvalidInput: `negative_prompt`, where the pipeline takes none or would not read it.
        """
        parameters = parameters_of(type(pipeline))
        width, height = sources.drawn
        arguments: dict[str, Any] = {name: value for name, value in self._fixed.items() if name in parameters}
        arguments |= {"prompt": job.prompt, "num_inference_steps": sources.steps}
        fitting = {"width": width, "height": height, "max_area": width * height, "_auto_resize": False}
        arguments |= {name: value for name, value in fitting.items() if name in parameters}
        if task in ("img2img", "inpaint"):
            arguments["strength"] = sources.strength
        if self._guidance in parameters:
            arguments[self._guidance] = job.guidance
        negative_prompt = job.negative_prompt or None
        if not self._takes_negative_prompt or "negative_prompt" not in parameters:
            if negative_prompt is not None:
                raise InvalidInput("this model takes no negative prompt", "negative_prompt", "unsupported_parameter")
            return arguments
        if negative_prompt is not None:
            _check_guidance(pipeline, arguments)
        elif arguments.get("true_cfg_scale", 0) > 1:
            negative_prompt = ""  # without one, these pipelines leave true guidance out
        if negative_prompt is not None:
            arguments["negative_prompt"] = negative_prompt
        return arguments

    def of_batch(
        self, pipeline: Any, task: PipelineTask, sources: Sources, embeddings: Mapping[str, Any], count: int
    ) -> dict[str, Any]:
        """The arguments for `count` pictures. `embeddings`, of one row each, replace the prompt where there are any.

        Each picture gets a copy of what it starts from, so that its own seed is used on it.
        """
        arguments: dict[str, Any] = {"num_images_per_prompt": count}
        if embeddings:  # a pipeline repeats those of a prompt only
            repeated = {name: part.repeat_interleave(count, dim=0) for name, part in embeddings.items()}
            arguments = {"prompt": None, "prompt_2": None, "num_images_per_prompt": 1, **repeated}
        match task:
            case "edit":
                references = sources.references
                arguments["image"] = references if len(references) > 1 else references[0]
            case "img2img" | "inpaint":
                arguments["image"] = [sources.picture] * count
                if "mask_image" in parameters_of(type(pipeline)):
                    arguments["mask_image"] = [sources.mask] * count
        return arguments


def _guidance_argument(pipeline: Any, parameters: Mapping[str, inspect.Parameter]) -> GuidanceArgument:
    """The argument for a request's guidance, where the options name none: the one that this pipeline uses."""
    true_cfg = parameters.get("true_cfg_scale")
    # Qwen-Image guides by true_cfg_scale and keeps guidance_scale for distilled checkpoints to come; Flux the reverse
    if true_cfg is not None and true_cfg.default > 1:
        distilled = getattr(getattr(pipeline, "transformer", None), "config", {}).get("guidance_embeds", False)
        return "guidance_scale" if distilled else "true_cfg_scale"
    return "guidance_scale" if "guidance_scale" in parameters else "none"


def _check_guidance(pipeline: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse a negative prompt that the pipeline would not even read."""
    parameters = parameters_of(type(pipeline))
    name = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
    if name not in parameters:
        return
    least = 0 if type(pipeline).__name__ in GUIDED_ABOVE_0 else 1
    guidance = arguments.get(name, parameters[name].default)
    if guidance is not None and guidance <= least:
        raise InvalidInput(
            f"this model uses a negative prompt only with guidance above {least}, and it is {guidance:g}",
            "negative_prompt",
        )
