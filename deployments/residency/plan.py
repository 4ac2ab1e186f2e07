"""Which models are to be resident, decided from what is known of each: a pure function, without I/O or logging."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from deployments.residency.room import Held, Room
from deployments.residency.situation import Model, Node, Rules


class LeaveKind(StrEnum):
    """Why a replica leaves, as it is counted."""

    IDLE = "idle"
    ASKED = "asked"
    ROOM = "room"
    LEAVING = "leaving"
    """It has left already, and is not called back."""


@dataclass(frozen=True)
class Leave:
    """Why a replica leaves: how it is counted, and in words for the log. `replica` is its id."""

    kind: LeaveKind
    text: str
    replica: str = ""


@dataclass(frozen=True)
class Plan:
    """How many replicas each model is to have, and by alias why some leave, what each waiting model waits for.

    Those that are `too_large` fit nowhere, and those that are `homeless` are for a kind of GPU that no machine has.
    """

    targets: Mapping[str, int]
    reasons: Mapping[str, tuple[Leave, ...]]
    waits_for: Mapping[str, tuple[str, ...]]
    too_large: Collection[str]
    homeless: Collection[str] = ()


def plan(models: Sequence[Model], nodes: Mapping[str, Node], rules: Rules) -> Plan:
    """Decide who is loaded, by who is wanted, who idles, and what fits."""
    planning = _Planning([_without_lost_nodes(model, nodes) for model in models], nodes, rules)
    planning.free_memory()
    planning.place_first()
    planning.place_kept()
    planning.place_more()
    planning.release_spare()
    return planning.result()


def _without_lost_nodes(model: Model, nodes: Mapping[str, Node]) -> Model:
    """The model without the replicas whose machine is gone; what they were at waits for others."""
    lost = [each for each in model.residents if each.node and each.node not in nodes]
    if not lost:
        return model
    residents = tuple(each for each in model.residents if each not in lost)
    is_wanted = model.load > 0 or any(each.active for each in lost)
    waited = 0.0 if model.waited is None and is_wanted and not residents else model.waited
    return replace(model, residents=residents, waited=waited)


class _Planning:
    """A plan as it is made: each step works on what those before it have left."""

    def __init__(self, models: Sequence[Model], nodes: Mapping[str, Node], rules: Rules) -> None:
        self._models, self._rules = models, rules
        held = [Held(model, resident) for model in models for resident in model.residents]
        self._leaving = {each: reason for each in held if (reason := _reason_to_leave(each, rules))}
        self._room = Room(nodes, rules, [each for each in held if each not in self._leaving])
        self._waits_for: dict[str, tuple[str, ...]] = {}
        self._too_large: list[str] = []
        self._homeless: list[str] = []
        self._awaited: list[Model] = []

    def free_memory(self) -> None:
        """The idle leave a machine on which a load ran out of memory although the figures fit."""
        for short in [each for each in self._room.held if each.resident.lacks_memory]:
            for other in [each for each in self._room.idle(short.model) if each.node == short.node]:
                self._leave(other, LeaveKind.ROOM, f"makes room for {short.model.alias}, whose load ran out of memory")

    def place_first(self) -> None:
        """A first replica of each model that is waited for, the longest first."""
        waiting = [model for model in self._models if not model.residents and (model.waited is not None or model.keep)]
        for model in sorted(waiting, key=lambda each: -(each.waited or 0.0)):
            found = self._room.find(model)
            if found is None:
                if not self._room.has_machine_for(model):
                    self._homeless.append(model.alias)
                elif self._room.is_too_small_for(model):
                    self._too_large.append(model.alias)
                else:
                    self._waits_for[model.alias] = tuple(dict.fromkeys(each.model.alias for each in self._room.held))
                    self._awaited.append(model)
                continue
            node, leavers = found
            if not leavers and self._is_stalled(model):
                leavers = self._room.idle(model)[:1]
            self._waits_for[model.alias] = tuple(dict.fromkeys(each.model.alias for each in leavers))
            self._enter(model, node, leavers)

    def place_kept(self) -> None:
        """All the replicas of a model that it always has."""
        for model in self._models:
            while 0 < self._room.count(model) < model.least_kept and not self._loses_one(model):
                found = self._room.find(model)
                if found is None:
                    break
                self._enter(model, *found)

    def place_more(self) -> None:
        """More replicas of models that are short of them, in room that nobody has waited for; the shortest first."""
        for model in sorted(self._models, key=lambda each: -each.short_for):
            while 0 < self._room.count(model) < self._goal(model) and not self._loses_one(model):
                is_patient = model.short_for >= self._rules.patience
                idle_for = max(model.short_for, self._rules.quiet) if is_patient else float("inf")
                found = self._room.find_more(model, self._awaited, idle_for)
                if found is None:
                    break
                self._enter(model, *found)

    def release_spare(self) -> None:
        """Replicas leave that have not been needed for long, the idle first; they end what they have."""
        for model in self._models:
            loaded = [each for each in self._room.held if each.model is model and not each.resident.is_loading]
            spare = self._room.count(model) - self._goal(model)
            for each in sorted(loaded, key=lambda each: (each.resident.active, -each.resident.idle_for))[
                : max(0, spare)
            ]:
                text = f"the others have been enough for {model.spare_for:.0f} s"
                self._leave(each, LeaveKind.IDLE, text)

    def result(self) -> Plan:
        """What has been decided."""
        reasons: dict[str, tuple[Leave, ...]] = {}
        for each, reason in self._leaving.items():
            reasons[each.model.alias] = (*reasons.get(each.model.alias, ()), reason)
        targets = {}
        for model in self._models:
            is_first_wanted = (model.keep or model.waited is not None) and model.alias not in reasons
            targets[model.alias] = max(self._room.count(model), int(is_first_wanted))
        waits_for = {alias: others for alias, others in self._waits_for.items() if others}
        return Plan(targets, reasons, waits_for, self._too_large, self._homeless)

    def _goal(self, model: Model) -> int:
        """How many replicas a model should have: as many as before, until others have been wanted for long enough."""
        before = max(self._room.count(model), model.target)
        wanted = model.scale.wanted(model.load)
        if wanted > before:
            return wanted if model.short_for >= self._rules.grow else max(before, model.scale.least)
        goal = wanted if model.spare_for >= self._rules.idle_timeout else before
        return min(max(goal, model.scale.least), model.scale.most)

    def _loses_one(self, model: Model) -> bool:
        """Whether a replica leaves: another in its place would keep Serve from letting it go."""
        return any(each.model is model for each in self._leaving)

    def _enter(self, model: Model, node: str, leavers: Sequence[Held]) -> None:
        for each in leavers:
            self._leave(each, LeaveKind.ROOM, f"makes room for {model.alias}")
        self._room.enter(model, node)

    def _leave(self, each: Held, kind: LeaveKind, text: str) -> None:
        self._leaving[each] = Leave(kind, text, each.resident.replica)
        self._room.leave(each)

    def _is_stalled(self, model: Model) -> bool:
        """Whether a model does not start although it fits and nobody is about to leave."""
        nobody_leaves = not any(
            other.is_draining or any(each.is_leaving for each in other.residents) for other in self._models
        )
        return nobody_leaves and (model.waited or 0.0) >= self._rules.stall


def _reason_to_leave(each: Held, rules: Rules) -> Leave | None:
    """Why a replica leaves, regardless of other models."""
    resident, siblings = each.resident, each.model.residents
    if resident.is_leaving:
        return Leave(LeaveKind.LEAVING, "is leaving already", resident.replica)
    if resident.is_loading:
        return None
    if resident.is_dismissed:
        return Leave(LeaveKind.ASKED, "was asked to leave", resident.replica)
    if each.model.keep or any(other.active or other.is_loading for other in siblings):
        return None
    idle_for = min(other.idle_for for other in siblings)
    return (
        Leave(LeaveKind.IDLE, f"idle for {idle_for:.0f} s", resident.replica)
        if idle_for >= rules.idle_timeout
        else None
    )
