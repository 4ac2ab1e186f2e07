"""Notes that another version of this server has left, in a Ray cluster that outlived it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from deployments.residency import board
from deployments.residency.board import ReplicaStatus, ReplicaStatusStore, ResidencyStatus, from_note
from deployments.residency.situation import Needs, Rules
from deployments.states import ReplicaState

STATUS = ReplicaStatus("a", "a-1", "here", 1, ReplicaState.READY, since=1.0, gpus=("0", "1"), requests=3)


@pytest.mark.parametrize("kind", [ResidencyStatus, Rules, Needs])
def test_a_note_of_a_newer_version_is_read_without_what_is_new(kind: type) -> None:
    assert from_note(kind, {**asdict(kind()), "more": {"of": "it"}}) == kind()


@pytest.mark.parametrize("kind", [ResidencyStatus, Rules, Needs])
def test_a_note_of_an_older_version_is_read_with_defaults(kind: type) -> None:
    assert from_note(kind, {}) == kind()


def test_everything_that_another_version_left_on_the_board_is_read_by_who_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ingress and the policy read the same store, after an upgrade in a cluster that went on."""
    values: dict[str, bytes] = {}
    store = ReplicaStatusStore("atelier")
    monkeypatch.setattr(store._notes, "put", values.__setitem__)
    monkeypatch.setattr(store._notes, "get", values.get)
    monkeypatch.setattr(store._notes, "keys", lambda prefix: [key for key in values if key.startswith(prefix)])
    store.put(STATUS)
    store.publish({"a": ResidencyStatus(loads=2), "b": ResidencyStatus(is_too_large=True)})
    for key, value in values.items():
        note = json.loads(value)
        for each in note.values() if key.endswith("verdicts") else [note]:
            each["of a newer version"] = {"more": [1]}
            each.pop("evictions", None)
            each.pop("beats", None)
        values[key] = json.dumps(note).encode()
    values["atelier:facts:b-1"] = b'{"alias": "b", "of": "a version that said nothing else"}'
    assert store.facts() == [STATUS]
    assert store.verdicts() == {"a": ResidencyStatus(loads=2), "b": ResidencyStatus(is_too_large=True)}


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
