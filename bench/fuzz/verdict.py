"""What every answer must be, whatever was asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

HANGS_AFTER = 180.0
"""Seconds after which an answer that has not come counts as one that never will: a model may take 120 to start."""
_ENVELOPE = {"message", "type", "param", "code"}


def fault_of(method: str, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """What is wrong with an answer; None when nothing is.

    Right is any status below 500, and 503 with a `Retry-After` of 1 to 60 seconds. Errors carry the envelope
    `{"error": {"message", "type", "param", "code"}}`, and every answer its `x-request-id`.
    """
    if not headers.get("x-request-id"):
        return f"{status} without x-request-id"
    if status < 400:
        return None
    if method != "HEAD" and (fault := _fault_of_envelope(status, body)):
        return fault
    if status < 500:
        return None
    if status == 503 and headers.get("retry-after", "").isdecimal() and 1 <= int(headers["retry-after"]) <= 60:
        return None
    return f"{status}: {body[:300]!r}"


def _fault_of_envelope(status: int, body: bytes) -> str | None:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without the error envelope: {body[:200]!r}"
    if not (isinstance(error, dict) and error.keys() >= _ENVELOPE):
        return f"{status} with half an envelope: {body[:200]!r}"
    return None


@dataclass
class Tally:
    """What came of a kind of requests: how many got which status, and what was wrong. Threads may share one."""

    kind: str
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.statuses.total()

    def add(self, status: str, fault: str | None = None, request: str = "") -> None:
        """Count one answer; `request` says how to send the same again."""
        with self._lock:
            self.statuses[status] += 1
            if fault:
                self.faults.append(f"{fault}\n    {request}")
