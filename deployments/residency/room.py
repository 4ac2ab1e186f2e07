"""Which replicas fit where, and who would have to leave for one more: pure, as the plan that asks it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deployments.residency.situation import Model, Needs, Node, Resident, Rules


@dataclass(frozen=True, eq=False)
class Held:
    """A replica in its room."""

    model: Model
    resident: Resident

    @property
    def node(self) -> str:
        """Where it is."""
        return self.resident.node


class Room:
    """Who is where, as a plan is made."""

    def __init__(self, nodes: Mapping[str, Node], rules: Rules, held: Sequence[Held]) -> None:
        self._nodes, self._rules = nodes, rules
        self.held = list(held)
        self._counts = Counter(each.model.alias for each in held)

    def count(self, model: Model, without: Collection[Held] = ()) -> int:
        """How many replicas of a model there are."""
        return self._counts[model.alias] - sum(each.model.alias == model.alias for each in without)

    def leave(self, held: Held) -> None:
        """A replica gives its room up."""
        self.held.remove(held)
        self._counts[held.model.alias] -= 1

    def enter(self, model: Model, node: str) -> None:
        """A replica of the model gets room there."""
        gpus = self._gpus_for(model.needs, node, self.held) or ()
        self.held.append(Held(model, Resident(node, gpus, is_loading=True)))
        self._counts[model.alias] += 1

    def find(self, model: Model) -> tuple[str, list[Held]] | None:
        """A node for the model, and who has to leave for it: nobody, else the idle, else the busy. None: nobody may."""
        choices = [(node, self._leavers(model, node)) for node in self._nodes]
        possible = [(node, leavers) for node, leavers in choices if leavers is not None]
        return min(possible, key=lambda choice: self._cost(model, *choice), default=None)

    def find_more(self, model: Model, awaited: Sequence[Model], idle_for: float) -> tuple[str, list[Held]] | None:
        """As `find`, for a replica beside others: nobody leaves for it but who has been idle for so long.

        Nor does it go where one of the `awaited`, for whom there is no room yet, could go when others have left.
        """
        nodes = [node for node in self._nodes if not any(self.fits_at_all(each, node) for each in awaited)]
        choices = [(node, self._leavers(model, node, idle_for)) for node in nodes]
        possible = [(node, leavers) for node, leavers in choices if leavers is not None]
        return min(possible, key=lambda choice: self._cost(model, *choice), default=None)

    def idle(self, model: Model) -> list[Held]:
        """Who may make room for the model without ending anything: first those whom another replica stands in for."""
        ranked = [(rank, each) for each in self.held if (rank := self._rank(each, model, ())) and rank[0] <= _IDLE]
        return [each for _, each in sorted(ranked, key=lambda choice: choice[0])]

    def fits_at_all(self, model: Model, node: str) -> bool:
        """Whether the model would fit there if all left that may ever leave."""
        kept: list[Held] = []
        for each in self.held:
            if sum(other.model.alias == each.model.alias for other in kept) < each.model.least_kept:
                kept.append(each)
        return self._fits(model.needs, node, kept)

    def is_too_small_for(self, model: Model) -> bool:
        """Whether the model fits on no node, though all left that may ever leave."""
        return not any(self.fits_at_all(model, node) for node in self._nodes)

    def has_machine_for(self, model: Model) -> bool:
        """Whether there is a machine of the kind that the model is for, however little room it has."""
        return any(_is_of_its_kind(model.needs, node) for node in self._nodes.values())

    def _leavers(self, model: Model, node: str, idle_for: float | None = None) -> list[Held] | None:
        """Who has to leave a node for the model; with `idle_for` nobody who has been idle for less."""
        leavers: list[Held] = []
        while not self._fits(model.needs, node, self._without(leavers)):
            ranked = [
                (rank, each)
                for each in self.held
                if each.node == node
                and each not in leavers
                and (rank := self._rank(each, model, leavers))
                and (idle_for is None or (rank[0] <= _IDLE and each.resident.idle_for >= idle_for))
            ]
            if not ranked:
                return None
            leavers.append(min(ranked, key=lambda choice: choice[0])[1])
        for leaver in list(leavers):  # who was taken early may not be in the way at all
            others = [each for each in leavers if each is not leaver]
            if self._fits(model.needs, node, self._without(others)):
                leavers = others
        return leavers

    def _rank(self, each: Held, model: Model, leavers: Collection[Held]) -> tuple[int, float] | None:
        """How soon a replica makes room for the model, beside the `leavers`; None: not at all.

        A replica whom another of its model stands in for goes before a model's last, and a busy one of these waits for
        no patience: its model goes on answering.
        """
        resident, left = each.resident, self.count(each.model, leavers) - 1
        if each.model.alias == model.alias or resident.is_loading or left < each.model.least_kept:
            return None
        has_settled = resident.resident_for >= max(self._rules.min_residence, resident.load_seconds)
        if not resident.active:
            may_leave = resident.idle_for >= self._rules.quiet or has_settled
            return (_IDLE_BESIDE_OTHERS if left else _IDLE, -resident.idle_for) if may_leave else None
        if not has_settled:
            return None
        if left:
            return _BUSY_BESIDE_OTHERS, -resident.resident_for
        return (_BUSY, -resident.resident_for) if (model.waited or 0.0) >= self._rules.patience else None

    def _without(self, leavers: Collection[Held]) -> list[Held]:
        return [each for each in self.held if each not in leavers]

    def _fits(self, needs: Needs, node: str, held: Sequence[Held]) -> bool:
        if not _is_of_its_kind(needs, self._nodes[node]):
            return False
        if self._rules.capacity and sum(each.node == node for each in held) >= self._rules.capacity:
            return False
        if needs.memory and self._free_memory(node, held) < needs.memory:
            return False
        return self._gpus_for(needs, node, held) is not None

    def _free_memory(self, node: str, held: Sequence[Held]) -> int:
        return self._nodes[node].memory - sum(each.model.needs.memory for each in held if each.node == node)

    def _free_gpus(self, node: str, held: Sequence[Held]) -> dict[str, float]:
        """What is left of each GPU."""
        free = dict.fromkeys(self._nodes[node].gpus, 1.0)
        for each in held:
            for gpu in each.resident.gpus if each.node == node else ():
                free[gpu] = free.get(gpu, 0.0) - min(each.model.needs.gpus, 1.0)
        return free

    def _gpus_for(self, needs: Needs, node: str, held: Sequence[Held]) -> tuple[str, ...] | None:
        """The GPUs that a replica would get: those that have least left beside it. None: there are none."""
        if not needs.gpus:
            return ()
        share, count = min(needs.gpus, 1.0), max(1, round(needs.gpus))
        free = self._free_gpus(node, held)
        fitting = sorted((left, gpu) for gpu, left in free.items() if left >= share - 1e-6)
        return tuple(gpu for _, gpu in fitting[:count]) if len(fitting) >= count else None

    def _cost(self, model: Model, node: str, leavers: Sequence[Held]) -> tuple[float, ...]:
        """No model's last one that is busy, nobody busy, no model that was used lately, few; then where least is left.

        So what is free stays together, for models that need much of it.
        """
        last = [each for each in leavers if not self.count(each.model, leavers)]
        left = self._without(leavers)
        return (
            sum(bool(each.resident.active) for each in last),
            sum(bool(each.resident.active) for each in leavers),
            -min((each.resident.idle_for for each in last), default=math.inf),
            len(leavers),
            round(sum(self._free_gpus(node, left).values()), 6),
            self._free_memory(node, left) if model.needs.memory else 0,
        )


def _is_of_its_kind(needs: Needs, node: Node) -> bool:
    return needs.accelerator in ("", node.accelerator)


_IDLE_BESIDE_OTHERS, _IDLE, _BUSY_BESIDE_OTHERS, _BUSY = range(4)
"""In this order replicas make room."""
