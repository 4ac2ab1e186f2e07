"""What the machine is, and whether its GPU can be used at all."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from bench.gpu.report import Facts
from bench.gpu.work import GB, Work
from models.devices import first_line

_PACKAGES = ("torch", "diffusers", "transformers", "bitsandbytes", "torchao", "ray")


def look(work: Work) -> None:
    """Say the machine's facts.

    Raises:
        RuntimeError: there is no GPU, or its driver is too old.
    """
    import torch

    facts = {"processor": f"{platform.machine()}, {os.cpu_count()} cores", "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "absent"
    work.say(Facts(facts))
    if work.tiny:
        return
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:  # the latter of a torch that was built without CUDA
        raise RuntimeError(f"no GPU can be used: {first_line(error)}") from error
    card = torch.cuda.get_device_properties(0)
    work.say(
        Facts({"GPU": card.name, "its memory": f"{card.total_memory / GB:.0f} GB", "CUDA": str(torch.version.cuda)})
    )
