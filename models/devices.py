"""The device and dtype that an engine computes with, and what its libraries raise when memory runs out."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from models.errors import DeviceLost, InferenceFailed, ModelError, OutOfMemory
from models.memory import lacks_memory
from models.quantizers import leave_out_unused

if TYPE_CHECKING:
    from models.entry import ModelEntry

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|could not create a (primitive|memory object)$"
    r"|(CUBLAS|CUDNN)_STATUS_(ALLOC|\w+_ALLOCATION)_FAILED"
    r"|^\[metal::malloc\]",
    re.IGNORECASE,
)
"""What a plain RuntimeError says: of MPS, of the CPU's allocator, of oneDNN, of cuBLAS and cuDNN (old and new name),
of MLX on Metal."""


_DEVICE_LOST = re.compile(
    r"(CUDA|HIP) error: (device-side assert triggered|an illegal (memory access|instruction) was encountered"
    r"|unspecified launch failure|misaligned address|invalid program counter|hardware stack error"
    r"|the launch timed out and was terminated|uncorrectable (ECC|NVLink) error encountered|context is destroyed)"
    r"|Ignored \(for causing prior/excessive GPU errors\)",
    re.IGNORECASE,
)
"""What torch says of CUDA and ROCm after which a process has no use of the device, and MLX and torch of Metal."""


@contextmanager
def inference() -> Iterator[None]:
    """Around a model's run: what a library raises leaves as `OutOfMemory`, `DeviceLost` or `InferenceFailed`.

    After all but `DeviceLost` the next run works. Errors of ours (`Cancelled`, `InvalidInput` …) pass as they are.
    """
    try:
        yield
    except Exception as error:  # a library may raise anything
        traceback.clear_frames(error.__traceback__)  # the frames hold the tensors of the broken run
        if is_device_lost(error):
            raise DeviceLost(f"the device broke and needs a new process: {first_line(error)}") from error
        free_device_cache()
        if isinstance(error, ModelError):
            raise
        if is_out_of_memory(error):
            raise OutOfMemory("the device has not enough free memory for this request") from None
        raise InferenceFailed(f"the model failed: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a library's error says that memory ran out, of the device or of the machine."""
    torch = sys.modules.get("torch")
    if lacks_memory(error) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def is_device_lost(error: BaseException) -> bool:
    """Whether a library's error, or what the device says now, means that this process cannot use the device any more.

    An error that breaks a CUDA context is reported by every later call, whatever the first one looked like: it may
    have been raised by an innocent one, or as cuBLAS's own.
    """
    if isinstance(error, DeviceLost) or _DEVICE_LOST.search(str(error)):
        return True
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def free_device_cache() -> None:
    """Return cached accelerator memory to the device, where torch or MLX has been imported at all."""
    if mlx := sys.modules.get("mlx.core"):
        mlx.clear_cache()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def prepare_torch(
    entry: ModelEntry, used: Collection[str] = (), more_checkpoints: Sequence[str] = ()
) -> tuple[str, Any]:
    """The device and dtype of an entry, its CPU threads set for the whole process.

    To be called before anything else imports torch: OpenMP reads its environment only once. `used` are those of the
    packages for quantised weights and scipy that it needs, `more_checkpoints` what it loads beside its own.
    """

    leave_out_unused([entry.checkpoint, *more_checkpoints], used)
    # OpenMP threads spin while they wait; where replicas share cores, each keeps the others from working. With two
    # threads on two busy cores a small FLUX took 15 s spinning and 0.3 s sleeping (0.3 s with one thread)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    torch.set_num_threads(entry.threads or _usable_cores())
    device = pick_device(entry.device)
    return device, pick_dtype(entry.dtype, device)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of this process while a native library is loaded that looks for it then, and never again."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _usable_cores() -> int:
    # not torch's own guess: Ray sets OMP_NUM_THREADS to the CPUs a replica asks for, often 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(wanted: str) -> str:
    """`auto` becomes cuda, mps or cpu, whatever is there first."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(wanted: str, device: str) -> Any:
    """A torch dtype; `auto` is bfloat16 on an accelerator and float32 on a CPU."""
    import torch

    if wanted == "auto":
        wanted = "float32" if device == "cpu" else "bfloat16"
    return getattr(torch, wanted)
