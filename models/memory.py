"""Whether an error means that memory ran out, whatever the library that raised it calls it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_SAYS_SO = re.compile(
    r"out of memory|not enough memory|bad_alloc|bad allocation"
    r"|(can't|cannot|could not|unable to|failed to) (allocate|start new thread|start a new thread|map segment)",
    re.IGNORECASE,
)
_NO_POINTER = ("PyObject pointer is null", "Python API call failed")
"""What a library written in Rust gives up with where Python had no memory for an object; Python's own error is lost."""
_PLAIN = (RuntimeError, OSError, ImportError, SystemError)
"""What libraries raise when they have no class for it: Python itself, of a thread whose stack it cannot have."""


def lacks_memory(error: BaseException) -> bool:
    """Whether this error, or one that it came from, means that the process had no memory."""
    for at in causes(error):
        if isinstance(at, MemoryError) or (isinstance(at, OSError) and at.errno == errno.ENOMEM):
            return True
        if isinstance(at, _PLAIN) and _SAYS_SO.search(str(at)):
            return True
        if is_panic(at) and str(at) in _NO_POINTER:
            return True
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from, each once."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up, such as pydantic's; PyO3 makes of that what is no `Exception`."""
    return type(error).__name__ == "PanicException"
