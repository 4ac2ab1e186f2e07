"""Every error a client can see, in one envelope (docs/http-api.md, "Errors").

Routes raise `ApiError` for what they find themselves; what engines and stores raise is mapped here and nowhere else.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from ray.exceptions import RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Scope

from deployments import serve_internals
from deployments.executors import ExecutorFull
from deployments.ingress.policy import ErrorFamily, policy_of
from models import errors as model_errors
from models.memory import causes, lacks_memory
from stores import errors as store_errors

logger = logging.getLogger("ray.serve")

LOAD_FAILED = "MODEL_LOAD_FAILED"
_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Anthropic's `type` by status."""


class ApiError(Exception):
    """A refusal with its HTTP face. `param` is the field's path, e.g. `messages[0].content[1].image_url`.

    `detail` is for old clients that compare it; the message where it is not given.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(status, message)  # so that it is picklable: image search calls a model in its own process
        self.status, self.message, self.code, self.param = status, message, code, param
        self.detail = detail or message
        self.headers = dict(headers or {})

    def __str__(self) -> str:
        return self.message

    def again(self) -> ApiError:
        """The same as another exception, to be raised once more: one keeps the frames that it passed."""
        return ApiError(
            self.status, self.message, code=self.code, param=self.param, headers=self.headers, detail=self.detail
        )

    @property
    def type(self) -> str:
        """OpenAI's `type`."""
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limit_error"
        return "server_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A 400 that names the field."""
    return ApiError(400, message, code=code, param=param)


def response(error: ApiError, scope: Scope) -> JSONResponse:
    """The envelope, with the extra keys that the clients of the request's route read."""
    request_id = scope.get("state", {}).get("request_id")
    body = envelope(error, policy_of(scope).errors, request_id)
    return JSONResponse(body, status_code=error.status, headers=error.headers)


def envelope(error: ApiError, family: ErrorFamily = "openai", request_id: str | None = None) -> dict[str, object]:
    """The body of an error response, also sent inside a stream that has begun; Anthropic's has the request's id."""
    inner: dict[str, object] = {
        "message": error.message,
        "type": _ANTHROPIC.get(error.status, "api_error") if family == "anthropic" else error.type,
        "param": error.param,
        "code": error.code,
    }
    if family == "anthropic":
        return {"type": "error", "error": inner, "request_id": request_id}
    body: dict[str, object] = {"error": inner}
    if family == "detail on top":
        body["detail"] = error.detail
    elif family == "detail inside":
        inner["detail"] = error.detail
    return body


def let_go(error: BaseException) -> None:
    """Free what the frames of an error hold, such as the body of its request: without memory, an answer needs it."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)


def renamed(error: ApiError, fields: Mapping[str, str]) -> ApiError:
    """The error with its field as the caller's route names it."""
    error.param = fields.get(error.param or "", error.param)
    return error


def from_exception(error: BaseException) -> ApiError:
    """The HTTP face of anything raised while a request was answered; what is not known becomes a plain 500."""
    match error:
        case RayTaskError():
            cause = error.cause
            return from_exception(cause) if cause is not error else _unknown(error)
        case ApiError():
            return error
        case model_errors.InvalidInput():
            return ApiError(400, error.message, code=error.code, param=error.param)
        case model_errors.OutOfMemory():
            return ApiError(503, str(error), code="OUT_OF_MEMORY", headers={"Retry-After": "10"})
        case _ if lacks_memory(error):  # this process, or image search
            let_go(error)
            logger.error("there was no memory for a request", exc_info=error)
            message = "the server has no memory for this request now"
            return ApiError(503, message, code="OUT_OF_MEMORY", headers={"Retry-After": "10"})
        case model_errors.CheckpointError():
            return ApiError(500, "the model could not be loaded; the server's log says why", code=LOAD_FAILED)
        case model_errors.InferenceFailed():
            return ApiError(500, "the model failed on this input; the server's log says why", code="INFERENCE_FAILED")
        case model_errors.UpstreamBusy():
            return ApiError(429, str(error), code="rate_limit_exceeded", headers={"Retry-After": "2"})
        case model_errors.UpstreamFailed():
            return ApiError(502, str(error), code="UPSTREAM_FAILED")
        case store_errors.StoreError():
            return _from_store(error)
        case BackPressureError():
            return ApiError(
                429, "too many requests are waiting for this model", code="rate_limit_exceeded",
                headers={"Retry-After": "2"},
            )  # fmt: skip
        case ExecutorFull():
            message = f"too many requests wait for the same part of the server ({error.name})"
            return ApiError(503, message, code="busy", headers={"Retry-After": "5"})
        case DeploymentUnavailableError():
            return ApiError(500, "the model could not be started; the server's log says why", code=LOAD_FAILED)
        case _ if serve_internals.is_loss(error):
            return ApiError(
                503, "the model's process ended while it worked on this request", code="model_restarting",
                headers={"Retry-After": "2"},
            )  # fmt: skip
        case HTTPException():
            return _from_http(error)
        case _:
            return _unknown(error)


def _from_store(error: store_errors.StoreError) -> ApiError:
    match error:
        case store_errors.ProjectNotFound():
            return ApiError(404, str(error), code="PROJECT_NOT_FOUND")
        case store_errors.KeyNotFound():
            return ApiError(404, str(error), code="R2_KEY_NOT_FOUND", param="key")
        case store_errors.NotFound():
            return ApiError(404, str(error), code="NOT_FOUND")
        case store_errors.UploadFailed():
            logger.error("the object store failed", exc_info=error)
            return ApiError(502, str(error), code="R2_UPLOAD_FAILED")
        case store_errors.DownloadFailed():
            logger.error("the object store failed", exc_info=error)
            return ApiError(502, str(error), code="R2_DOWNLOAD_FAILED")
        case store_errors.CacheUnavailable():
            return ApiError(503, str(error), code="CACHE_UNAVAILABLE", headers={"Retry-After": "5"})
        case store_errors.EmbedderChanged():
            return ApiError(
                503, str(error), code="EMBEDDER_CHANGED", headers={"Retry-After": "60", "x-should-retry": "false"}
            )
        case store_errors.SharedStateUnavailable():
            return ApiError(503, str(error), code="SHARED_STATE_UNAVAILABLE", headers={"Retry-After": "5"})
        case store_errors.RestoreFailed() | store_errors.StoreUnavailable():
            return ApiError(503, str(error), code="SEARCH_UNAVAILABLE", headers={"Retry-After": "10"})
        case store_errors.ConsentInUse():
            return ApiError(409, str(error), code="consent_in_use", headers={"x-should-retry": "false"})
        case store_errors.InvalidKey():
            return ApiError(400, str(error), code="INVALID_KEY", param="key")
        case store_errors.StoreFull():
            return ApiError(
                507, "no space is left where the server keeps its files", code="STORE_FULL",
                headers={"x-should-retry": "false"},
            )  # fmt: skip
        case _:
            logger.error("the store failed", exc_info=error)
            return ApiError(500, "the store failed; the server's log says why", code="STORE_FAILED")


def _from_http(error: HTTPException) -> ApiError:
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return ApiError(404, "there is no such route", headers=headers)
        case 405:
            allowed = headers.get("Allow", headers.get("allow", ""))
            message = f"this route does not take this method; allowed: {allowed}" if allowed else error.detail
            return ApiError(405, message, code="method_not_supported", headers=headers)
        case status:
            return ApiError(status, error.detail, headers=headers)


def _unknown(error: BaseException) -> ApiError:
    logger.error("a request ended in an error that nobody expected", exc_info=error)
    return ApiError(500, "the server made a mistake; its log has the details", code="internal_error")
