"""What callers learn of things that went wrong where nobody expected it."""

from __future__ import annotations

import errno

import pytest
from ray.exceptions import RayTaskError

from deployments.ingress.errors import from_exception
from models.errors import InvalidInput, UpstreamFailed
from stores.errors import StoreUnavailable


def from_memory(error: Exception) -> Exception:
    """An error that a library made of another, as `raise … from …` does."""
    error.__cause__ = MemoryError()
    return error


WITHOUT_MEMORY = [
    MemoryError(),
    RayTaskError("search", "traceback", MemoryError()),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    RuntimeError("std::bad_alloc"),
    ImportError("libfoo.so: failed to map segment from shared object"),
    OSError("out of memory error when reading image file"),
    from_memory(RuntimeError("the request could not be sent")),
    from_memory(StoreUnavailable("the index does not answer")),
    RayTaskError("search", "traceback", OSError(errno.ENOMEM, "Cannot allocate memory")),
]


@pytest.mark.parametrize("error", WITHOUT_MEMORY, ids=repr)
def test_a_process_without_memory_is_a_503_that_may_be_tried_again(error: Exception) -> None:
    told = from_exception(error)
    assert (told.status, told.code, told.headers["Retry-After"]) == (503, "OUT_OF_MEMORY", "10")
    assert "memory" in told.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.EACCES, "Permission denied"), 500),
        (ValueError("a prompt about being out of memory"), 500),
        (UpstreamFailed("the upstream is out of memory"), 502),
        (InvalidInput("out of memory is no voice", "voice"), 400),
    ],
    ids=repr,
)
def test_what_only_speaks_of_memory_keeps_its_own_status(error: Exception, status: int) -> None:
    assert from_exception(error).status == status


def test_what_nobody_knows_is_a_500_that_tells_nothing_of_its_inside() -> None:
    told = from_exception(ValueError("/etc/secret"))
    assert (told.status, told.code) == (500, "internal_error")
    assert "secret" not in told.message
