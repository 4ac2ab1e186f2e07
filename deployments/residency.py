"""Who is loaded: models leave when they have been idle, or when another one is wanted that does not fit beside them.

`plan` decides, purely; `Residency` is the application-level autoscaling policy that gives Ray Serve its decisions.
Serve starts a replica for whoever has requests waiting, and Ray keeps it pending until its memory and GPU share are
free: a new model is never loaded on top of an old one. What is decided here is who makes room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from deployments.board import Board, Facts, Verdict
from stores.footprints import Footprints

logger = logging.getLogger("ray.serve")

_STALE_SECONDS = 60.0
"""A replica that has not changed its note for so long is dead: it would have counted a beat."""
_LOOK_SECONDS = 1.0
"""How often the board is read while nobody waits for room."""


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


@dataclass(frozen=True)
class Plan:
    """Who shall be resident, why others leave, what each waiting model waits for, and who fits nowhere at all."""

    targets: Mapping[str, int]
    reasons: Mapping[str, str]
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
                reasons[other.alias] = f"makes room for {model.alias}, whose load ran out of memory"
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
            reasons[other.alias] = f"makes room for {model.alias}"
            room.leave(other)
        waits_for[model.alias] = tuple(other.alias for other in leaving)
        room.enter(model, node)
    targets = {model.alias: int(_is_wanted(model) and model.alias not in reasons) for model in models}
    return Plan(targets, reasons, {alias: others for alias, others in waits_for.items() if others}, too_large)


def _reason_to_leave(model: Model, rules: Rules) -> str | None:
    """Why a resident model leaves whoever else is there."""
    resident = model.resident
    if resident is None or resident.is_leaving:
        return None if resident is None else "has been told to leave"
    if resident.is_loading:
        return None
    if resident.is_dismissed:
        return "was asked to leave"
    if model.keep or resident.active:
        return None
    return f"idle for {resident.idle_for:.0f} s" if resident.idle_for >= rules.idle_timeout else None


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
        return sorted(others, key=lambda each: -_resident(each).idle_for)

    def is_too_small_for(self, model: Model) -> bool:
        """Whether the model would not fit though all left that may ever leave."""
        kept = [each for each in self.residents if each.keep]
        return not any(self._fits(model.needs, node, kept) for node in self._nodes)

    def _leavers(self, model: Model, node: str) -> list[Model] | None:
        candidates = self.idle(model)
        if (model.waited or 0.0) >= self._rules.patience:
            busy = [each for each in self.residents if _resident(each).active and self._may_be_drained(each)]
            candidates += sorted(busy, key=lambda each: -_resident(each).resident_for)
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
        resident = _resident(model)
        if model.keep or resident.is_loading or resident.active:
            return False
        return resident.idle_for >= self._rules.quiet or self._has_settled(resident)

    def _may_be_drained(self, model: Model) -> bool:
        return not model.keep and not _resident(model).is_loading and self._has_settled(_resident(model))

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
            for gpu in _resident(each).gpus if _node(each) == node else ():
                free[gpu] = free.get(gpu, 0.0) - min(each.needs.gpus, 1.0)
        share, count = min(needs.gpus, 1.0), max(1, round(needs.gpus))
        fitting = sorted((left, gpu) for gpu, left in free.items() if left >= share - 1e-6)
        return tuple(gpu for _, gpu in fitting[:count]) if len(fitting) >= count else None


def _resident(model: Model) -> Resident:
    assert model.resident is not None
    return model.resident


def _cost(leavers: Sequence[Model]) -> tuple[int, float, int]:
    """Nobody busy, then nobody whom somebody used lately, then few."""
    busy = sum(1 for each in leavers if _resident(each).active)
    return busy, -min((_resident(each).idle_for for each in leavers), default=float("inf")), len(leavers)


class Residency:
    """The application-level autoscaling policy: `plan` over what Serve and the board say.

    What is configured of a model comes with its deployment, as the keyword arguments of its own policy, which Serve's
    default does not look at: `needs` (of `Needs`), `keep`, `preload`, `max_requests`, `rules` (of `Rules`), and
    `footprint` (`file` and `identity`) where what it takes is to be kept on disk.
    """

    def __init__(self) -> None:
        self._board: Board | None = None
        self._nodes: dict[str, Node] = {}
        self._facts: list[Facts] = []
        self._dismissed: set[str] = set()
        self._looked_at = 0.0
        self._waiting_since: dict[str, float] = {}
        self._seen: dict[str, _Seen] = {}
        self._loaded: set[str] = set()
        self._loads: dict[str, int] = {}
        self._were_ready: set[str] = set()
        self._evictions: dict[str, dict[str, int]] = {}
        self._published: dict[str, Verdict] = {}
        self._reasons: dict[str, str] = {}
        self._held: dict[str, str] = {}

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
        """Targets by deployment; the state that Serve would keep is kept here.

        Raises nothing: it would keep Serve's controller from doing anything else.
        """
        try:
            return self._decide(contexts), {}
        except Exception:
            logger.exception("which models are loaded could not be decided; all stays as it is")
            return {}, {}

    def _decide(self, contexts: Mapping[Any, Any]) -> dict[Any, int]:
        now = time.monotonic()
        by_alias = {context.deployment_name: (name, context) for name, context in contexts.items()}
        if not by_alias:
            return {}
        for alias, (_, context) in by_alias.items():
            if context.current_num_replicas == 0 and context.total_num_requests > 0:
                self._waiting_since.setdefault(alias, now)
            else:
                self._waiting_since.pop(alias, None)
        if self._waiting_since or self._dismissed or now - self._looked_at >= _LOOK_SECONDS:
            self._look(next(iter(by_alias.values()))[1].app_name, now)
        models = [self._model(context, now) for _, context in by_alias.values()]
        rules = Rules(**next(iter(_told(context).get("rules", {}) for _, context in by_alias.values())))
        decided = plan(models, self._nodes, rules)
        self._keep_footprints(by_alias)
        self._note(models, decided)
        return {by_alias[alias][0]: target for alias, target in decided.targets.items()}

    def _look(self, application: str, now: float) -> None:
        told_before: dict[str, Verdict] = {}
        if self._board is None:  # a new policy, as after a deployment, goes on counting where the last one was
            self._board = Board(application)
            told_before = self._board.verdicts()
            self._loads = {alias: verdict.loads for alias, verdict in told_before.items()}
            self._evictions = {alias: dict(verdict.evictions) for alias, verdict in told_before.items()}
        if not self._nodes or now - self._looked_at >= _LOOK_SECONDS:
            self._nodes = dict(_nodes())
        self._looked_at = now
        told = {facts.replica: facts for facts in self._board.facts()}
        self._dismissed = self._board.asked_to_leave()
        for replica in [*self._seen.keys() - told.keys(), *self._dismissed - told.keys()]:
            self._board.forget(replica)
            self._seen.pop(replica, None)
        for replica, facts in told.items():
            seen = self._seen.get(replica)
            used_at = now if seen is None or _use(seen.facts) != _use(facts) else seen.used_at
            self._seen[replica] = _Seen(facts, now if seen is None or seen.facts != facts else seen.told_at, used_at)
        for replica in [each for each, seen in self._seen.items() if now - seen.told_at > _STALE_SECONDS]:
            self._board.forget(replica)
            del self._seen[replica]
        self._facts = [seen.facts for seen in self._seen.values()]
        if told_before:
            self._loaded = {facts.replica for facts in self._facts if facts.state == "ready"}

    def _model(self, context: Any, now: float) -> Model:
        told = _told(context)
        alias = context.deployment_name
        since = self._waiting_since.get(alias)
        waited = None if since is None else now - since
        if told.get("preload") and context.target_num_replicas and alias not in self._were_ready:
            waited = waited or 0.0
        running = {each.unique_id for each in context.running_replicas}
        mine = [each for each in self._facts if each.alias == alias and each.replica not in running]
        return Model(
            alias,
            Needs(**told.get("needs", {})),
            keep=told.get("keep", False),
            waited=waited,
            resident=self._resident(context, told.get("max_requests", 0), now),
            is_draining=context.target_num_replicas > 0 and any(each.state == "ready" for each in mine),
        )

    def _resident(self, context: Any, max_requests: int, now: float) -> Resident | None:
        """The model's replica: the one that Serve runs, else one that loads, else one that leaves."""
        running = {each.unique_id for each in context.running_replicas}
        mine = [each for each in self._facts if each.alias == context.deployment_name]
        if context.target_num_replicas:
            mine = [each for each in mine if each.replica in running or each.state != "ready"]
        mine = [each for each in mine if each.state != "waiting"]
        if not mine:
            # Serve knows of it and the board does not yet: it is not to be touched
            return Resident("", active=1) if running else None
        facts = max(mine, key=lambda each: (each.replica in running, each.since))
        idle_since = self._seen[facts.replica].used_at
        return Resident(
            facts.node,
            facts.gpus,
            active=facts.active,
            idle_for=0.0 if facts.active else now - idle_since,
            resident_for=max(0.0, time.time() - facts.since),
            load_seconds=facts.load_seconds,
            is_loading=facts.state == "loading" or facts.replica not in running,
            is_leaving=context.target_num_replicas == 0,
            is_dismissed=facts.replica in self._dismissed or 0 < max_requests <= facts.requests,
            lacks_memory=facts.state == "out_of_memory",
        )

    def _keep_footprints(self, by_alias: Mapping[str, tuple[Any, Any]]) -> None:
        """Count what has been loaded since the last look, and keep what it takes for the next start."""
        self._were_ready |= {facts.alias for facts in self._facts if facts.state in ("ready", "failed")}
        for facts in self._facts:
            if facts.state != "ready" or facts.replica in self._loaded or facts.alias not in by_alias:
                continue
            self._loaded.add(facts.replica)
            self._loads[facts.alias] = self._loads.get(facts.alias, 0) + 1
            footprint = _told(by_alias[facts.alias][1]).get("footprint")
            if footprint:
                Footprints(Path(footprint["file"])).note(footprint["identity"], facts.main_bytes)
        self._loaded &= {facts.replica for facts in self._facts}

    def _note(self, models: Sequence[Model], decided: Plan) -> None:
        """Count, log and publish what has changed."""
        for model in models:
            reason = decided.reasons.get(model.alias)
            if reason and not _resident(model).is_leaving and model.alias not in self._reasons:
                logger.info("%s is unloaded: %s", model.alias, reason)
                kinds = self._evictions.setdefault(model.alias, {})
                kind = "idle" if reason.startswith("idle") else "asked" if reason.startswith("was") else "room"
                kinds[kind] = kinds.get(kind, 0) + 1
        self._reasons = dict(decided.reasons)
        # Serve starts whoever is asked for, and Ray gives the room to whomever it likes of those that wait for it.
        waiting = {model.alias for model in models if model.waited is not None and model.resident is None}
        given = {alias: other for other, leaving in decided.waits_for.items() for alias in leaving}
        left = {alias: other for alias, other in given.items() if alias in decided.reasons}
        self._held = {alias: other for alias, other in {**self._held, **left}.items() if other in waiting}
        verdicts = {
            model.alias: Verdict(
                self._loads.get(model.alias, 0),
                dict(self._evictions.get(model.alias, {})),
                ", ".join(decided.waits_for.get(model.alias, ())),
                model.alias in decided.too_large,
                self._held.get(model.alias, ""),
            )
            for model in models
        }
        if self._board is not None and verdicts != self._published:
            self._board.publish(verdicts)
            self._published = verdicts


@dataclass(frozen=True)
class _Seen:
    """A note, and when it was told and its replica used last, by the clock of this process."""

    facts: Facts
    told_at: float
    used_at: float


def _use(facts: Facts) -> tuple[int, int, float]:
    return facts.requests, facts.active, facts.used_at


def _told(context: Any) -> dict[str, Any]:
    told: dict[str, Any] = context.config.policy.policy_kwargs
    return told


def _nodes() -> Iterator[tuple[str, Node]]:
    """The machines of the cluster that live, by id."""
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            yield node["NodeID"], Node(int(has.get("memory", 0)), tuple(map(str, range(int(has.get("GPU", 0))))))
