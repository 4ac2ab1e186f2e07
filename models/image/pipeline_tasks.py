"""What a diffusers checkpoint can do besides text to image, and with which pipeline classes.

A checkpoint names one class; its siblings run on the same weights. AutoPipeline knows most of them too, but imports
every pipeline there is (seconds), so the families that Atelier names are written down here and AutoPipeline is asked
only for others.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from models.errors import CheckpointError, InvalidInput

if TYPE_CHECKING:
    from PIL import Image

    from models.tasks import ImageJob

Way = Literal["text", "edit", "image", "inpaint"]
"""From words; by an instruction about a picture; from a picture by strength; within a mask.

Where a class of `image` inpaints, it is given a mask of the whole picture, which is the same thing.
"""

_ITSELF: Final = ""
_FAMILIES: Final[dict[str, dict[Way, str]]] = {
    "FluxPipeline": {"text": _ITSELF, "image": "FluxImg2ImgPipeline", "inpaint": "FluxInpaintPipeline"},
    "FluxKontextPipeline": {
        "text": _ITSELF,
        "edit": _ITSELF,
        "image": "FluxImg2ImgPipeline",
        "inpaint": "FluxKontextInpaintPipeline",
    },
    "Flux2Pipeline": {"text": _ITSELF, "edit": _ITSELF},
    "Flux2KleinPipeline": {
        "text": _ITSELF,
        "edit": _ITSELF,
        "image": "Flux2KleinInpaintPipeline",
        "inpaint": "Flux2KleinInpaintPipeline",
    },
    "QwenImagePipeline": {"text": _ITSELF, "image": "QwenImageImg2ImgPipeline", "inpaint": "QwenImageInpaintPipeline"},
    "QwenImageEditPipeline": {
        "edit": _ITSELF,
        "image": "QwenImageEditInpaintPipeline",
        "inpaint": "QwenImageEditInpaintPipeline",
    },
    "QwenImageEditPlusPipeline": {"edit": _ITSELF},
    "StableDiffusionXLPipeline": {
        "text": _ITSELF,
        "image": "StableDiffusionXLImg2ImgPipeline",
        "inpaint": "StableDiffusionXLInpaintPipeline",
    },
    "ZImagePipeline": {"text": _ITSELF, "image": "ZImageImg2ImgPipeline", "inpaint": "ZImageInpaintPipeline"},
}
_HOMES: Final[dict[str, str]] = {
    sibling: name for name, ways in _FAMILIES.items() for sibling in ways.values() if sibling
}
"""A sibling's family, for checkpoints that name the sibling."""
_ABLE: Final[dict[Way, str]] = {
    "text": "make pictures from words",
    "edit": "follow an instruction about a picture",
    "image": "start from a picture by strength",
    "inpaint": "repaint within a mask",
}
_SEVERAL_REFERENCES: Final = frozenset({"Flux2Pipeline", "Flux2KleinPipeline", "QwenImageEditPlusPipeline"})
"""Pipelines whose edits may look at more than one picture."""
READS_NO_SLIPS: Final = frozenset({"Flux2Pipeline", "Flux2KleinPipeline"})
"""Pipelines that take no reference that is very small or long."""
_LEAST_SIDE: Final = 64
_LONGEST: Final = 8
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
    name = _HOMES.get(said, said)
    found = getattr(diffusers, name, None)
    if found is None:
        raise CheckpointError(f"diffusers {diffusers.__version__} has no pipeline {name!r}; a newer one may")
    if name in _FAMILIES:
        return found
    try:
        return _auto("text", name)
    except ValueError:
        raise CheckpointError(f"{name} is not a pipeline that makes pictures from text or changes them") from None


def ways_of(main: Any, given: Mapping[Way, str]) -> dict[Way, Any]:
    """The class for each way that a checkpoint of class `main` has; `given` names classes that the operator chose.

    Raises:
        CheckpointError: diffusers has no class of a given name.
    """
    import diffusers

    name = main.__name__
    found: dict[Way, Any] = {}
    if name in _FAMILIES:
        found = {way: getattr(diffusers, sibling or name) for way, sibling in _FAMILIES[name].items()}
    else:
        for way in ("text", "image", "inpaint"):
            try:
                found[way] = _auto(way, name)
            except ValueError:
                continue
    for way, chosen in given.items():
        cls = getattr(diffusers, chosen, None)
        if cls is None:
            raise CheckpointError(f"options.pipelines.{way}: diffusers {diffusers.__version__} has no {chosen!r}")
        found[way] = cls
    return found


def expected_ways(index: Mapping[str, Any], given: Mapping[Way, str]) -> dict[Way, str] | None:
    """The names of the classes that `ways_of` gives, without diffusers; None where only diffusers could tell."""
    said = str(index.get("_class_name"))
    name = _HOMES.get(said, said)
    if name not in _FAMILIES:
        return None
    return {way: sibling or name for way, sibling in _FAMILIES[name].items()} | dict(given)


def choose(job: ImageJob, ways: Mapping[Way, str], *, by_likeness: bool) -> Way:
    """Which way a job asks for, of those that a model has (with the names of their classes).

    `by_likeness`: it is a variation that Redux makes, from words that describe the picture.

    Raises:
        InvalidInput: none of them, named by the field that asks for it.
    """
    if not job.images:
        if "text" not in ways:
            raise InvalidInput("this model changes pictures, so it needs one", "image", "missing_required_parameter")
        return "text"
    if by_likeness:
        wanted: Way = "text"
    elif job.mask is not None:
        wanted = "inpaint"
    elif job.strength is not None or (job.is_variation and "image" in ways):
        wanted = "image"
    else:
        wanted = "edit" if "edit" in ways else "image"
    if wanted not in ways:
        param = "mask" if job.mask is not None else "image" if job.strength is None else "strength"
        able = ", ".join(_ABLE[way] for way in ways)
        raise InvalidInput(f"this model cannot {_ABLE[wanted]}; it can {able}", param, "unsupported_parameter")
    several = wanted == "edit" and ways[wanted] in _SEVERAL_REFERENCES
    if len(job.images) > 1 and not several:
        raise InvalidInput("this model works on one picture at a time", "image", "unsupported_parameter")
    return wanted


def check_references(pictures: Sequence[Image.Image]) -> None:
    """Refuse what pipelines of `READS_NO_SLIPS` would; `pictures` are in the sizes in which they are shown to them.

    Raises:
        InvalidInput: `image`.
    """
    for i, picture in enumerate(pictures):
        if min(picture.size) < _LEAST_SIDE or max(picture.size) > _LONGEST * min(picture.size):
            width, height = picture.size
            raise InvalidInput(
                f"image: picture {i} is {width}x{height} as this model sees it; it reads none with less than "
                f"{_LEAST_SIDE} pixels a side, or more than {_LONGEST} times as long as wide",
                "image",
            )


def _auto(way: Way, name: str) -> Any:
    """AutoPipeline's class; raises ValueError where it has none."""
    from diffusers.pipelines import auto_pipeline as auto

    mapping = {
        "text": auto.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        "image": auto.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        "inpaint": auto.AUTO_INPAINT_PIPELINES_MAPPING,
    }[way]
    return auto._get_task_class(mapping, name)


def sibling(pipeline: Any, cls: Any) -> Any:
    """A pipeline of another class over the same modules.

    Not `from_pipe`, which casts the shared modules to float32 unless told their dtype, and cannot move quantised ones.
    """
    if type(pipeline) is cls:
        return pipeline
    wanted = inspect.signature(cls.__init__).parameters.keys()
    parts = {name: part for name, part in pipeline.components.items() if name in wanted}
    settings = {name: value for name, value in pipeline.config.items() if name in wanted and name not in parts}
    made = cls(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made
