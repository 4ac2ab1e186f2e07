"""`Prefer: respond-async` (RFC 7240, 4.1): an answer at once, and the work goes on without its connection."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers

HEADER: Final = "Prefer"
RESPOND_ASYNC: Final = "respond-async"
DESCRIPTION: Final = (
    f"`{RESPOND_ASYNC}`: 202 at once, with the job and its `Location`; the work goes on without this connection, and "
    "its events and its result are had there."
)


def prefers_async(headers: Headers) -> bool:
    """Whether a request's headers have the preference, among others or alone."""
    preferences = ",".join(headers.getlist(HEADER)).split(",")
    return any(each.partition(";")[0].strip().lower() == RESPOND_ASYNC for each in preferences)
