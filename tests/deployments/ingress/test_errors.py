"""What callers are told of things that went wrong where nobody expected it."""

from __future__ import annotations

from ray.exceptions import RayTaskError

from deployments.ingress.errors import from_exception


def test_a_process_without_memory_is_a_503_that_may_be_tried_again() -> None:
    for error in (MemoryError(), RayTaskError("search", "traceback", MemoryError())):
        told = from_exception(error)
        assert (told.status, told.code, told.headers["Retry-After"]) == (503, "OUT_OF_MEMORY", "10")
        assert "memory" in told.message


def test_what_nobody_knows_is_a_500_that_tells_nothing_of_its_inside() -> None:
    told = from_exception(ValueError("/etc/secret"))
    assert (told.status, told.code) == (500, "internal_error")
    assert "secret" not in told.message
