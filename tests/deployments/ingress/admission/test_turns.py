"""Who is next at a model."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from deployments.ingress.admission.turns import QueueFull, Turns


class Line:
    """Callers at a model with one slot, which the test holds until it says `next`."""

    def __init__(self, longest: int = 100) -> None:
        self.turns = Turns(1, longest)
        self.served: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Requests by names such as `ann1`, whose letters say who asks; each waits before the next one comes."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._one(name))
            await settled()

    async def _one(self, name: str) -> None:
        try:
            await self.turns.take(name.rstrip("0123456789"))
        except QueueFull:
            self.refused.append(name)
        else:
            self.served.append(name)

    async def serve_all(self) -> list[str]:
        for _ in range(len(self.tasks)):
            self.turns.give()
            await settled()
        return self.served


async def settled() -> None:
    """Return when every task that could go on has done so."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_lone_request_does_not_wait() -> None:
    line = Line()
    await line.ask("ann1")
    assert line.served == ["ann1"]


async def test_as_many_as_there_are_slots_work_at_once() -> None:
    turns = Turns(2, 10)
    await turns.take("ann")
    await turns.take("ann")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(turns.take("ann"), 0.01)
    turns.give()
    await asyncio.wait_for(turns.take("ann"), 1)


async def test_requests_of_one_caller_go_in_order() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "ann3", "ann4")
    assert await line.serve_all() == ["ann1", "ann2", "ann3", "ann4"]


async def test_callers_take_turns_however_many_requests_one_has_brought_first() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "ann3", "ann4", "bob1", "bob2", "cleo1")
    assert await line.serve_all() == ["ann1", "ann2", "bob1", "cleo1", "ann3", "bob2", "ann4"]


async def test_who_left_is_not_served_and_holds_nobody_up() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "bob1", "ann3")
    line.tasks["ann2"].cancel()
    await asyncio.sleep(0)
    assert line.turns.waiting == 2
    assert await line.serve_all() == ["ann1", "ann3", "bob1"]


async def test_a_turn_that_comes_as_its_owner_leaves_goes_to_the_next() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "bob1")
    line.turns.give()
    line.tasks["ann2"].cancel()
    with suppress(asyncio.CancelledError):
        await line.tasks["ann2"]
    await asyncio.sleep(0)
    assert line.served == ["ann1", "bob1"]


async def test_leaving_at_the_moment_of_another_s_end_loses_no_slot() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "bob1")
    line.tasks["ann2"].cancel()
    line.turns.give()  # before ann2 has heard of it
    await settled()
    assert line.served == ["ann1", "bob1"]
    line.turns.give()
    await line.ask("cleo1")
    assert line.served[-1] == "cleo1"


async def test_who_is_turned_away_as_he_leaves_just_leaves() -> None:
    line = Line(longest=3)
    await line.ask("ann1", "ann2", "ann3", "ann4")
    line.tasks["bob1"] = asyncio.create_task(line._one("bob1"))
    line.tasks["ann4"].cancel()
    await settled()
    assert line.tasks["ann4"].cancelled()
    assert await line.serve_all() == ["ann1", "ann2", "bob1", "ann3"]


async def test_one_more_than_may_wait_is_refused() -> None:
    line = Line(longest=2)
    await line.ask("ann1", "ann2", "ann3", "ann4")
    assert line.refused == ["ann4"]
    assert await line.serve_all() == ["ann1", "ann2", "ann3"]


async def test_in_a_full_queue_the_newest_of_who_has_most_makes_room_for_another_caller() -> None:
    line = Line(longest=3)
    await line.ask("ann1", "ann2", "ann3", "ann4", "bob1")
    assert line.refused == ["ann4"]
    assert await line.serve_all() == ["ann1", "ann2", "bob1", "ann3"]


async def test_in_a_full_queue_nobody_makes_room_for_who_has_as_many() -> None:
    line = Line(longest=2)
    await line.ask("ann1", "ann2", "bob1", "bob2", "cleo1")
    assert line.refused == ["bob2", "cleo1"]


async def test_slots_are_free_again_when_nobody_waits() -> None:
    line = Line()
    await line.ask("ann1", "ann2")
    assert await line.serve_all() == ["ann1", "ann2"]
    await line.ask("bob1")
    assert line.served[-1] == "bob1"
    assert line.turns.waiting == 0


async def test_more_slots_let_those_who_wait_work_at_once() -> None:
    line = Line()
    await line.ask("ann1", "ann2", "bob1", "ann3")
    line.turns.resize(3)
    await settled()
    assert line.served == ["ann1", "ann2", "bob1"]


async def test_fewer_slots_leave_those_who_work_and_let_the_next_in_when_enough_have_ended() -> None:
    line = Line()
    line.turns.resize(3)
    await line.ask("ann1", "ann2", "ann3", "bob1")
    line.turns.resize(1)
    for _ in range(2):
        line.turns.give()
        await settled()
        assert line.served == ["ann1", "ann2", "ann3"]
    line.turns.give()
    await settled()
    assert line.served[-1] == "bob1"
    line.turns.give()
    await line.ask("ann4", "ann5")
    assert line.served[-1] == "ann4"
