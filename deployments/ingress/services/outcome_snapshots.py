"""What a job has given so far as bytes, to be kept, or to be given by another ingress replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from deployments.imaging import FinishedImage, Partial
from deployments.ingress.errors import ApiError
from deployments.ingress.services.image_answers import AskedPictures, PictureAnswer
from deployments.ingress.services.job_outcomes import Outcome


class ErrorFields(BaseModel):
    """An `ApiError`, field by field."""

    status: int
    message: str
    code: str | None
    param: str | None
    headers: dict[str, str]
    detail: str | None

    @classmethod
    def of(cls, error: ApiError) -> ErrorFields:
        """Those of an error."""
        return cls(
            status=error.status,
            message=error.message,
            code=error.code,
            param=error.param,
            headers=error.headers,
            detail=error.detail,
        )

    def error(self) -> ApiError:
        """The error again."""
        return ApiError(**dict(self))


class Snapshot(BaseModel):
    """An outcome but for its first `skipped` finished pictures; those of the answer are not there twice."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    asked: AskedPictures
    skipped: int
    finished: list[FinishedImage]
    partials: list[Partial]
    changes: int
    has_ended: bool
    answered_at: int | None
    items: list[dict[str, Any]]
    fields: dict[str, Any]
    error: ErrorFields | None

    @classmethod
    def of(cls, outcome: Outcome, skipped: int = 0) -> Snapshot:
        """What there is now."""
        answer = outcome.answer
        return cls(
            asked=outcome.asked.without_pictures(),
            skipped=skipped,
            finished=list(outcome.finished[skipped:]),
            partials=list(outcome.partials),
            changes=outcome.changes,
            has_ended=outcome.has_ended,
            answered_at=None if answer is None else answer.created,
            items=[] if answer is None else answer.items,
            fields={} if answer is None else answer.fields,
            error=None if outcome.error is None else ErrorFields.of(outcome.error),
        )

    def pieces(self, known: Sequence[Partial]) -> list[Partial | FinishedImage]:
        """What is new to who knows the skipped pictures and these partial ones."""
        return [*self.finished, *(each for each in self.partials if each not in known)]

    def end(self, outcome: Outcome) -> None:
        """End an outcome that has got all pieces as this one has ended."""
        answer = None
        if self.answered_at is not None:
            wants_bytes = "b64_json" in self.asked.formats
            pictures = [each.data for each in outcome.finished] if wants_bytes else []
            answer = PictureAnswer(self.answered_at, self.items, self.fields, pictures)
        outcome.end(answer=answer, error=None if self.error is None else self.error.error())

    def restored(self) -> Outcome:
        """An outcome that has ended, of a snapshot that skips nothing."""
        outcome = Outcome(self.asked)
        for each in self.finished:
            outcome.add(each)
        self.end(outcome)
        return outcome
