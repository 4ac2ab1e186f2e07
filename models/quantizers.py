"""The packages of quantised weights, and scipy; and how a process that needs none of them does without.

diffusers and transformers import every one of them that is installed: a second of each cold start, and lines on stderr.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable

from models.checkpoints import local_folder

PACKAGES = ("bitsandbytes", "gguf", "torchao")
_SCHEDULES_WITH_SCIPY = re.compile(r'LMSDiscrete|"use_beta_sigmas":\s*true')
"""In a scheduler's configuration: the only ones of diffusers that compute with scipy (which MLX's packages bring)."""


def leave_out_unused(checkpoints: Iterable[str], used: Collection[str]) -> None:
    """Let this process not find the packages that its checkpoints need not; `used` are those that are needed anyway.

    Works once in a process, which has one engine in a replica: where the libraries are imported, they have decided.
    """
    if sys.modules.keys().isdisjoint({"diffusers", "transformers"}):
        for package in unused(checkpoints, used):
            sys.modules.setdefault(package, None)  # type: ignore[arg-type]  # Python's own way to say: not there


def unused(checkpoints: Iterable[str], used: Collection[str]) -> tuple[str, ...]:
    """The packages that nothing needs; none where a checkpoint is quantised itself, or on the hub and may be."""
    folders = [local_folder(checkpoint) for checkpoint in checkpoints]
    for folder in folders:
        if folder is None or any(
            '"quantization_config"' in path.read_text("utf-8") for path in folder.rglob("config.json")
        ):
            return ()
    schedulers = [
        path.read_text("utf-8") for folder in folders if folder for path in folder.rglob("scheduler_config.json")
    ]
    scipy = () if any(map(_SCHEDULES_WITH_SCIPY.search, schedulers)) else ("scipy",)
    return tuple(package for package in (*PACKAGES, *scipy) if package not in used)
