"""Who is loaded: each situation as a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.residency.plan import LeaveKind, Plan, plan
from deployments.residency.situation import Model, Needs, Node, Resident, Rules, Scale

GB = 10**9
RULES = Rules(idle_timeout=300, quiet=1, min_residence=5, patience=15, stall=15)
MACHINE = {"here": Node(10 * GB, ("0",))}
IDLE = Resident("here", idle_for=60, resident_for=100, load_seconds=2)
BUSY = replace(IDLE, active=1, idle_for=0)
LOADING = Resident("here", is_loading=True)
ON_GPU = replace(IDLE, gpus=("0",))


def model(alias: str, gigabytes: float = 6, resident: Resident | None = None, **what: object) -> Model:
    return Model(alias, Needs(int(gigabytes * GB)), residents=(resident,) if resident else (), **what)  # type: ignore[arg-type]


def on_gpu(alias: str, share: float, resident: Resident | None = None, **what: object) -> Model:
    return Model(alias, Needs(gpus=share), residents=(resident,) if resident else (), **what)  # type: ignore[arg-type]


def decide(*models: Model, nodes: dict[str, Node] = MACHINE, rules: Rules = RULES) -> Plan:
    return plan(models, nodes, rules)


def texts(decided: Plan) -> dict[str, str]:
    return {alias: reason.text for alias, (reason,) in decided.reasons.items()}


def loaded(decided: Plan) -> set[str]:
    return {alias for alias, target in decided.targets.items() if target}


# who stays and who leaves by itself


def test_nobody_is_loaded_for_nothing() -> None:
    assert loaded(decide(model("a"), model("b"))) == set()


def test_a_model_that_somebody_waits_for_is_loaded() -> None:
    assert loaded(decide(model("a", waited=0.0), model("b"))) == {"a"}


def test_a_busy_model_stays() -> None:
    assert loaded(decide(model("a", resident=BUSY))) == {"a"}


def test_an_idle_model_stays_until_its_time_is_over() -> None:
    assert loaded(decide(model("a", resident=replace(IDLE, idle_for=299)))) == {"a"}


def test_an_idle_model_leaves_when_its_time_is_over() -> None:
    decided = decide(model("a", resident=replace(IDLE, idle_for=300)))
    assert loaded(decided) == set()
    assert texts(decided) == {"a": "idle for 300 s"}


def test_a_model_that_has_been_busy_for_hours_is_not_idle() -> None:
    assert loaded(decide(model("a", resident=replace(BUSY, resident_for=9000)))) == {"a"}


def test_a_model_that_loads_for_longer_than_the_idle_time_is_left_to_load() -> None:
    assert loaded(decide(model("a", resident=replace(LOADING, idle_for=400)))) == {"a"}


def test_a_kept_model_is_loaded_without_being_asked_for() -> None:
    assert loaded(decide(model("a", keep=True))) == {"a"}


def test_a_kept_model_stays_however_long_it_is_idle() -> None:
    assert loaded(decide(model("a", keep=True, resident=replace(IDLE, idle_for=10**6)))) == {"a"}


def test_a_model_that_was_asked_to_leave_leaves() -> None:
    decided = decide(model("a", resident=replace(IDLE, is_dismissed=True)))
    assert (loaded(decided), texts(decided)) == (set(), {"a": "was asked to leave"})


def test_a_busy_model_that_was_asked_to_leave_leaves_after_its_work() -> None:
    """Serve lets a replica that leaves end what it has."""
    assert loaded(decide(model("a", resident=replace(BUSY, is_dismissed=True)))) == set()


def test_a_model_that_was_asked_to_leave_while_it_loads_leaves_once_it_is_loaded() -> None:
    assert loaded(decide(model("a", resident=replace(LOADING, is_dismissed=True)))) == {"a"}


def test_a_kept_model_that_is_loaded_again_after_so_many_requests_may_leave_for_that() -> None:
    assert loaded(decide(model("a", keep=True, resident=replace(IDLE, is_dismissed=True)))) == set()


def test_a_model_that_is_leaving_is_not_called_back() -> None:
    assert loaded(decide(model("a", resident=replace(IDLE, is_leaving=True)))) == set()


# room in memory


def test_two_models_that_fit_are_both_loaded() -> None:
    assert loaded(decide(model("a", 4, IDLE), model("b", 6, waited=0.0))) == {"a", "b"}


def test_an_idle_model_makes_room_for_one_that_does_not_fit_beside_it() -> None:
    decided = decide(model("a", resident=IDLE), model("b", waited=0.0))
    assert loaded(decided) == {"b"}
    assert texts(decided) == {"a": "makes room for b"}
    assert decided.waits_for == {"b": ("a",)}


def test_nobody_leaves_for_a_model_that_nobody_waits_for() -> None:
    assert loaded(decide(model("a", resident=IDLE), model("b"))) == {"a"}


def test_of_two_idle_models_the_one_that_was_used_longest_ago_leaves() -> None:
    used_lately = replace(IDLE, idle_for=10)
    decided = decide(model("a", 5, used_lately), model("b", 5, IDLE), model("c", 5, waited=0.0))
    assert loaded(decided) == {"a", "c"}


def test_as_many_leave_as_are_in_the_way() -> None:
    residents = [model(alias, 3, replace(IDLE, idle_for=idle)) for alias, idle in (("a", 30), ("b", 20), ("c", 10))]
    assert loaded(decide(*residents, model("d", 6, waited=0.0))) == {"c", "d"}


def test_a_small_model_is_not_sent_away_when_a_large_one_has_to_leave_anyway() -> None:
    small, large = model("small", 1, replace(IDLE, idle_for=200)), model("large", 8, IDLE)
    assert loaded(decide(small, large, model("new", 9, waited=0.0))) == {"small", "new"}


def test_a_busy_model_is_waited_for() -> None:
    decided = decide(model("a", resident=BUSY), model("b", waited=3.0))
    assert loaded(decided) == {"a", "b"}  # b stays wanted; Ray holds it until there is room
    assert texts(decided) == {}
    assert decided.waits_for == {"b": ("a",)}


def test_an_idle_model_leaves_rather_than_a_busy_one() -> None:
    decided = decide(model("a", 5, BUSY), model("b", 5, replace(IDLE, idle_for=2)), model("c", 5, waited=100.0))
    assert texts(decided) == {"b": "makes room for c"}


def test_a_busy_model_makes_room_for_who_has_waited_too_long() -> None:
    decided = decide(model("a", resident=BUSY), model("b", waited=15.0))
    assert texts(decided) == {"a": "makes room for b"}


def test_of_two_busy_models_the_one_that_has_been_there_longest_makes_room() -> None:
    decided = decide(model("a", 5, replace(BUSY, resident_for=40)), model("b", 5, BUSY), model("c", 5, waited=20.0))
    assert texts(decided) == {"b": "makes room for c"}


def test_a_busy_model_that_has_just_been_loaded_is_left_to_work() -> None:
    decided = decide(model("a", resident=replace(BUSY, resident_for=4)), model("b", waited=100.0))
    assert texts(decided) == {}


def test_a_busy_model_may_work_as_long_as_its_load_took() -> None:
    slow = replace(BUSY, resident_for=50, load_seconds=60)
    assert decide(model("a", resident=slow), model("b", waited=100.0)).reasons == {}
    assert decide(model("a", resident=replace(slow, resident_for=60)), model("b", waited=100.0)).reasons


def test_a_kept_model_never_makes_room_idle_or_busy() -> None:
    for resident in (IDLE, BUSY):
        assert decide(model("a", 3, resident, keep=True), model("b", 7.5, waited=100.0)).reasons == {}


def test_a_model_between_two_requests_of_one_caller_is_not_sent_away_when_it_has_just_come() -> None:
    between = replace(IDLE, idle_for=0.2, resident_for=3)
    assert decide(model("a", resident=between), model("b", waited=2.0)).reasons == {}


def test_a_model_that_has_just_come_and_is_not_used_makes_room() -> None:
    unused = replace(IDLE, idle_for=1.0, resident_for=1.0)
    assert texts(decide(model("a", resident=unused), model("b", waited=0.0))) == {"a": "makes room for b"}


def test_a_model_between_two_requests_makes_room_once_it_has_been_there_long_enough() -> None:
    between = replace(IDLE, idle_for=0.2, resident_for=5)
    assert texts(decide(model("a", resident=between), model("b", waited=2.0))) == {"a": "makes room for b"}


def test_a_model_that_is_being_loaded_is_not_sent_away() -> None:
    decided = decide(model("a", resident=LOADING), model("b", waited=100.0))
    assert (loaded(decided), texts(decided)) == ({"a", "b"}, {})


def test_nobody_else_leaves_while_room_is_about_to_be_free() -> None:
    leaving = replace(IDLE, is_leaving=True)
    decided = decide(model("a", 5, leaving), model("b", 5, IDLE), model("c", 5, waited=1.0))
    assert loaded(decided) == {"b", "c"}


def test_an_idle_model_that_leaves_anyway_makes_the_room() -> None:
    over = replace(IDLE, idle_for=400)
    decided = decide(model("a", 5, over), model("b", 5, replace(IDLE, idle_for=200)), model("c", 5, waited=0.0))
    assert loaded(decided) == {"b", "c"}


def test_of_two_that_wait_the_one_that_has_waited_longer_gets_the_room() -> None:
    decided = decide(model("a", 9, IDLE), model("b", 9, waited=1.0), model("c", 9, waited=2.0))
    assert texts(decided) == {"a": "makes room for c"}
    assert decided.waits_for["b"] == ("c",)


def test_two_that_wait_share_the_room_of_one() -> None:
    decided = decide(model("a", 10, IDLE), model("b", 5, waited=1.0), model("c", 5, waited=2.0))
    assert loaded(decided) == {"b", "c"}
    assert decided.waits_for == {"c": ("a",)}


def test_a_kept_model_that_is_not_loaded_gets_room_too() -> None:
    decided = decide(model("a", resident=IDLE), model("b", keep=True))
    assert texts(decided) == {"a": "makes room for b"}


def test_models_whose_memory_is_not_counted_are_never_in_the_way() -> None:
    assert loaded(decide(model("a", 0, IDLE), model("b", 10, IDLE), model("c", 0, waited=0.0))) == {"a", "b", "c"}


def test_a_model_larger_than_the_machine_is_too_large_and_nobody_leaves_for_it() -> None:
    decided = decide(model("a", resident=IDLE), model("b", 11, waited=100.0))
    assert decided.too_large == ["b"]
    assert texts(decided) == {}


def test_a_model_that_does_not_fit_beside_the_kept_ones_is_too_large() -> None:
    decided = decide(model("a", 6, IDLE, keep=True), model("b", 5, waited=0.0))
    assert decided.too_large == ["b"]


def test_a_model_goes_to_a_machine_with_its_kind_of_gpu_however_full_that_is() -> None:
    nodes = {"here": Node(10 * GB, ("0",), "A100"), "there": Node(10 * GB, ("0",), "H100")}
    wanted = Model("b", Needs(gpus=1.0, accelerator="H100"), waited=0.0)
    decided = decide(on_gpu("a", 1.0, replace(ON_GPU, node="there")), wanted, nodes=nodes)
    assert texts(decided) == {"a": "makes room for b"}
    assert loaded(decided) == {"b"}


def test_a_model_for_a_kind_of_gpu_that_no_machine_has_is_homeless_and_nobody_leaves_for_it() -> None:
    wanted = Model("b", Needs(gpus=1.0, accelerator="H100"), waited=100.0)
    decided = decide(on_gpu("a", 1.0, ON_GPU), wanted)
    assert (decided.homeless, decided.too_large, decided.waits_for, texts(decided)) == (["b"], [], {}, {})


def test_another_replica_starts_on_machines_of_the_models_kind_only() -> None:
    scale = Scale(1, 2, 1.0)
    short = Model(
        "a", Needs(gpus=1.0, accelerator="A100"), residents=(ON_GPU,), scale=scale, load=4, target=1, short_for=9
    )
    nodes = {"here": Node(10 * GB, ("0",), "A100"), "there": Node(10 * GB, ("0",), "H100")}
    assert decide(short, nodes=nodes).targets == {"a": 1}
    assert decide(replace(short, needs=Needs(gpus=1.0)), nodes=nodes).targets == {"a": 2}


def test_the_idle_leave_when_a_load_ran_out_of_memory_though_the_figures_fit() -> None:
    short = replace(LOADING, lacks_memory=True)
    decided = decide(model("a", 1, IDLE), model("b", 1, BUSY), model("c", 1, short), model("d", 1, IDLE, keep=True))
    assert loaded(decided) == {"b", "c", "d"}
    assert texts(decided) == {"a": "makes room for c, whose load ran out of memory"}


def test_a_load_that_ran_out_of_memory_sends_nobody_away_on_other_machines() -> None:
    nodes = {**MACHINE, "there": Node(10 * GB)}
    short = replace(LOADING, lacks_memory=True)
    assert decide(model("a", 1, replace(IDLE, node="there")), model("c", 1, short), nodes=nodes).reasons == {}


def test_what_should_fit_and_does_not_start_sends_the_longest_idle_away_one_at_a_time() -> None:
    idle = [model("a", 1, replace(IDLE, idle_for=9)), model("b", 1, replace(IDLE, idle_for=99))]
    assert decide(*idle, model("c", 1, waited=14.0)).reasons == {}
    assert texts(decide(*idle, model("c", 1, waited=15.0))) == {"b": "makes room for c"}
    idle[1] = model("b", 1, replace(IDLE, is_leaving=True))
    assert "a" not in decide(*idle, model("c", 1, waited=16.0)).reasons


def test_a_replica_that_the_board_does_not_know_yet_is_not_touched() -> None:
    unknown = Resident("", active=1)
    assert loaded(decide(model("a", 9, unknown), model("b", 9, waited=100.0))) == {"a", "b"}


# GPUs


def test_shares_of_a_gpu_that_add_up_to_one_fit() -> None:
    assert loaded(decide(on_gpu("a", 0.4, ON_GPU), on_gpu("b", 0.6, waited=0.0))) == {"a", "b"}


def test_an_idle_share_makes_room_for_one_that_does_not_fit_beside_it() -> None:
    assert loaded(decide(on_gpu("a", 0.5, ON_GPU), on_gpu("b", 0.6, waited=0.0))) == {"b"}


def test_free_shares_of_two_gpus_do_not_make_one() -> None:
    nodes = {"here": Node(10 * GB, ("0", "1"))}
    second = replace(ON_GPU, gpus=("1",), idle_for=30)
    decided = decide(on_gpu("a", 0.6, ON_GPU), on_gpu("b", 0.6, second), on_gpu("c", 0.5, waited=0.0), nodes=nodes)
    assert loaded(decided) == {"b", "c"}


def test_a_model_of_two_whole_gpus_needs_both_empty() -> None:
    nodes = {"here": Node(10 * GB, ("0", "1"))}
    assert loaded(decide(on_gpu("a", 0.1, ON_GPU), on_gpu("b", 2, waited=0.0), nodes=nodes)) == {"b"}


def test_a_model_for_the_processor_does_not_wait_for_the_gpu() -> None:
    assert loaded(decide(on_gpu("a", 1, replace(ON_GPU, active=1)), model("b", waited=0.0))) == {"a", "b"}


def test_a_model_for_a_gpu_is_too_large_for_a_machine_without_one() -> None:
    assert decide(on_gpu("a", 0.5, waited=0.0), nodes={"here": Node(10 * GB)}).too_large == ["a"]


# several machines


def test_a_model_goes_where_nobody_has_to_leave() -> None:
    nodes = {"here": Node(10 * GB), "there": Node(10 * GB)}
    assert loaded(decide(model("a", resident=IDLE), model("b", waited=0.0), nodes=nodes)) == {"a", "b"}


def test_of_two_machines_the_one_loses_its_model_that_was_used_longest_ago() -> None:
    nodes = {"here": Node(10 * GB), "there": Node(10 * GB)}
    there = replace(IDLE, node="there", idle_for=90)
    decided = decide(model("a", resident=IDLE), model("b", resident=there), model("c", waited=0.0), nodes=nodes)
    assert loaded(decided) == {"a", "c"}


def test_a_busy_machine_is_left_alone_when_another_has_an_idle_model() -> None:
    nodes = {"here": Node(10 * GB), "there": Node(10 * GB)}
    there = replace(IDLE, node="there", idle_for=2)
    decided = decide(model("a", resident=BUSY), model("b", resident=there), model("c", waited=99.0), nodes=nodes)
    assert texts(decided) == {"b": "makes room for c"}


# MODEL_CAPACITY


@pytest.mark.parametrize("capacity", [1, 2])
def test_the_longest_idle_leaves_when_there_are_as_many_as_may_be(capacity: int) -> None:
    residents = [model(str(n), 0, replace(IDLE, idle_for=10 + n)) for n in range(capacity)]
    decided = decide(*residents, model("new", 0, waited=0.0), rules=replace(RULES, capacity=capacity))
    assert texts(decided) == {str(capacity - 1): "makes room for new"}


def test_as_many_as_may_be_are_left_alone_while_all_are_busy() -> None:
    decided = decide(model("a", 0, BUSY), model("new", 0, waited=3.0), rules=replace(RULES, capacity=1))
    assert decided.waits_for == {"new": ("a",)}


def test_more_kept_models_than_may_be_loaded_leave_no_room_for_others() -> None:
    decided = decide(model("a", 0, IDLE, keep=True), model("b", 0, waited=0.0), rules=replace(RULES, capacity=1))
    assert decided.too_large == ["b"]


def test_the_limit_counts_those_that_are_being_loaded() -> None:
    decided = decide(model("a", 0, LOADING), model("b", 0, waited=1.0), rules=replace(RULES, capacity=1))
    assert decided.waits_for == {"b": ("a",)}


def test_the_limit_does_not_count_those_that_are_leaving() -> None:
    leaving = replace(IDLE, is_leaving=True)
    decided = decide(
        model("a", 0, leaving), model("b", 0, IDLE), model("c", 0, waited=1.0), rules=replace(RULES, capacity=2)
    )
    assert loaded(decided) == {"b", "c"}


@pytest.mark.parametrize(
    ("models", "kind"),
    [
        ([model("a", resident=replace(IDLE, idle_for=300))], LeaveKind.IDLE),
        ([model("a", resident=replace(IDLE, is_dismissed=True))], LeaveKind.ASKED),
        ([model("a", resident=IDLE), model("b", waited=0.0)], LeaveKind.ROOM),
        ([model("a", resident=replace(IDLE, is_leaving=True))], LeaveKind.LEAVING),
    ],
)
def test_each_reason_to_leave_is_counted_as_its_kind(models: list[Model], kind: LeaveKind) -> None:
    (reason,) = decide(*models).reasons["a"]
    assert reason.kind is kind
