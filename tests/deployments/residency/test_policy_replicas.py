"""What the policy tells Serve and the board of models that have several replicas."""

from __future__ import annotations

import pytest

from deployments import serve_internals
from deployments.states import ReplicaState
from tests.deployments.residency.machine import GB, Machine, Model, started


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A model of up to 3 replicas for 4 requests each, and one that fits beside one of them."""
    scale = {"least": 1, "most": 3, "target_ongoing": 4}
    return started(monkeypatch, Machine(Model("a", 4 * GB, {"scale": scale}), Model("b", 6 * GB)))


def loaded(machine: Machine, replicas: int) -> Machine:
    for _ in range(replicas):
        machine.load("a")
        machine.clock.now += 1
    machine.models["a"].target = replicas
    machine.decide(60)
    return machine


def target(machine: Machine, seconds: float = 0.0) -> int:
    machine.decide(seconds)
    return machine.models["a"].target


def test_another_replica_is_started_when_the_load_has_lasted(machine: Machine) -> None:
    loaded(machine, 1).use("a", active=5)
    assert [target(machine), target(machine, 1.9), target(machine, 0.1)] == [1, 1, 2]
    machine.load("a", ReplicaState.LOADING)
    assert target(machine, 1) == 2


def test_a_load_that_comes_and_goes_starts_no_other(machine: Machine) -> None:
    loaded(machine, 1)
    for active in (5, 4, 5, 4):
        machine.use("a", active=active)
        assert target(machine, 1.5) == 1


def test_requests_that_wait_for_a_model_to_load_do_not_call_for_another(machine: Machine) -> None:
    machine.models["a"].requests = 9
    assert [target(machine), target(machine, 60)] == [1, 1]


def test_a_replica_on_its_way_is_not_counted_among_those_that_work(machine: Machine) -> None:
    loaded(machine, 2)
    assert machine.verdicts["a"].replicas == 2
    machine.models["a"].target = 3
    machine.load("a", ReplicaState.LOADING)
    machine.models["a"].more[-1:], there = [], machine.models["a"].more[-1]  # Serve does not run it yet
    machine.notes.put(there)
    machine.decide(1)
    assert machine.verdicts["a"].replicas == 2


def test_serve_hears_which_replica_makes_room_and_each_is_counted_once(machine: Machine) -> None:
    loaded(machine, 2)
    machine.use("a")  # the first
    machine.decide(3)
    machine.models["b"].requests = 1
    assert target(machine, 1) == 1
    assert serve_internals._stop_first == {"a-2"}
    assert target(machine, 1) == 1
    assert machine.verdicts["a"].evictions == {"room": 1}
    assert machine.verdicts["a"].held_for == ""  # the other goes on answering


def test_a_model_that_loses_all_its_replicas_for_another_is_held(machine: Machine) -> None:
    machine.models["b"].needs = 10 * GB
    loaded(machine, 2)
    machine.models["b"].requests = 1
    assert target(machine, 1) == 0
    assert machine.verdicts["a"].held_for == "b"
    assert machine.verdicts["a"].evictions == {"room": 2}


def test_all_replicas_that_were_asked_to_leave_leave(machine: Machine) -> None:
    loaded(machine, 2)
    for replica in ("a-1", "a-2"):
        machine.notes.ask_to_leave(replica)
    assert target(machine, 1) == 0
    assert machine.verdicts["a"].evictions == {"asked": 2}


def test_a_replica_that_serve_knows_and_the_board_does_not_yet_is_not_touched(machine: Machine) -> None:
    loaded(machine, 2)
    machine.notes.forget("a-2")
    machine.is_silent = True
    machine.models["b"].requests = 1
    assert target(machine, 3) == 2


def test_what_was_killed_while_it_loaded_takes_no_place(machine: Machine) -> None:
    loaded(machine, 1).load("a", ReplicaState.LOADING)
    machine.models["a"].more.clear()
    machine.models["a"].target = 1
    machine.models["b"].requests = 1
    machine.models["b"].needs = 6 * GB
    machine.decide(1)
    assert machine.verdicts["b"].waits_for == ""
