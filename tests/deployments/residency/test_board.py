"""Notes that another version of this server has left, in a Ray cluster that outlived it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from deployments.residency import board
from deployments.residency.board import ReplicaStatus, ResidencyStatus, from_note
from deployments.residency.plan import Needs, Rules
from deployments.states import ReplicaState

STATUS = ReplicaStatus("a", "a-1", "here", 1, ReplicaState.READY, since=1.0, gpus=("0", "1"), requests=3)


@pytest.mark.parametrize("kind", [ResidencyStatus, Rules, Needs])
def test_a_note_of_a_newer_version_is_read_without_what_is_new(kind: type) -> None:
    assert from_note(kind, {**asdict(kind()), "more": {"of": "it"}}) == kind()


@pytest.mark.parametrize("kind", [ResidencyStatus, Rules, Needs])
def test_a_note_of_an_older_version_is_read_with_defaults(kind: type) -> None:
    assert from_note(kind, {}) == kind()


def test_a_replica_of_a_newer_version_is_still_known() -> None:
    assert board._replica_status({**asdict(STATUS), "gpus": ["0", "1"], "more": 1}) == STATUS


def test_a_replica_of_an_older_version_is_still_known() -> None:
    note = asdict(STATUS)
    del note["beats"], note["keep"], note["gpus"]
    assert board._replica_status(note) == ReplicaStatus(
        "a", "a-1", "here", 1, ReplicaState.READY, since=1.0, requests=3
    )


def test_a_replica_that_does_not_say_its_state_is_left_out() -> None:
    note = asdict(STATUS)
    del note["state"]
    assert board._replica_status(note) is None
