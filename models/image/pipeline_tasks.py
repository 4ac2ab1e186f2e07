"""The tasks that a diffusers checkpoint can do, and the pipeline class of each.

A checkpoint names one class; its siblings run on the same weights. AutoPipeline knows most of them too, but imports
every pipeline there is (seconds), so the families that Atelier names are written down here and AutoPipeline is asked
only for others.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from models.errors import CheckpointError, InvalidInput
from models.image.diffusers_internals import auto_class

if TYPE_CHECKING:
    from PIL import Image

    from models.tasks import ImageJob

PipelineTask = Literal["text2img", "edit", "img2img", "inpaint"]
"""From words; by an instruction about a picture; from a picture by strength; within a mask.

Where a class of `img2img` inpaints, it is given a mask of the whole picture, which is the same thing.
"""
VariesBy = Literal["img2img", "edit"]
"""Of these, what makes variations."""

_ITSELF: Final = ""
_FAMILIES: Final[dict[str, dict[PipelineTask, str]]] = {
    "FluxPipeline": {"text2img": _ITSELF, "img2img": "FluxImg2ImgPipeline", "inpaint": "FluxInpaintPipeline"},
    "FluxKontextPipeline": {
        "text2img": _ITSELF,
        "edit": _ITSELF,
        "img2img": "FluxImg2ImgPipeline",
        "inpaint": "FluxKontextInpaintPipeline",
    },
    "Flux2Pipeline": {"text2img": _ITSELF, "edit": _ITSELF},
    "Flux2KleinPipeline": {
        "text2img": _ITSELF,
        "edit": _ITSELF,
        "img2img": "Flux2KleinInpaintPipeline",
        "inpaint": "Flux2KleinInpaintPipeline",
    },
    "QwenImagePipeline": {
        "text2img": _ITSELF,
        "img2img": "QwenImageImg2ImgPipeline",
        "inpaint": "QwenImageInpaintPipeline",
    },
    "QwenImageEditPipeline": {
        "edit": _ITSELF,
        "img2img": "QwenImageEditInpaintPipeline",
        "inpaint": "QwenImageEditInpaintPipeline",
    },
    "QwenImageEditPlusPipeline": {"edit": _ITSELF},
    "StableDiffusionXLPipeline": {
        "text2img": _ITSELF,
        "img2img": "StableDiffusionXLImg2ImgPipeline",
        "inpaint": "StableDiffusionXLInpaintPipeline",
    },
    "ZImagePipeline": {"text2img": _ITSELF, "img2img": "ZImageImg2ImgPipeline", "inpaint": "ZImageInpaintPipeline"},
}
_FAMILY_OF_SIBLING: Final[dict[str, str]] = {
    sibling: name for name, classes in _FAMILIES.items() for sibling in classes.values() if sibling
}
"""A sibling's family, for checkpoints that name the sibling."""
_MEANINGS: Final[dict[PipelineTask, str]] = {
    "text2img": "make pictures from words",
    "edit": "follow an instruction about a picture",
    "img2img": "start from a picture by strength",
    "inpaint": "repaint within a mask",
}
_SEVERAL_REFERENCES: Final = frozenset({"Flux2Pipeline", "Flux2KleinPipeline", "QwenImageEditPlusPipeline"})
"""Pipelines whose edits may look at more than one picture."""
REFUSES_SMALL_REFERENCES: Final = frozenset({"Flux2Pipeline", "Flux2KleinPipeline"})
"""Pipelines that take no reference that is very small or long."""
_MIN_SIDE: Final = 64
_MAX_ASPECT_RATIO: Final = 8
"""Times as long as wide."""
ONE_BY_ONE: Final = frozenset({"QwenImageEditInpaintPipeline"})
"""Pipelines that take a list of pictures for pictures of one prompt, not of one each."""

GUIDED_ABOVE_0: Final = frozenset({"ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"})
"""Pipelines that count guidance from 0; for all others, 1 is none."""


def main_class(index: Mapping[str, Any]) -> Any:
    """The class that a checkpoint (its model_index.json) is loaded as.

    Raises:
        CheckpointError: diffusers has no such pipeline, or it makes no pictures.
    """
    import diffusers

    said = str(index.get("_class_name"))
    name = _FAMILY_OF_SIBLING.get(said, said)
    found = getattr(diffusers, name, None)
    if found is None:
        raise CheckpointError(f"diffusers {diffusers.__version__} has no pipeline {name!r}; a newer one may")
    if name in _FAMILIES:
        return found
    try:
        return auto_class("text2img", name)
    except ValueError:
        raise CheckpointError(f"{name} is not a pipeline that makes pictures from text or changes them") from None


def pipeline_classes(main: Any, given: Mapping[PipelineTask, str]) -> dict[PipelineTask, Any]:
    """The class for each task that a checkpoint of class `main` can do; `given` names classes that the operator chose.

    Raises:
        CheckpointError: diffusers has no class of a given name.
    """
    import diffusers

    name = main.__name__
    found: dict[PipelineTask, Any] = {}
    if name in _FAMILIES:
        found = {task: getattr(diffusers, sibling or name) for task, sibling in _FAMILIES[name].items()}
    else:
        for task in ("text2img", "img2img", "inpaint"):
            try:
                found[task] = auto_class(task, name)
            except ValueError:
                continue
    for task, chosen in given.items():
        cls = getattr(diffusers, chosen, None)
        if cls is None:
            raise CheckpointError(f"options.pipelines.{task}: diffusers {diffusers.__version__} has no {chosen!r}")
        found[task] = cls
    return found


def expected_classes(index: Mapping[str, Any], given: Mapping[PipelineTask, str]) -> dict[PipelineTask, str] | None:
    """The names of what `pipeline_classes` gives, without diffusers; None where only diffusers could tell."""
    said = str(index.get("_class_name"))
    name = _FAMILY_OF_SIBLING.get(said, said)
    if name not in _FAMILIES:
        return None
    return {task: sibling or name for task, sibling in _FAMILIES[name].items()} | dict(given)


def choose_task(
    job: ImageJob, classes: Mapping[PipelineTask, str], *, uses_redux: bool = False, varies_by: VariesBy = "img2img"
) -> PipelineTask:
    """The task that a job asks for, of those that a model has (with the names of their classes).

    `uses_redux`: it is a variation that Redux makes, in place of a prompt. `varies_by` is what makes the others where
    the model has both.

    Raises:
        InvalidInput: the model cannot do it; it names the field that asks for it.
    """
    if not job.images:
        if "text2img" not in classes:
            raise InvalidInput("this model changes pictures, so it needs one", "image", "missing_required_parameter")
        return "text2img"
    wanted: PipelineTask
    if uses_redux:
        wanted = "text2img"
    elif job.mask is not None:
        wanted = "inpaint"
    elif job.strength is not None or (job.is_variation and varies_by == "img2img" and "img2img" in classes):
        wanted = "img2img"
    else:
        wanted = "edit" if "edit" in classes else "img2img"
    if wanted not in classes:
        param = "mask" if job.mask is not None else "image" if job.strength is None else "strength"
        able = ", ".join(_MEANINGS[task] for task in classes)
        raise InvalidInput(f"this model cannot {_MEANINGS[wanted]}; it can {able}", param, "unsupported_parameter")
    several = wanted == "edit" and classes[wanted] in _SEVERAL_REFERENCES
    if len(job.images) > 1 and not several:
        raise InvalidInput("this model works on one picture at a time", "image", "unsupported_parameter")
    return wanted


def check_references(pictures: Sequence[Image.Image]) -> None:
    """Refuse what pipelines of `REFUSES_SMALL_REFERENCES` would; `pictures` have the sizes that these see.

    Raises:
        InvalidInput: `image`.
    """
    for i, picture in enumerate(pictures):
        if min(picture.size) < _MIN_SIDE or max(picture.size) > _MAX_ASPECT_RATIO * min(picture.size):
            width, height = picture.size
            raise InvalidInput(
                f"image: picture {i} is {width}x{height} as this model sees it; it reads none with less than "
                f"{_MIN_SIDE} pixels a side, or more than {_MAX_ASPECT_RATIO} times as long as wide",
                "image",
            )


def sibling(pipeline: Any, cls: Any) -> Any:
    """A pipeline of another class over the same modules.

    Not `from_pipe`: it casts the shared modules to float32 unless it gets their dtype, and cannot move quantised ones.
    """
    if type(pipeline) is cls:
        return pipeline
    wanted = inspect.signature(cls.__init__).parameters.keys()
    parts = {name: part for name, part in pipeline.components.items() if name in wanted}
    settings = {name: value for name, value in pipeline.config.items() if name in wanted and name not in parts}
    made = cls(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made
