"""What a picture was made of, written into its file, so that it can be made again.

The text has the form that AUTOMATIC1111's web UI made common and most tools of the field read: the prompt, the negative
prompt, and one line of `Name: value`. A PNG has it as the text chunk `parameters`, and beside it the same as JSON, by
the names of the API's fields, as the chunk `atelier`; JPEG and WebP have it as EXIF's UserComment. Who asked, and with
which key, is no part of it. No pixel changes, and the same parameters give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.tasks import ImageJob

MAX_EXIF_BYTES: Final = 65_000
"""What fits into a JPEG's segment, with some room for its frame."""
_EXIF_IFD: Final = 0x8769
_USER_COMMENT: Final = 0x9286


def parameters_of(job: ImageJob, seed: int, model: str, checkpoint: str) -> dict[str, Any]:
    """The parameters of the picture of `seed`, by the names of the API's fields; what was not given is absent.

    A checkpoint in a folder is named without its path, which those who get the picture have no need of.
    """
    said = {
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "model": model,
        "checkpoint": checkpoint.rstrip("/").rpartition("/")[2] if checkpoint[:1] in "/~." else checkpoint,
        "seed": seed,
        "steps": job.steps,
        "guidance": job.guidance,
        "size": f"{job.width}x{job.height}",
        "strength": job.strength,
        "loras": [{"name": lora.name, "weight": lora.weight} for lora in job.loras] or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def as_text(parameters: Mapping[str, Any]) -> str:
    """The common form: of `parameters_of`."""
    loras = "".join(f" <lora:{lora['name']}:{_number(lora['weight'])}>" for lora in parameters.get("loras", ()))
    lines = [(parameters["prompt"] + loras).strip()]
    if "negative_prompt" in parameters:
        lines.append(f"Negative prompt: {parameters['negative_prompt']}")
    named = {
        "Steps": parameters["steps"],
        "CFG scale": _number(parameters["guidance"]),
        "Seed": parameters["seed"],
        "Size": parameters["size"],
        "Model": parameters["model"],
        "Checkpoint": parameters["checkpoint"],
    }
    if "strength" in parameters:
        named["Denoising strength"] = _number(parameters["strength"])
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in named.items()))
    return "\n".join(lines)


def file_options(parameters: Mapping[str, Any], output_format: Literal["png", "jpeg", "webp"]) -> dict[str, Any]:
    """What Pillow's `save` takes to write the parameters into a file of this format."""
    if output_format == "png":
        chunks = PngInfo()
        chunks.add_text("parameters", as_text(parameters))  # as iTXt, where Latin-1 is not enough
        chunks.add_text("atelier", json.dumps(parameters))
        return {"pnginfo": chunks}
    return {"exif": exif_of(parameters)}


def exif_of(parameters: Mapping[str, Any]) -> bytes:
    """The EXIF of a file: big-endian, since tools of the field read a comment's UTF-16 so whatever the header says."""
    text = as_text(parameters)
    exif = Image.Exif()
    exif.endian = ">"
    comment = b"ASCII\0\0\0" + text.encode() if text.isascii() else b"UNICODE\0" + text.encode("utf-16-be")
    exif[_EXIF_IFD] = {_USER_COMMENT: comment}
    return exif.tobytes()


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(each in text for each in ',:\n"') else text
