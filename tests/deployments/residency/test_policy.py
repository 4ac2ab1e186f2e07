"""What the policy tells Serve and the board, moment by moment."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import ray

from deployments.residency.board import ReplicaStatus, ResidencyStatus
from deployments.residency.policy import Residency
from deployments.states import ReplicaState
from stores.footprints import Footprints
from tests.deployments.residency.machine import GB, Machine, Model, started


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two models of which one fits at a time."""
    return started(monkeypatch, Machine(Model("a"), Model("b")))


def test_a_model_is_started_when_somebody_waits_for_it(machine: Machine) -> None:
    assert machine.decide() == set()
    machine.models["a"].requests = 1
    assert machine.decide(1) == {"a"}


def test_a_load_is_counted_once_and_is_on_the_board(machine: Machine) -> None:
    machine.load("a")
    for _ in range(3):
        assert machine.decide(1) == {"a"}
    assert machine.verdicts["a"] == ResidencyStatus(loads=1)


def test_an_idle_model_leaves_when_its_time_is_over_and_use_begins_it_again(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.decide(299)
    machine.use("a")
    assert machine.decide(2) == {"a"}
    assert machine.decide(299) == {"a"}
    assert machine.decide(2) == set()
    assert machine.verdicts["a"].evictions == {"idle": 1}


def test_a_model_at_work_is_not_idle(machine: Machine) -> None:
    machine.load("a")
    machine.use("a", active=1)
    machine.decide()
    assert machine.decide(9999) == {"a"}


def test_the_room_of_an_idle_model_is_kept_for_the_one_that_it_was_given_to(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.models["b"].requests = 1
    assert machine.decide(30) == {"b"}
    assert machine.verdicts["b"].waits_for == "a"
    assert (machine.verdicts["a"].held_for, machine.verdicts["a"].evictions) == ("b", {"room": 1})
    machine.unload("a")
    machine.models["a"].requests = 1  # is asked for again at once
    machine.decide(1)
    assert machine.verdicts["a"].held_for == "b"
    machine.load("b")
    machine.decide(1)
    assert machine.verdicts["a"].held_for == ""


def test_an_eviction_is_counted_once_however_long_the_model_takes_to_leave(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.models["b"].requests = 1
    for _ in range(5):
        assert machine.decide(2) == {"b"}
    assert machine.verdicts["a"].evictions == {"room": 1}


def test_a_busy_model_is_left_alone_until_another_has_waited_for_its_patience(machine: Machine) -> None:
    machine.load("a")
    machine.use("a", active=1)
    machine.models["b"].requests = 1
    assert "a" in machine.decide(6)
    assert machine.verdicts["b"].waits_for == "a"
    assert "a" in machine.decide(14)
    assert machine.decide(1) == {"b"}


def test_who_gives_up_waiting_waits_from_the_beginning_the_next_time(machine: Machine) -> None:
    machine.load("a")
    machine.use("a", active=1)
    machine.models["b"].requests = 1
    machine.decide(6)
    machine.models["b"].requests = 0
    machine.decide(14)
    machine.models["b"].requests = 1
    machine.decide()
    assert "a" in machine.decide(14)


def test_a_model_that_was_asked_to_leave_leaves_and_the_request_is_taken_down_with_its_replica(
    machine: Machine,
) -> None:
    machine.load("a")
    machine.decide()
    machine.notes.ask_to_leave("a-1")
    assert machine.decide(1) == set()
    assert machine.verdicts["a"].evictions == {"asked": 1}
    machine.unload("a")
    machine.decide(1)
    assert machine.notes.asked_to_leave() == set()


def test_a_wish_that_a_replica_leave_which_has_died_is_taken_down(machine: Machine) -> None:
    machine.notes.ask_to_leave("a-gone")
    machine.decide()
    assert machine.notes.asked_to_leave() == set()


def test_a_replica_that_has_said_nothing_for_a_minute_is_dead_and_its_note_is_taken_down(machine: Machine) -> None:
    machine.notes.put(ReplicaStatus("a", "a-killed", "here", 1, ReplicaState.READY, since=1.0))
    machine.decide()
    machine.decide(59)
    assert [facts.replica for facts in machine.notes.facts()] == ["a-killed"]
    machine.decide(2)
    assert machine.notes.facts() == []


def test_a_replica_whose_beats_grow_lives(machine: Machine) -> None:
    machine.load("a")
    for _ in range(4):
        machine.decide(50)
    assert [facts.replica for facts in machine.notes.facts()] == ["a-1"]


def test_a_replica_that_serve_knows_and_the_board_does_not_yet_is_not_touched(machine: Machine) -> None:
    machine.load("a")
    machine.notes.forget("a-1")
    machine.is_silent = True
    machine.models["b"].requests = 1
    assert "a" in machine.decide(100)


def test_a_model_that_fits_nowhere_is_said_to_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(monkeypatch, Machine(Model("a"), Model("huge", 11 * GB, requests=1)))
    machine.load("a")
    machine.decide(30)
    assert machine.verdicts["huge"].is_too_large
    assert machine.models["a"].target == 1


def test_a_kind_of_gpu_that_no_machine_has_is_named_until_one_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"needs": {"gpus": 1.0, "accelerator": "H100"}}
    machine = started(monkeypatch, Machine(Model("a"), Model("picky", options=options, requests=1)))
    machine.decide()
    assert machine.verdicts["picky"].lacks_accelerator == "H100"
    resources, labels = {"memory": GB, "GPU": 1.0}, {"ray.io/accelerator-type": "H100"}
    joined = {"NodeID": "new", "Alive": True, "Resources": resources, "Labels": labels}
    monkeypatch.setattr(ray, "nodes", lambda: [joined])
    machine.decide(2)
    assert machine.verdicts["picky"].lacks_accelerator == ""
    assert machine.models["picky"].target == 1


def test_a_kept_model_is_loaded_unasked_and_never_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(monkeypatch, Machine(Model("kept", options={"keep": True}), Model("b")))
    assert machine.decide() == {"kept"}
    machine.load("kept")
    machine.models["b"].requests = 1
    assert "kept" in machine.decide(9999)
    assert machine.verdicts["b"].is_too_large


def test_a_preloaded_model_is_there_at_first_and_leaves_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(monkeypatch, Machine(Model("early", options={"preload": True}, target=1)))
    assert machine.decide() == {"early"}
    assert machine.decide(400) == {"early"}  # its load may take longer than it may idle
    machine.load("early")
    assert machine.decide(1) == {"early"}
    assert machine.decide(300) == set()
    machine.unload("early")
    assert machine.decide(1) == set()


def test_a_model_is_loaded_again_after_so_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(monkeypatch, Machine(Model("a", options={"max_requests": 2})))
    machine.load("a")
    machine.use("a")
    assert machine.decide(1) == {"a"}
    machine.use("a")
    assert machine.decide(1) == set()


def test_the_idle_leave_for_one_whose_load_ran_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(monkeypatch, Machine(Model("a", GB), Model("b", GB)))
    machine.load("a")
    machine.decide(1)
    machine.load("b", ReplicaState.OUT_OF_MEMORY)
    assert machine.decide(1) == {"b"}
    assert machine.verdicts["a"].evictions == {"room": 1}


def test_what_a_model_takes_is_kept_on_disk_for_the_next_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "footprints.json"
    options = {"footprint": {"file": str(file), "identity": "a of today"}}
    machine = started(monkeypatch, Machine(Model("a", options=options)))
    machine.load("a", main_bytes=123)
    machine.decide()
    assert Footprints(file).get("a of today") == 123


def test_a_policy_that_takes_over_goes_on_counting_where_the_last_one_was(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.notes.ask_to_leave("a-1")
    machine.decide(1)
    machine.unload("a")
    machine.load("a")
    machine.decide(1)
    machine.residency = Residency()
    machine.decide(1)
    machine.models["b"].requests = 1
    machine.decide(30)
    assert (machine.verdicts["a"].loads, machine.verdicts["a"].evictions) == (2, {"asked": 1, "room": 1})


def test_a_policy_that_takes_over_leaves_what_runs_alone_until_serve_has_found_it(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.residency, machine.is_recovering = Residency(), True
    assert machine.decide(1) == {"a"}
    machine.models["b"].requests = 1
    assert machine.decide(5) == {"a", "b"}  # which waits, since nobody knows yet what the other one does
    machine.is_recovering = False
    assert machine.decide(1) == {"b"}


def test_what_a_policy_that_takes_over_hears_of_and_serve_never_finds_is_given_up(machine: Machine) -> None:
    machine.load("a")
    machine.decide()
    machine.residency, machine.is_recovering = Residency(), True
    assert machine.decide(1) == {"a"}
    assert machine.decide(30) == set()


def test_a_model_whose_machine_is_lost_while_it_works_is_wanted_without_a_change_of_mind(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.load("a")
    machine.use("a", active=1)
    machine.decide()
    machine.decide(100)
    other = {"NodeID": "other", "Alive": True, "Resources": {"memory": 10 * GB}}
    monkeypatch.setattr(ray, "nodes", lambda: [other])
    machine.is_silent = machine.is_recovering = True
    machine.models["a"].requests = 0  # who asked was lost as well
    assert [machine.decide(1) for _ in range(5)] == [{"a"}] * 5
    assert machine.decide(60) == set()


def test_while_nobody_waits_the_board_is_read_once_a_second(machine: Machine) -> None:
    machine.decide()
    before = machine.store.listed
    for _ in range(9):
        machine.decide(0.1)
    assert machine.store.listed == before
    machine.decide(0.2)
    looks = machine.store.listed - before
    assert looks > 0
    machine.models["a"].requests = 1
    machine.decide(0.1)
    assert machine.store.listed == before + 2 * looks


def test_what_cannot_be_decided_is_logged_and_leaves_all_as_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("the head node does not answer")

    monkeypatch.setattr(ray, "nodes", fails)
    monkeypatch.setattr(logging.getLogger("ray.serve"), "propagate", True)
    contexts = {machine._id("a"): machine._context(machine.models["a"])}
    assert machine.residency(contexts) == ({}, {})
    assert "the head node does not answer" in caplog.text
