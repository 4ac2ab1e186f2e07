"""What can go wrong in an engine. The HTTP face of each stands in `deployments/ingress/errors.py` and nowhere else.

All are picklable with their arguments, since they cross from a model's replica to the ingress.
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of everything an engine raises on purpose. `str(error)` is fit for the caller to read."""


class InvalidInput(ModelError):
    """The caller asked for something that cannot be. `param` is the field's path, e.g. `messages[0].content[1]`."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message, param, code)
        self.message, self.param, self.code = message, param, code

    def __str__(self) -> str:
        return self.message


class InvalidImage(InvalidInput):
    """Bytes that are not a picture we read: unknown type, truncated, too many pixels."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_image") -> None:
        super().__init__(message, param, code)


class CheckpointError(ModelError):
    """The checkpoint is missing, unreadable or of another kind than the engine takes."""


class OutOfMemory(ModelError):
    """The device had no room for this request; the next one may fit."""


class InferenceFailed(ModelError):
    """The model broke on an input that passed every check."""


class DeviceLost(InferenceFailed):
    """The device answers nothing more in this process; only a new process can use it."""


class UpstreamFailed(ModelError):
    """The server behind an alias cannot be reached, broke off or answered what cannot be understood."""


class UpstreamBusy(UpstreamFailed):
    """The server behind an alias has too much to do; later it may answer."""


class Cancelled(ModelError):
    """The caller went away or cancelled; raised from a step callback to stop the work."""
