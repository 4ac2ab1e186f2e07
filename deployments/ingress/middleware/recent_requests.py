"""The latest requests, for `GET /v1/system/requests`: what people look for when something was slow or went wrong."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from deployments.ingress.middleware.access import Caller
from deployments.ingress.policy import policy_of

_MOST: Final = 1000
_SHOWN: Final = 100
_LONGEST_PATH: Final = 200


@dataclass(frozen=True)
class RecentRequest:
    """One request that was answered, at `at` in epoch seconds; `status` 0: its client left before."""

    id: str
    at: float
    method: str
    path: str
    status: int
    seconds: float
    model: str | None
    owner: str

    def shown(self, *, with_caller: bool) -> dict[str, Any]:
        """As the route answers it. A path has no query: that of a signed URL is a secret."""
        fields = {name: getattr(self, name) for name in ("id", "at", "method", "path", "status", "seconds", "model")}
        return fields | ({"caller": self.owner} if with_caller else {})


class RecentRequests:
    """The last thousand of all callers, but for those that only look how the server is, and those without a key."""

    def __init__(self) -> None:
        self._all: deque[RecentRequest] = deque(maxlen=_MOST)

    def note(self, scope: Scope, status: int, seconds: float, model: str | None) -> None:
        """Take note of a request that has been answered."""
        caller: Caller | None = scope["state"].get("caller")
        is_let_in = caller is not None and (caller.scope is not None or not caller.owner)
        policy = policy_of(scope)
        if caller is None or not is_let_in or policy.only_looks or policy.audience == "anyone":
            return
        self._all.appendleft(
            RecentRequest(
                scope["state"]["request_id"], round(time.time() - seconds, 3), scope["method"],
                scope["path"][:_LONGEST_PATH], status, round(seconds, 3), model, caller.owner,
            )
        )  # fmt: skip

    def of(self, owner: str | None) -> list[RecentRequest]:
        """The latest hundred, newest first: those of an owner, or all."""
        return [each for each in self._all if owner is None or each.owner == owner][:_SHOWN]
