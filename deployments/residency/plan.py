"""Which models are to be resident, decided from what is known of each: a pure function, without I/O or logging."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


@dataclass(frozen=True)
class Needs:
    """What a replica takes: bytes of main memory (0: not counted) and a share of a GPU, or several whole ones."""

    memory: int = 0
    gpus: float = 0.0


@dataclass(frozen=True)
class Node:
    """What a machine has for replicas."""

    memory: int
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resident:
    """A model's replica. One that `is_leaving` still holds its room, which is about to become free.

    `is_dismissed`: somebody asked that it be unloaded. `lacks_memory`: its load ran out of memory.
    """

    node: str
    gpus: tuple[str, ...] = ()
    active: int = 0
    idle_for: float = 0.0
    resident_for: float = 0.0
    load_seconds: float = 0.0
    is_loading: bool = False
    is_leaving: bool = False
    is_dismissed: bool = False
    lacks_memory: bool = False


@dataclass(frozen=True)
class Model:
    """What is known of a model. `waited`: the seconds that requests have waited for it to be resident, if any do.

    `is_draining`: a replica of it that nobody counts any more still ends its work, and holds its room until then.
    """

    alias: str
    needs: Needs = field(default_factory=Needs)
    keep: bool = False
    waited: float | None = None
    resident: Resident | None = None
    is_draining: bool = False


@dataclass(frozen=True)
class Rules:
    """Seconds, but for `capacity`: at most so many models are resident; 0 = by memory only.

    idle_timeout: a model leaves after so long without a request.
    quiet: one that has been idle so long may make room for another at once,
    min_residence: one that is in use again and again only when it has been resident so long (and as long as its load
        took), or two models in use would do nothing but load.
    patience: a model that has been waited for so long gets its room from a busy one, which first ends what it has.
    stall: a model that should fit and does not start in so long is in the way of something unknown.
    """

    idle_timeout: float = 300.0
    quiet: float = 1.0
    min_residence: float = 5.0
    patience: float = 15.0
    stall: float = 15.0
    capacity: int = 0


class LeaveKind(StrEnum):
    """Why a model leaves, as it is counted."""

    IDLE = "idle"
    ASKED = "asked"
    ROOM = "room"
    LEAVING = "leaving"
    """It has left already, and is not called back."""


@dataclass(frozen=True)
class Leave:
    """Why a model leaves: how it is counted, and in words for the log."""

    kind: LeaveKind
    text: str


@dataclass(frozen=True)
class Plan:
    """Which models are to be resident, why others leave, what each waiting model waits for, and which fit nowhere."""

    targets: Mapping[str, int]
    reasons: Mapping[str, Leave]
    waits_for: Mapping[str, tuple[str, ...]]
    too_large: Collection[str]


def plan(models: Sequence[Model], nodes: Mapping[str, Node], rules: Rules) -> Plan:
    """Decide who is loaded, by who is wanted, who idles, and what fits."""
    reasons = {model.alias: reason for model in models if (reason := _reason_to_leave(model, rules))}
    room = _Room(nodes, rules, [m for m in models if m.resident and m.alias not in reasons])
    waits_for: dict[str, tuple[str, ...]] = {}
    too_large: list[str] = []
    for model in models:
        if model.resident is not None and model.resident.lacks_memory:
            for other in [each for each in room.idle(model) if _node(each) == model.resident.node]:
                text = f"makes room for {model.alias}, whose load ran out of memory"
                reasons[other.alias] = Leave(LeaveKind.ROOM, text)
                room.leave(other)
    waiting = [model for model in models if model.resident is None and (model.waited is not None or model.keep)]
    for model in sorted(waiting, key=lambda each: -(each.waited or 0.0)):
        found = room.find(model)
        if found is None:
            if room.is_too_small_for(model):
                too_large.append(model.alias)
            else:
                waits_for[model.alias] = tuple(other.alias for other in room.residents)
            continue
        node, leaving = found
        if not leaving and _is_stalled(model, models, rules):
            leaving = room.idle(model)[:1]
        for other in leaving:
            reasons[other.alias] = Leave(LeaveKind.ROOM, f"makes room for {model.alias}")
            room.leave(other)
        waits_for[model.alias] = tuple(other.alias for other in leaving)
        room.enter(model, node)
    targets = {model.alias: int(_is_wanted(model) and model.alias not in reasons) for model in models}
    return Plan(targets, reasons, {alias: others for alias, others in waits_for.items() if others}, too_large)


def _reason_to_leave(model: Model, rules: Rules) -> Leave | None:
    """Why a resident model leaves, regardless of the others."""
    resident = model.resident
    if resident is None or resident.is_leaving:
        return None if resident is None else Leave(LeaveKind.LEAVING, "is leaving already")
    if resident.is_loading:
        return None
    if resident.is_dismissed:
        return Leave(LeaveKind.ASKED, "was asked to leave")
    if model.keep or resident.active:
        return None
    is_idle = resident.idle_for >= rules.idle_timeout
    return Leave(LeaveKind.IDLE, f"idle for {resident.idle_for:.0f} s") if is_idle else None


def _is_wanted(model: Model) -> bool:
    return model.keep or model.waited is not None or model.resident is not None


def _is_stalled(model: Model, models: Sequence[Model], rules: Rules) -> bool:
    """Whether a model does not start although it fits and nobody is about to leave."""
    nobody_leaves = not any(other.is_draining or (other.resident and other.resident.is_leaving) for other in models)
    return nobody_leaves and (model.waited or 0.0) >= rules.stall


def _node(model: Model) -> str:
    assert model.resident is not None
    return model.resident.node


class _Room:
    """Who is where, as a plan is made."""

    def __init__(self, nodes: Mapping[str, Node], rules: Rules, residents: Sequence[Model]) -> None:
        self._nodes, self._rules = nodes, rules
        self.residents = list(residents)

    def leave(self, model: Model) -> None:
        self.residents.remove(model)

    def enter(self, model: Model, node: str) -> None:
        gpus = self._gpus_for(model.needs, node, self.residents) or ()
        self.residents.append(replace(model, resident=Resident(node, gpus, is_loading=True)))

    def find(self, model: Model) -> tuple[str, list[Model]] | None:
        """A node for the model, and who has to leave for it: nobody, else the idle, else the busy. None: nobody may."""
        choices = [(node, self._leavers(model, node)) for node in self._nodes]
        possible = [(node, leavers) for node, leavers in choices if leavers is not None]
        return min(possible, key=lambda choice: _cost(choice[1]), default=None)

    def idle(self, model: Model) -> list[Model]:
        """Who may make room for the model without ending anything, the longest idle first."""
        others = [each for each in self.residents if each.alias != model.alias and self._may_leave(each)]
        return sorted(others, key=lambda each: -resident_of(each).idle_for)

    def is_too_small_for(self, model: Model) -> bool:
        """Whether the model would not fit though all left that may ever leave."""
        kept = [each for each in self.residents if each.keep]
        return not any(self._fits(model.needs, node, kept) for node in self._nodes)

    def _leavers(self, model: Model, node: str) -> list[Model] | None:
        candidates = self.idle(model)
        if (model.waited or 0.0) >= self._rules.patience:
            busy = [each for each in self.residents if resident_of(each).active and self._may_be_drained(each)]
            candidates += sorted(busy, key=lambda each: -resident_of(each).resident_for)
        leavers: list[Model] = []
        for candidate in candidates:
            if self._fits(model.needs, node, self._without(leavers)):
                break
            leavers.append(candidate)
        if not self._fits(model.needs, node, self._without(leavers)):
            return None
        for leaver in list(leavers):  # who was taken early may not be in the way at all
            others = [each for each in leavers if each is not leaver]
            if self._fits(model.needs, node, self._without(others)):
                leavers = others
        return leavers

    def _may_leave(self, model: Model) -> bool:
        resident = resident_of(model)
        if model.keep or resident.is_loading or resident.active:
            return False
        return resident.idle_for >= self._rules.quiet or self._has_settled(resident)

    def _may_be_drained(self, model: Model) -> bool:
        return not model.keep and not resident_of(model).is_loading and self._has_settled(resident_of(model))

    def _has_settled(self, resident: Resident) -> bool:
        return resident.resident_for >= max(self._rules.min_residence, resident.load_seconds)

    def _without(self, leavers: Sequence[Model]) -> list[Model]:
        return [each for each in self.residents if not any(each is leaver for leaver in leavers)]

    def _fits(self, needs: Needs, node: str, residents: Sequence[Model]) -> bool:
        if self._rules.capacity and sum(_node(each) == node for each in residents) >= self._rules.capacity:
            return False
        used = sum(each.needs.memory for each in residents if _node(each) == node)
        if needs.memory and used + needs.memory > self._nodes[node].memory:
            return False
        return self._gpus_for(needs, node, residents) is not None

    def _gpus_for(self, needs: Needs, node: str, residents: Sequence[Model]) -> tuple[str, ...] | None:
        """The GPUs that a replica would get: those that have least left beside it. None: there are none."""
        if not needs.gpus:
            return ()
        free = dict.fromkeys(self._nodes[node].gpus, 1.0)
        for each in residents:
            for gpu in resident_of(each).gpus if _node(each) == node else ():
                free[gpu] = free.get(gpu, 0.0) - min(each.needs.gpus, 1.0)
        share, count = min(needs.gpus, 1.0), max(1, round(needs.gpus))
        fitting = sorted((left, gpu) for gpu, left in free.items() if left >= share - 1e-6)
        return tuple(gpu for _, gpu in fitting[:count]) if len(fitting) >= count else None


def resident_of(model: Model) -> Resident:
    """The replica of a model that has one."""
    assert model.resident is not None
    return model.resident


def _cost(leavers: Sequence[Model]) -> tuple[int, float, int]:
    """Nobody busy, then nobody whom somebody used lately, then few."""
    busy = sum(1 for each in leavers if resident_of(each).active)
    return busy, -min((resident_of(each).idle_for for each in leavers), default=float("inf")), len(leavers)
