"""How files of tests are dealt to processes: what needs servers to the first two, the rest to all."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from xdist.remote import Producer

from tests.dealing import OWN, SHARED, Dealing, dealt_with

FILES = {
    "tests/api/test_a.py": 1,
    "tests/api/test_b.py": 3,
    "tests/api/attached/test_c.py": 2,
    "tests/test_d.py": 3,
    "tests/test_e.py": 4,
    "tests/test_f.py": 5,
    "tests/test_g.py": 5,
}
NEEDS = {SHARED: ["tests/api/test_a.py", "tests/api/test_b.py"], OWN: ["tests/api/attached", "tests/test_d.py"]}


class Process:
    """A process of xdist as the dealer sees it, which ends its tests when a test of ours says so."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name, spec=name)
        self.given: list[int] = []
        self.done = 0
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        assert not self.shutting_down
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def dealing(processes: int, cached: Mapping[str, object]) -> tuple[Any, list[Process], list[str]]:
    """A dealer that has just dealt the first files of `FILES`, its processes, and all tests."""
    config = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=False, maxfail=0),
        getvalue=lambda _: ["popen"] * processes,
        cache=SimpleNamespace(get=lambda name, default: cached.get(name, default)),
        hook=SimpleNamespace(),
    )
    dealer: Any = Dealing(config, Producer("dealing", enabled=False))
    made = [Process(f"gw{number}") for number in range(processes)]
    tests = [f"{file}::test_{number}" for file, count in FILES.items() for number in range(count)]
    for each in made:
        dealer.add_node(each)
    for each in made:
        dealer.add_node_collection(each, tests)
    dealer.schedule()
    return dealer, made, tests


def finish(dealer: Any, processes: list[Process]) -> None:
    """Every process works in turn until there is nothing left to do."""
    while any(each.done < len(each.given) for each in processes):
        for each in processes:
            if each.done < len(each.given):
                each.done += 1
                dealer.mark_test_complete(each, each.given[each.done - 1])


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_everything_is_run_once_by_those_who_are_there_for_it(processes: int) -> None:
    dealer, made, tests = dealing(processes, NEEDS)
    finish(dealer, made)
    assert sorted(index for each in made for index in each.given) == list(range(len(tests)))
    assert dealer.tests_finished
    dealt = [list(dict.fromkeys(dealt_with(tests[index]) for index in each.given)) for each in made]
    assert dealt[0][:2] == NEEDS[SHARED]
    if processes > 1:
        assert dealt[1][0] == NEEDS[OWN][0]
        assert not {*NEEDS[SHARED]} & set().union(*dealt[1:])
        assert not {*NEEDS[OWN]} & set().union(*dealt[2:])


def test_where_nothing_is_known_of_servers_everything_is_run_once() -> None:
    dealer, made, tests = dealing(2, {})
    finish(dealer, made)
    assert sorted(index for each in made for index in each.given) == list(range(len(tests)))


def test_what_a_process_that_dies_leaves_goes_to_the_next_one() -> None:
    dealer, (first, second), tests = dealing(2, NEEDS)
    crashed = dealer.remove_node(first)
    assert crashed == tests[0]
    dealer.mark_test_complete(second, second.given[0])
    second.done = 1
    finish(dealer, [second])
    run = {tests[index] for index in second.given}
    assert {test for test in tests if dealt_with(test) in NEEDS[SHARED]} <= run


@pytest.mark.parametrize("number", [0, 1])
def test_who_replaces_a_process_that_dies_when_the_others_are_ending_takes_over_what_it_had(number: int) -> None:
    dealer, made, tests = dealing(3, NEEDS)
    dying = made[number]
    others = [each for each in made if each is not dying]
    while any(each.done < len(each.given) for each in others):
        finish(dealer, others)
    assert all(each.shutting_down for each in others)
    dealer.remove_node(dying)
    replacement = Process("gw3")
    dealer.add_node(replacement)
    dealer.add_node_collection(replacement, tests)
    dealer.schedule()
    finish(dealer, [replacement])
    assert dealer.tests_finished
    assert {index for each in (*others, replacement) for index in each.given} == set(range(len(tests)))
