"""Whether an error means that memory ran out, whatever the library that raised it calls it."""

from __future__ import annotations

import errno
import re

_SAYS_SO = re.compile(
    r"out of memory|not enough memory|bad_alloc|bad allocation"
    r"|(can't|cannot|could not|unable to|failed to) (allocate|start new thread|start a new thread|map segment)",
    re.IGNORECASE,
)
_PLAIN = (RuntimeError, OSError, ImportError, SystemError)
"""What libraries raise when they have no class for it: Python itself, of a thread whose stack it cannot have."""


def lacks_memory(error: BaseException) -> bool:
    """Whether this error, or one that it came from, means that the process had no memory."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if isinstance(at, MemoryError) or (isinstance(at, OSError) and at.errno == errno.ENOMEM):
            return True
        if isinstance(at, _PLAIN) and _SAYS_SO.search(str(at)):
            return True
        at = at.__cause__ or at.__context__
    return False
