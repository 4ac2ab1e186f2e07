"""What a replica keeps of a job, and when that decides who gets the next one."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.common import DeploymentID, RequestMetadata
from ray.serve.request_router import PendingRequest, ReplicaID

from deployments.warm_router import is_no_busier, warmth_of
from models.tasks import ChatJob, ImageJob, ImagePart, LoraUse, Message, SpeechJob, TextPart


def asking(*args: Any) -> PendingRequest:
    nobody_waits: Any = None
    return PendingRequest(list(args), {}, RequestMetadata("1", "1"), future=nobody_waits)


def picture(prompt: str, *loras: str) -> ImageJob:
    return ImageJob(prompt, 64, 64, 4, 1.0, 0, loras=tuple(LoraUse(name) for name in loras))


def chat(*pictures: bytes, about: str = "What is this?") -> ChatJob:
    return ChatJob((Message("user", (*map(ImagePart, pictures), TextPart(about))),))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (picture("a cat", "ink"), picture("a dog", "ink"), True),
        (picture("a cat", "ink"), picture("a cat", "oil"), False),
        (picture("a cat"), picture("a cat"), True),
        (picture("a cat"), picture("a dog"), False),
        (chat(b"first"), chat(b"first", b"second", about="And this?"), True),
        (chat(b"first"), chat(b"second"), False),
        (SpeechJob("One.", reference=b"Ann"), SpeechJob("Two.", reference=b"Ann"), True),
        (SpeechJob("One.", reference=b"Ann"), SpeechJob("One.", reference=b"Bob"), False),
    ],
)
def test_jobs_for_which_the_same_is_kept_go_together(one: Any, other: Any, alike: bool) -> None:
    assert (warmth_of(asking(one)) == warmth_of(asking(other))) is alike


@pytest.mark.parametrize("args", [(), ("a word",), (chat(),), (SpeechJob("One.", voice="alloy"),)])
def test_a_job_of_which_nothing_is_kept_goes_anywhere(args: tuple[Any, ...]) -> None:
    assert warmth_of(asking(*args)) is None


def test_warmth_counts_only_where_nobody_has_less_to_do() -> None:
    warm, cold = (ReplicaID(name, DeploymentID("voice")) for name in ("warm", "cold"))
    assert is_no_busier(warm, {warm: 0, cold: 0})
    assert is_no_busier(warm, {warm: 1, cold: 2})
    assert not is_no_busier(warm, {warm: 1, cold: 0})
