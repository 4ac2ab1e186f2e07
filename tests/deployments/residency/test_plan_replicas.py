"""Models of several replicas, on several machines and GPUs: each situation as a sentence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from deployments.residency.plan import LeaveKind
from deployments.residency.situation import Node, Scale
from tests.deployments.residency.situations import (
    BOX,
    BUSY,
    EIGHT,
    GB,
    IDLE,
    LOADING,
    RULES,
    TWO_BOXES,
    UP_TO,
    at,
    decide,
    leaving,
    model,
    on_gpu,
)

# more replicas, by load


@pytest.mark.parametrize(
    ("load", "short_for", "most", "target"),
    [
        (0, 0, 2, 1),
        (4, 0, 2, 1),
        (5, 0, 2, 1),
        (5, 1.9, 2, 1),
        (5, 2, 2, 2),
        (99, 2, 2, 2),
        (99, 2, 1, 1),
    ],
    ids=str,
)
def test_a_model_gets_another_replica_when_it_has_been_short_of_them_for_a_while(
    load: float, short_for: float, most: int, target: int
) -> None:
    busy = model("a", BUSY, load=load, short_for=short_for, scale=UP_TO[most])
    assert decide(busy).targets == {"a": target}


def test_a_model_gets_as_many_at_once_as_its_load_is_for_and_there_is_room_for() -> None:
    busy = model("a", BUSY, gigabytes=5, load=30, short_for=2, scale=UP_TO[9])
    assert decide(busy).targets == {"a": 4}
    assert decide(busy, nodes={"here": Node(1000 * GB)}).targets == {"a": 8}


def test_a_model_is_never_short_of_replicas_that_it_may_not_have() -> None:
    assert Scale(1, 3, 4).wanted(1000) == 3
    assert Scale(2, 3, 4).wanted(0) == 2


def test_a_replica_that_is_on_its_way_is_waited_for_though_the_load_has_gone_meanwhile() -> None:
    assert decide(model("a", BUSY, target=2, load=1, spare_for=3)).targets == {"a": 2}
    assert decide(model("a", BUSY, LOADING, load=1, spare_for=3)).targets == {"a": 2}


def test_a_replica_that_is_on_its_way_is_given_up_when_it_has_not_been_needed_for_long() -> None:
    assert decide(model("a", BUSY, target=2, load=1, spare_for=300)).targets == {"a": 1}


def test_a_model_that_is_waited_for_begins_with_one() -> None:
    assert decide(model("a", waited=1.0, load=20)).targets == {"a": 1}


def test_a_model_of_at_least_two_has_them_as_soon_as_it_is_loaded_without_being_short() -> None:
    assert decide(model("a", waited=1.0, load=1, scale=Scale(2, 3, 4))).targets == {"a": 2}
    assert decide(model("a", BUSY, load=1, scale=Scale(2, 3, 4))).targets == {"a": 2}


def test_a_model_of_at_least_two_is_not_loaded_for_nothing() -> None:
    assert decide(model("a", scale=Scale(2, 3, 4))).targets == {"a": 0}


def test_a_kept_model_always_has_its_least_and_the_idle_make_room_for_them() -> None:
    kept = model("kept", gigabytes=10, keep=True, scale=Scale(2, 3, 4))
    assert decide(kept).targets == {"kept": 2}
    decided = decide(replace(kept, residents=(IDLE,)), model("a", IDLE))
    assert decided.targets == {"kept": 2, "a": 0}


# fewer replicas, by load


def test_a_replica_that_has_not_been_needed_for_the_idle_time_leaves_the_idle_one_first() -> None:
    decided = decide(model("a", BUSY, IDLE, load=2, spare_for=300))
    assert (decided.targets, leaving(decided)) == ({"a": 1}, {"a2"})
    assert decided.reasons["a"][0].kind is LeaveKind.IDLE
    assert decide(model("a", BUSY, IDLE, load=2, spare_for=299)).targets == {"a": 2}


def test_of_two_idle_replicas_that_are_not_needed_the_one_that_was_used_longest_ago_leaves() -> None:
    decided = decide(
        model("a", replace(IDLE, idle_for=70), IDLE, BUSY, gigabytes=5, load=5, spare_for=300, scale=UP_TO[3])
    )
    assert (decided.targets, leaving(decided)) == ({"a": 2}, {"a1"})


def test_of_busy_replicas_that_are_not_all_needed_the_one_with_least_work_leaves() -> None:
    decided = decide(model("a", replace(BUSY, active=3), replace(BUSY, active=1), load=4, spare_for=400))
    assert (decided.targets, leaving(decided)) == ({"a": 1}, {"a2"})


def test_the_last_replica_stays_as_long_as_it_works_however_little_there_is_to_do() -> None:
    assert decide(model("a", BUSY, load=0.1, spare_for=9000)).targets == {"a": 1}


def test_an_idle_replica_stays_while_another_of_its_model_works() -> None:
    assert decide(model("a", BUSY, replace(IDLE, idle_for=900), load=5)).targets == {"a": 2}


def test_all_replicas_leave_when_none_has_been_used_for_the_idle_time() -> None:
    decided = decide(model("a", replace(IDLE, idle_for=300), replace(IDLE, idle_for=310)))
    assert (decided.targets, leaving(decided)) == ({"a": 0}, {"a1", "a2"})
    assert decide(model("a", replace(IDLE, idle_for=299), replace(IDLE, idle_for=310))).targets == {"a": 2}


def test_a_kept_model_gives_back_what_is_above_its_least_and_no_more() -> None:
    unused = [replace(IDLE, idle_for=1000)] * 3
    decided = decide(model("a", *unused, gigabytes=5, keep=True, scale=Scale(2, 3, 4), spare_for=300))
    assert decided.targets == {"a": 2}


def test_all_replicas_of_an_evicted_model_leave_busy_or_not() -> None:
    gone = [replace(each, is_dismissed=True) for each in (BUSY, IDLE)]
    decided = decide(model("a", *gone, load=9, short_for=60))
    assert (decided.targets, leaving(decided)) == ({"a": 0}, {"a1", "a2"})


def test_one_that_has_had_its_requests_leaves_before_another_is_started_in_its_place() -> None:
    worn = replace(BUSY, is_dismissed=True)
    decided = decide(model("a", BUSY, worn, load=9, short_for=60, scale=UP_TO[3]), nodes={"here": Node(100 * GB)})
    assert (decided.targets, leaving(decided)) == ({"a": 1}, {"a2"})
    assert decide(model("a", BUSY, load=9, short_for=60, scale=UP_TO[3]), nodes={"here": Node(100 * GB)}).targets == {
        "a": 3
    }


def test_replicas_that_are_leaving_are_not_called_back() -> None:
    gone = replace(IDLE, is_leaving=True)
    assert decide(model("a", gone, gone, target=0, load=9, short_for=60)).targets == {"a": 0}


# whose the room is


def test_who_waits_for_a_first_replica_goes_before_who_is_short_of_a_second() -> None:
    decided = decide(model("a", BUSY, load=9, short_for=60), model("b", waited=0.1))
    assert decided.targets == {"a": 1, "b": 1}


def test_a_replica_that_was_on_its_way_gives_its_room_to_who_waits() -> None:
    decided = decide(model("a", BUSY, target=2, load=9), model("b", waited=0.1))
    assert decided.targets == {"a": 1, "b": 1}


def test_nobody_leaves_for_a_second_replica_that_has_not_been_wanted_for_long() -> None:
    decided = decide(model("a", BUSY, load=9, short_for=14), model("b", IDLE))
    assert (decided.targets, leaving(decided)) == ({"a": 1, "b": 1}, set())


def test_who_has_been_idle_for_as_long_as_another_was_short_makes_room_for_its_second_replica() -> None:
    short = model("a", BUSY, load=9, short_for=20)
    assert decide(short, model("b", replace(IDLE, idle_for=19))).targets == {"a": 1, "b": 1}
    decided = decide(short, model("b", replace(IDLE, idle_for=20)))
    assert (decided.targets, leaving(decided)) == ({"a": 2, "b": 0}, {"b1"})


def test_nobody_who_works_leaves_for_a_second_replica_however_long_it_has_been_wanted() -> None:
    assert decide(model("a", BUSY, load=9, short_for=9000), model("b", BUSY)).targets == {"a": 1, "b": 1}


def test_a_second_replica_makes_room_before_a_model_that_was_idle_for_longer_but_has_no_other() -> None:
    decided = decide(
        model("a", BUSY, replace(IDLE, idle_for=2), gigabytes=6),
        model("b", replace(IDLE, idle_for=200)),
        model("c", waited=0.0, gigabytes=6),
    )
    assert leaving(decided) == {"a2"}
    assert decided.targets == {"a": 1, "b": 1, "c": 1}


def test_a_busy_second_replica_makes_room_at_once_for_who_has_none() -> None:
    decided = decide(model("a", BUSY, BUSY), model("b", waited=0.0))
    assert decided.targets == {"a": 1, "b": 1}
    assert len(leaving(decided)) == 1


def test_a_busy_second_replica_that_has_just_come_is_left_to_work() -> None:
    new = replace(BUSY, resident_for=4)
    assert decide(model("a", new, new), model("b", waited=0.0)).targets == {"a": 2, "b": 1}


def test_the_last_busy_replica_waits_for_the_patience_of_the_other_model() -> None:
    short, large = model("a", BUSY, BUSY), model("b", gigabytes=15, waited=14.0)
    assert leaving(decide(short, large)) == set()
    decided = decide(short, replace(large, waited=15.0))
    assert (decided.targets, leaving(decided)) == ({"a": 0, "b": 1}, {"a1", "a2"})


def test_a_model_that_gave_a_replica_away_does_not_get_another_in_the_same_breath() -> None:
    nodes = {"here": Node(16 * GB, ("0",)), "there": Node(8 * GB)}
    decided = decide(
        model("a", BUSY, BUSY, load=9, short_for=60, scale=UP_TO[3]),
        model("b", gpus=1, waited=0.0),
        nodes=nodes,
    )
    assert decided.targets["a"] == 1


def test_a_kept_model_gives_what_is_above_its_least_to_who_waits() -> None:
    kept = model("kept", BUSY, BUSY, keep=True)
    assert decide(kept, model("b", waited=0.0)).targets == {"kept": 1, "b": 1}
    assert decide(replace(kept, scale=Scale(2, 2, 4)), model("b", waited=99.0)).too_large == ["b"]


def test_no_second_replica_goes_where_somebody_waits_for_the_rest_of_the_room() -> None:
    """A busy model holds 8 of 20 GB, one of 18 waits: 8 more for the busy one would make it wait for longer."""
    decided = decide(model("a", BUSY, load=9, short_for=60), model("large", gigabytes=18, waited=3.0))
    assert decided.targets == {"a": 1, "large": 1}
    assert decided.waits_for == {"large": ("a",)}


def test_a_second_replica_goes_to_another_machine_while_somebody_waits_for_this_one() -> None:
    nodes = {"here": Node(20 * GB, ("0",)), "there": Node(10 * GB)}
    waits = model("large", gigabytes=18, gpus=1, waited=3.0)
    assert decide(model("a", BUSY, load=9, short_for=60), waits, nodes=nodes).targets == {"a": 2, "large": 1}


def test_who_is_short_for_longest_gets_the_last_room() -> None:
    nodes = {"here": Node(24 * GB)}
    decided = decide(model("a", BUSY, load=9, short_for=5), model("b", BUSY, load=9, short_for=6), nodes=nodes)
    assert decided.targets == {"a": 1, "b": 2}


def test_replicas_are_counted_where_so_many_may_be_on_a_machine() -> None:
    rules = replace(RULES, capacity=2)
    small = model("a", BUSY, BUSY, gigabytes=0, load=20, short_for=60, scale=UP_TO[3])
    assert decide(small, rules=rules).targets == {"a": 2}
    assert decide(small, model("b", gigabytes=0, waited=0.0), rules=rules).targets == {"a": 1, "b": 1}


# eight GPUs


def test_a_model_spreads_over_eight_gpus() -> None:
    busy = on_gpu("a", at("0", BUSY), load=100, short_for=2, scale=UP_TO[9])
    assert decide(busy, nodes=BOX).targets == {"a": 8}


def test_eight_models_of_a_gpu_each_are_left_alone_by_one_that_would_like_more() -> None:
    others = [on_gpu(f"m{gpu}", at(gpu, BUSY)) for gpu in EIGHT[1:]]
    short = on_gpu("a", at("0", BUSY), load=100, short_for=600, scale=UP_TO[9])
    assert Counter(decide(short, *others, nodes=BOX).targets.values()) == {1: 8}


def test_shares_are_packed_so_that_whole_gpus_stay_free() -> None:
    """Half a GPU is free beside a; the second replica of b goes there, so that c still finds two whole ones."""
    nodes = {"box": Node(500 * GB, ("0", "1", "2", "3"))}
    decided = decide(
        on_gpu("a", at("0", BUSY), gpus=0.5),
        on_gpu("b", at("1", BUSY), gpus=0.5, load=9, short_for=2),
        on_gpu("c", gpus=2, waited=0.0),
        nodes=nodes,
    )
    assert decided.targets == {"a": 1, "b": 2, "c": 1}
    assert leaving(decided) == set()


def test_a_model_of_four_gpus_takes_second_replicas_away_and_leaves_each_model_one() -> None:
    doubled = [on_gpu(f"m{n}", at(EIGHT[n], BUSY), at(EIGHT[n + 4], BUSY)) for n in range(4)]
    decided = decide(*doubled, on_gpu("large", gpus=4, waited=0.0), nodes=BOX)
    assert decided.targets == {"m0": 1, "m1": 1, "m2": 1, "m3": 1, "large": 1}


def test_of_a_model_of_four_gpus_there_may_be_two_in_a_box_of_eight() -> None:
    busy = on_gpu("large", at(EIGHT[:4], BUSY), gpus=4, load=9, short_for=2, scale=UP_TO[3])
    assert decide(busy, nodes=BOX).targets == {"large": 2}


def test_a_second_replica_of_four_gpus_does_not_fit_on_three_and_a_half() -> None:
    busy = on_gpu("large", at(EIGHT[:4], BUSY), gpus=4, load=9, short_for=2)
    assert decide(busy, on_gpu("small", at("7", BUSY), gpus=0.5), nodes=BOX).targets == {"large": 1, "small": 1}


def test_the_idle_of_one_gpu_leave_and_the_others_are_not_touched() -> None:
    residents = [on_gpu(f"m{gpu}", at(gpu, idle_for=float(10 + int(gpu)))) for gpu in EIGHT]
    decided = decide(*residents, on_gpu("new", waited=0.0), nodes=BOX)
    assert leaving(decided) == {"m71"}


# two boxes


def test_a_model_of_two_gpus_has_its_second_replica_on_the_other_box() -> None:
    busy = on_gpu("a", at(("0", "1"), BUSY, node="left"), gpus=2, load=9, short_for=2)
    assert decide(busy, nodes=TWO_BOXES).targets == {"a": 2}


def test_two_gpus_of_two_boxes_do_not_make_a_model_of_two() -> None:
    residents = [on_gpu(node, at("0", BUSY, node=node)) for node in TWO_BOXES]
    decided = decide(*residents, on_gpu("two", gpus=2, waited=1.0), nodes=TWO_BOXES)
    assert decided.waits_for == {"two": ("left", "right")}


def test_a_first_replica_is_packed_onto_the_box_that_has_less_left() -> None:
    """Then the empty one has its two GPUs for the model that needs both."""
    decided = decide(
        on_gpu("a", at("0", BUSY, node="right")),
        on_gpu("b", waited=2.0),
        on_gpu("two", gpus=2, waited=1.0),
        nodes=TWO_BOXES,
    )
    assert decided.targets == {"a": 1, "b": 1, "two": 1}
    assert decided.waits_for == {}


def test_a_model_for_the_processor_leaves_the_gpus_alone() -> None:
    nodes = {"gpus": Node(20 * GB, EIGHT), "plain": Node(20 * GB)}
    decided = decide(model("a", waited=2.0, gigabytes=18), model("g", gigabytes=18, gpus=8, waited=1.0), nodes=nodes)
    assert (decided.targets, decided.waits_for) == ({"a": 1, "g": 1}, {})


def test_a_box_on_which_only_second_replicas_would_leave_is_chosen_for_who_waits() -> None:
    decided = decide(
        on_gpu("b", at(("0", "1"), IDLE, node="left"), gpus=2),
        on_gpu("a", at("0", BUSY, node="right"), at("1", BUSY, node="right")),
        on_gpu("new", waited=0.0),
        nodes=TWO_BOXES,
    )
    assert decided.targets["new"] == 1
    assert len(leaving(decided)) == 1
