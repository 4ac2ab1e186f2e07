"""Which requests need a key, and of which scope."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.errors import ApiError, response
from deployments.ingress.middleware.access import Access, Caller
from deployments.ingress.policy import policy_of


class Keys:
    """Lets in who has a key; open to all while there is none (docs/security.md).

    Leaves who calls in the request's state, for `caller_of`.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._access.refresh()
            caller = self._access.caller(Headers(scope=scope))
            scope.setdefault("state", {})["caller"] = caller
            if refusal := self._refusal(scope, caller):
                await response(refusal, scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, caller: Caller) -> ApiError | None:
        of_latest = policy_of(scope).audience == "readers of /latest"
        if is_always_open(scope) or not (self._access.latest_is_closed if of_latest else self._access.is_closed):
            return None
        if of_latest and caller.has_key:
            is_right = caller.scope is not None
            return None if is_right else ApiError(403, "the API key is not valid here", code="invalid_api_key")
        if caller.scope not in ("user", "admin"):
            message = (
                "the API key is not valid" if caller.has_key else "an API key is needed: Authorization: Bearer KEY"
            )
            return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        if policy_of(scope).audience == "admins" and not caller.is_admin:
            return ApiError(403, "this key's scope does not reach here; an admin key is needed", code="forbidden")
        return None


def is_always_open(scope: Scope) -> bool:
    """Whether a request needs no key and counts for no limit: health, the front page, URLs that are secrets."""
    return policy_of(scope).audience == "anyone" or scope["method"] == "OPTIONS"
