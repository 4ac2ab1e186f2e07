"""What holds for a route beside what it does: who may call it, how its errors look, whether it may be repeated by key.

It stands on the route, and is found by the same match that finds the route. So a prefix of the application, another
spelling of a path or a new family of routes cannot lead around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from starlette.routing import Match
from starlette.types import Scope

Audience = Literal["anyone", "users", "admins", "readers of /latest"]
ErrorFamily = Literal["openai", "anthropic", "detail on top", "detail inside"]

E = TypeVar("E", bound=Callable[..., Any])


@dataclass(frozen=True)
class Policy:
    """What holds for a route.

    audience: who may call it once there are keys.
    errors: where its clients look for `detail`: nowhere, beside `error`, or in it; or they are Anthropic's.
    is_repeatable: a POST takes an `Idempotency-Key`.
    stores: what is sent goes into a store or is looked up in one, and may have to wait for it.
    only_looks: it tells how the server is, or how far a job: it takes none of the caller's places, so that who has
        taken them all can still look and stop, and it is not among the recent requests.
    """

    audience: Audience = "users"
    errors: ErrorFamily = "openai"
    is_repeatable: bool = True
    stores: bool = False
    only_looks: bool = False


_OWN: Final = "__route_policy__"
"""On an endpoint: the fields in which it differs from its family."""
_WHOLE: Final = "__policy__"
"""On an endpoint, or the application of a mount: the policy."""


def policy(**own: Any) -> Callable[[E], E]:
    """Decorates an endpoint that differs from its family in some fields of `Policy`."""
    replace(Policy(), **own)  # a wrong name fails here

    def mark(endpoint: E) -> E:
        setattr(endpoint, _OWN, own)
        return endpoint

    return mark


def apply(endpoint: Any, family: Policy, like: Any = None) -> None:
    """Give an endpoint its family's policy, changed by what its own decorator says, or that of another endpoint."""
    setattr(endpoint, _WHOLE, replace(family, **getattr(like or endpoint, _OWN, {})))


def has_policy(endpoint: Any) -> bool:
    """Whether `apply` has been called for an endpoint."""
    return hasattr(endpoint, _WHOLE)


def policy_of(scope: Scope) -> Policy:
    """The policy of a request's route; of a path that no route has, the strictest that any caller with a key passes."""
    state: dict[str, Any] = scope.setdefault("state", {})
    if "policy" not in state:
        state["policy"] = _find(scope)
    found: Policy = state["policy"]
    return found


def _find(scope: Scope) -> Policy:
    if scope["method"] == "HEAD":  # a route for GET answers it
        with_head = _match(scope)
        return with_head if with_head is not None else _match({**scope, "method": "GET"}) or Policy()
    return _match(scope) or Policy()


def _match(scope: Scope) -> Policy | None:
    """Of the route that takes path and method, else of the first that takes the path: it says which methods it has."""
    of_path: Policy | None = None
    for route in scope["app"].routes:
        match, child = route.matches(scope)
        if match == Match.NONE:
            continue
        found: Policy = getattr(child.get("endpoint"), _WHOLE, Policy())
        if match == Match.FULL:
            return found
        of_path = of_path or found
    return None if scope["method"] == "HEAD" else of_path
