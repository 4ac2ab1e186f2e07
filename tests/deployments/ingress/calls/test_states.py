"""What is known of the models while the control plane answers, is slow, fails and comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from deployments.ingress.calls.states import ModelStates, Reason, Snapshot, Standing
from deployments.residency.board import ReplicaStatus, ResidencyStatus
from deployments.states import ModelState, ReplicaState

READY = ReplicaStatus("a", "a-1", "here", 1, ReplicaState.READY, since=1.0)


def deployment(*replicas: str, status: str = "HEALTHY") -> dict[str, Any]:
    """A deployment with a replica in each of these states, as Serve's controller describes it."""
    return {"status": status, "replicas": [{"replica_id": f"a-{n}", "state": s} for n, s in enumerate(replicas, 1)]}


class ControlPlane:
    """Answers with `snapshot` as long as it is `open`, and not at all while it is closed; counts how often."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | Exception = Snapshot({"a": deployment("RUNNING")}, [READY], {})
        self.open = threading.Event()
        self.open.set()
        self.asked = 0

    def __call__(self) -> Snapshot:
        self.asked += 1
        self.open.wait()
        if isinstance(self.snapshot, Exception):
            raise self.snapshot
        return self.snapshot


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    made = ControlPlane()
    yield made
    made.open.set()


async def state_of(control_plane: ControlPlane) -> Standing:
    return (await ModelStates(["a"], control_plane).standings())["a"]


async def test_a_control_plane_that_has_stopped_leaves_what_was_known(control_plane: ControlPlane) -> None:
    states = ModelStates(["a"], control_plane)
    await states.standings()
    control_plane.open.clear()
    assert (await states.standings(at_most=0.0, patience=0.01))["a"].state == "ready"
    first = states.age
    assert (await states.standings(at_most=0.0, patience=0.01))["a"].state == "ready"
    assert 0 < first < states.age
    assert control_plane.asked == 2  # the one that does not come back is not joined by others


async def test_those_who_come_later_do_not_wait_for_a_control_plane_that_has_stopped(
    control_plane: ControlPlane,
) -> None:
    states = ModelStates(["a"], control_plane)
    await states.standings()
    control_plane.open.clear()
    await states.standings(at_most=0.0, patience=0.01)
    later = asyncio.ensure_future(states.standings(at_most=0.0, patience=0.0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert later.done()


async def test_a_control_plane_that_fails_leaves_what_was_known_and_is_asked_again(control_plane: ControlPlane) -> None:
    states = ModelStates(["a"], control_plane)
    await states.standings()
    control_plane.snapshot = GetTimeoutError("no answer")
    assert (await states.standings(at_most=0.0))["a"].state == "ready"
    control_plane.snapshot = Snapshot({"a": deployment()}, [], {})
    assert (await states.standings(at_most=0.0))["a"].state == "cold"


async def test_a_failed_look_is_not_repeated_by_the_one_who_waits_for_it(control_plane: ControlPlane) -> None:
    control_plane.snapshot = GetTimeoutError("no answer")
    states = ModelStates(["a"], control_plane)
    assert (await states.standings())["a"] == Standing(ModelState.COLD)
    assert (await states.standings())["a"] == Standing(ModelState.COLD)
    assert control_plane.asked == 1


async def test_what_is_fresh_is_not_asked_for_again_until_something_changes(control_plane: ControlPlane) -> None:
    states = ModelStates(["a"], control_plane)
    await states.standings(at_most=60)
    await states.standings(at_most=60)
    assert control_plane.asked == 1
    states.expire()
    await states.standings(at_most=60)
    assert control_plane.asked == 2


async def test_a_look_that_began_before_the_question_does_not_answer_who_wants_to_know_it_now(
    control_plane: ControlPlane,
) -> None:
    states = ModelStates(["a"], control_plane)
    control_plane.open.clear()
    early = asyncio.ensure_future(states.standings(at_most=60, patience=5))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(states.standings(at_most=0.0, patience=5))
    await asyncio.sleep(0)
    control_plane.open.set()
    await asyncio.gather(early, late)
    assert control_plane.asked == 2


async def test_a_model_that_has_answered_is_ready_at_once(control_plane: ControlPlane) -> None:
    control_plane.snapshot = Snapshot({"a": deployment("STARTING")}, [], {})
    states = ModelStates(["a"], control_plane)
    assert (await states.standings())["a"].state == "starting"
    control_plane.open.clear()
    states.has_answered("a")
    assert (await states.standings(patience=0.0))["a"].state == "ready"


async def test_a_blocking_question_is_given_up_after_its_patience() -> None:
    answered = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            await ModelStates([]).ask(answered.wait, patience=0.01)
    finally:
        answered.set()


@pytest.mark.parametrize(
    ("deployments", "facts", "state"),
    [
        ({}, [], "cold"),
        ({"a": deployment()}, [], "cold"),
        ({"a": deployment("STARTING")}, [], "starting"),
        ({"a": deployment("RUNNING")}, [], "ready"),
        ({"a": deployment("STARTING")}, [READY], "ready"),
        ({"a": deployment("STOPPING")}, [READY], "cold"),
        ({"a": deployment(status="UNHEALTHY")}, [], "failed"),
        ({"a": deployment(status="DEPLOY_FAILED")}, [], "failed"),
    ],
)
async def test_a_state_is_what_serve_says_or_the_replica_has_said_since(
    control_plane: ControlPlane, deployments: dict[str, Any], facts: list[ReplicaStatus], state: str
) -> None:
    control_plane.snapshot = Snapshot(deployments, facts, {})
    assert (await state_of(control_plane)).state == state


@pytest.mark.parametrize(
    ("standing", "why", "words"),
    [
        (Standing(ModelState.COLD), None, None),
        (Standing(ModelState.READY), None, None),
        (Standing(ModelState.STARTING), Reason.LOADING, "is being loaded"),
        (
            Standing(ModelState.STARTING, verdict=ResidencyStatus(waits_for="b, c")),
            Reason.WAITS,
            "waits for b, c to leave",
        ),
        (
            Standing(ModelState.COLD, verdict=ResidencyStatus(is_too_large=True)),
            Reason.TOO_LARGE,
            Reason.TOO_LARGE.text(),
        ),
        (
            Standing(ModelState.STARTING, verdict=ResidencyStatus(lacks_accelerator="H100")),
            Reason.NO_ACCELERATOR,
            "is for machines with a GPU of the kind H100, and there is none now",
        ),
        (Standing(ModelState.FAILED), Reason.FAILED, Reason.FAILED.text()),
    ],
)
def test_a_model_that_cannot_serve_says_why(standing: Standing, why: Reason | None, words: str | None) -> None:
    assert (standing.why, standing.reason) == (why, words)
