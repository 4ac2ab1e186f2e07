"""What libraries raise when a device breaks, and what is made of it."""

from __future__ import annotations

import pickle

import pytest

from models.devices import inference
from models.errors import Cancelled, DeviceLost, InferenceFailed, OutOfMemory


def raised_by(error: Exception) -> Exception:
    with pytest.raises(Exception) as caught, inference():
        raise error
    return caught.value


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported at some other call",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: unspecified launch failure",
        "CUDA error: uncorrectable ECC error encountered",
        "HIP error: an illegal memory access was encountered",
        "[METAL] Command buffer execution failed: Ignored (for causing prior/excessive GPU errors) (00000004)",
    ],
)
def test_an_error_after_which_the_process_cannot_use_the_device_is_distinguished_from_others(said: str) -> None:
    error = raised_by(RuntimeError(said))
    assert type(error) is DeviceLost
    assert said.splitlines()[0] in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: invalid argument"), InferenceFailed),
        (RuntimeError("shapes do not match"), InferenceFailed),
        (Cancelled(), Cancelled),
    ],
)
def test_after_other_errors_the_device_is_still_of_use(error: Exception, kind: type[Exception]) -> None:
    assert type(raised_by(error)) is kind


def test_a_device_that_answers_nothing_more_is_lost_whatever_the_first_error_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No CUDA device can be broken here, so torch's two questions to it are answered in its place."""
    import torch

    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    assert type(raised_by(RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"))) is DeviceLost
