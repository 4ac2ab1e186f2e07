"""Machines that leave in the middle, or join: each situation as a sentence."""

from __future__ import annotations

from dataclasses import replace

from deployments.residency.situation import Resident
from tests.deployments.residency.situations import (
    BUSY,
    IDLE,
    TWO_NODES,
    at,
    decide,
    leaving,
    model,
    on_gpu,
)


def test_what_a_lost_machine_worked_on_waits_for_another_and_the_idle_make_room() -> None:
    there = replace(BUSY, node="there")
    decided = decide(model("a", there, gigabytes=15), model("b", IDLE))
    assert (decided.targets, leaving(decided)) == ({"a": 1, "b": 0}, {"b1"})
    assert decided.waits_for == {"a": ("b",)}


def test_requests_that_wait_for_a_lost_machine_bring_its_model_back_too() -> None:
    assert decide(model("a", replace(IDLE, node="there"), load=2)).targets == {"a": 1}


def test_an_idle_model_of_a_lost_machine_is_not_loaded_again_for_nothing() -> None:
    assert decide(model("a", replace(IDLE, node="there"))).targets == {"a": 0}


def test_a_kept_model_of_a_lost_machine_is_loaded_on_another() -> None:
    assert decide(model("a", replace(IDLE, node="there"), keep=True)).targets == {"a": 1}


def test_one_of_two_replicas_that_was_lost_is_replaced_where_there_is_room() -> None:
    both = model("a", BUSY, replace(BUSY, node="there"), load=8)
    assert decide(both).targets == {"a": 2}
    assert decide(both, model("b", BUSY, gigabytes=10)).targets == {"a": 1, "b": 1}


def test_a_lost_replica_is_not_replaced_at_the_cost_of_who_has_none() -> None:
    both = model("a", BUSY, replace(BUSY, node="there"), load=8)
    assert decide(both, model("b", waited=0.0, gigabytes=12)).targets == {"a": 1, "b": 1}


def test_a_model_whose_machine_is_lost_and_which_fits_on_no_other_is_too_large() -> None:
    decided = decide(on_gpu("a", at("0", BUSY, node="gone"), load=1), model("b", BUSY))
    assert decided.too_large == ["a"]
    assert decided.targets["b"] == 1


def test_all_that_a_lost_machine_worked_on_shares_what_is_left() -> None:
    lost = [model(alias, replace(BUSY, node="there"), load=1) for alias in "abc"]
    decided = decide(*lost)
    assert decided.targets == {"a": 1, "b": 1, "c": 1}  # Ray holds the third until there is room
    assert decided.waits_for == {"c": ("a", "b")}


def test_a_machine_that_comes_is_used_by_who_was_short() -> None:
    short = model("a", BUSY, load=9, short_for=60, gigabytes=15)
    assert decide(short).targets == {"a": 1}
    assert decide(short, nodes=TWO_NODES).targets == {"a": 2}


def test_without_any_machine_nobody_is_unloaded_and_nothing_fails() -> None:
    decided = decide(model("a", Resident("", active=1), load=2), model("b", waited=1.0), nodes={})
    assert decided.targets == {"a": 1, "b": 1}
