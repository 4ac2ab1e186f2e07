"""Who is loaded: models leave when they have been idle, or when another one is wanted that does not fit beside them.

`plan` decides, purely; `Residency` is the application-level autoscaling policy that gives Ray Serve its decisions.
Serve starts a replica for each model that has requests waiting, and Ray keeps it pending until its memory and GPU share
are free: a new model is never loaded on top of an old one. What is decided here is who makes room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from deployments import serve_internals
from deployments.residency.board import ReplicaStatus, ReplicaStatusStore, ResidencyStatus, from_note
from deployments.residency.plan import LeaveKind, Plan, plan
from deployments.residency.situation import Model, Needs, Node, Resident, Rules, Scale
from deployments.states import ReplicaState
from stores.footprints import Footprints

logger = logging.getLogger("ray.serve")

ACCELERATOR_LABEL = "ray.io/accelerator-type"
"""Ray's label of a node for the kind of its GPUs."""
_STALE_SECONDS = 60.0
"""A replica that has not changed its note for so long is dead: it would have counted a beat."""
_LOOK_SECONDS = 1.0
"""How often the board is read while nobody waits for room."""
_RECOVERY_SECONDS = 30.0
"""A controller that takes over, as after its death, does not know at once which replicas run."""


class Residency:
    """The application-level autoscaling policy: `plan` over what Serve and the board say.

    What is configured of a model comes with its deployment, as the keyword arguments of its own policy, which Serve's
    default does not look at: `needs` (of `Needs`), `scale` (of `Scale`), `keep`, `preload`, `max_requests`, `rules` (of
    `Rules`), and `footprint` (`file` and `identity`) where what it takes is to be kept on disk.
    """

    def __init__(self) -> None:
        self._board: ReplicaStatusStore | None = None
        self._nodes: dict[str, Node] = {}
        self._facts: list[ReplicaStatus] = []
        self._dismissed: set[str] = set()
        self._looked_at = 0.0
        self._began_at: float | None = None
        self._waiting_since: dict[str, float] = {}
        self._seen: dict[str, _Observation] = {}
        self._loaded: set[str] = set()
        self._loads: dict[str, int] = {}
        self._were_ready: set[str] = set()
        self._evictions: dict[str, dict[str, int]] = {}
        self._published: dict[str, ResidencyStatus] = {}
        self._leaving: set[str] = set()
        self._short_since: dict[str, float] = {}
        self._spare_since: dict[str, float] = {}
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
        self._began_at = now if self._began_at is None else self._began_at
        for alias, (_, context) in by_alias.items():
            if context.current_num_replicas == 0 and context.total_num_requests > 0:
                self._waiting_since.setdefault(alias, now)
            else:
                self._waiting_since.pop(alias, None)
        if self._waiting_since or self._dismissed or now - self._looked_at >= _LOOK_SECONDS:
            self._look(next(iter(by_alias.values()))[1].app_name, now)
        models = [self._model(context, now) for _, context in by_alias.values()]
        rules = from_note(
            Rules, next(iter(_policy_kwargs(context).get("rules", {}) for _, context in by_alias.values()))
        )
        decided = plan(models, self._nodes, rules)
        self._keep_footprints(by_alias)
        self._note(models, decided)
        self._choose_leavers(decided)
        return {by_alias[alias][0]: target for alias, target in decided.targets.items()}

    def _look(self, application: str, now: float) -> None:
        published_before: dict[str, ResidencyStatus] = {}
        if self._board is None:  # a new policy, as after a deployment, goes on counting where the last one was
            self._board = ReplicaStatusStore(application)
            published_before = self._board.verdicts()
            self._loads = {alias: verdict.loads for alias, verdict in published_before.items()}
            self._evictions = {alias: dict(verdict.evictions) for alias, verdict in published_before.items()}
        if not self._nodes or now - self._looked_at >= _LOOK_SECONDS:
            self._nodes = dict(_nodes())
        self._looked_at = now
        statuses = {facts.replica: facts for facts in self._board.facts()}
        self._dismissed = self._board.asked_to_leave()
        for replica in [*self._seen.keys() - statuses.keys(), *self._dismissed - statuses.keys()]:
            self._board.forget(replica)
            self._seen.pop(replica, None)
        for replica, facts in statuses.items():
            seen = self._seen.get(replica)
            used_at = now if seen is None or _use(seen.facts) != _use(facts) else seen.used_at
            self._seen[replica] = _Observation(
                facts, now if seen is None or seen.facts != facts else seen.changed_at, used_at
            )
        for replica in [each for each, seen in self._seen.items() if now - seen.changed_at > _STALE_SECONDS]:
            self._board.forget(replica)
            del self._seen[replica]
        self._facts = [seen.facts for seen in self._seen.values()]
        if published_before:
            self._loaded = {facts.replica for facts in self._facts if facts.state == ReplicaState.READY}

    def _model(self, context: Any, now: float) -> Model:
        kwargs = _policy_kwargs(context)
        alias = context.deployment_name
        since = self._waiting_since.get(alias)
        waited = None if since is None else now - since
        if kwargs.get("preload") and context.target_num_replicas and alias not in self._were_ready:
            waited = waited or 0.0
        running = {each.unique_id for each in context.running_replicas}
        mine = [each for each in self._facts if each.alias == alias and each.replica not in running]
        scale, target = from_note(Scale, kwargs.get("scale", {})), context.target_num_replicas
        wanted = scale.wanted(context.total_num_requests)
        return Model(
            alias,
            from_note(Needs, kwargs.get("needs", {})),
            keep=kwargs.get("keep", False),
            waited=waited,
            residents=tuple(self._residents(context, scale, kwargs.get("max_requests", 0), now)),
            is_draining=target > 0 and any(each.state == ReplicaState.READY for each in mine),
            scale=scale,
            load=context.total_num_requests,
            target=target,
            short_for=_lasts(self._short_since, alias, now, holds=len(running) > 0 and 0 < target < wanted),
            spare_for=_lasts(self._spare_since, alias, now, holds=wanted < target),
        )

    def _residents(self, context: Any, scale: Scale, max_requests: int, now: float) -> Iterator[Resident]:
        """The model's replicas: those that Serve runs, then those that load; all of them once it is to leave."""
        running = {each.unique_id for each in context.running_replicas}
        mine = [each for each in self._facts if each.alias == context.deployment_name]
        # What they were at is wanted, whether Serve has already given them up or not: else it would change its mind.
        lost = [each for each in mine if self._nodes and each.node not in self._nodes]
        yield from (self._resident(context, each, running, max_requests, now) for each in lost)
        mine = [each for each in mine if each not in lost]
        is_recovering = now - (self._began_at or now) < _RECOVERY_SECONDS and len(running) < context.target_num_replicas
        if context.target_num_replicas and not is_recovering:
            mine = [each for each in mine if each.replica in running or each.state != ReplicaState.READY]
        mine = [each for each in mine if each.state != ReplicaState.WAITING]
        mine.sort(key=lambda each: (each.replica in running, each.since), reverse=True)
        mine = mine[: context.target_num_replicas or scale.most]  # what was killed while it loaded left a note
        for facts in mine:
            yield self._resident(context, facts, running, max_requests, now)
        unknown = running - {each.replica for each in (*mine, *lost)}
        # Serve knows of them and the board does not yet: they are not to be touched
        for _ in range(min(len(unknown), max(1, context.target_num_replicas) - len(mine))):
            yield Resident("", active=1)

    def _resident(
        self, context: Any, facts: ReplicaStatus, running: Collection[str], max_requests: int, now: float
    ) -> Resident:
        idle_since = self._seen[facts.replica].used_at
        return Resident(
            facts.node,
            facts.gpus,
            active=facts.active,
            idle_for=0.0 if facts.active else now - idle_since,
            resident_for=max(0.0, time.time() - facts.since),
            load_seconds=facts.load_seconds,
            is_loading=facts.state in (ReplicaState.DOWNLOADING, ReplicaState.LOADING) or facts.replica not in running,
            is_leaving=context.target_num_replicas == 0,
            is_dismissed=facts.replica in self._dismissed or 0 < max_requests <= facts.requests,
            lacks_memory=facts.state == ReplicaState.OUT_OF_MEMORY,
            replica=facts.replica,
        )

    def _keep_footprints(self, by_alias: Mapping[str, tuple[Any, Any]]) -> None:
        """Count what has been loaded since the last look, and keep what it takes for the next start."""
        self._were_ready |= {
            facts.alias for facts in self._facts if facts.state in (ReplicaState.READY, ReplicaState.FAILED)
        }
        for facts in self._facts:
            if facts.state != ReplicaState.READY or facts.replica in self._loaded or facts.alias not in by_alias:
                continue
            self._loaded.add(facts.replica)
            self._loads[facts.alias] = self._loads.get(facts.alias, 0) + 1
            footprint = _policy_kwargs(by_alias[facts.alias][1]).get("footprint")
            if footprint:
                Footprints(Path(footprint["file"])).note(footprint["identity"], facts.main_bytes)
        self._loaded &= {facts.replica for facts in self._facts}

    def _note(self, models: Sequence[Model], decided: Plan) -> None:
        """Count, log and publish what has changed."""
        leaves = [(alias, leave) for alias, reasons in decided.reasons.items() for leave in reasons]
        for alias, leave in leaves:
            if leave.kind is not LeaveKind.LEAVING and leave.replica not in self._leaving:
                logger.info("%s is unloaded: %s", alias, leave.text)
                kinds = self._evictions.setdefault(alias, {})
                kinds[leave.kind] = kinds.get(leave.kind, 0) + 1
        self._leaving = {leave.replica for _, leave in leaves}
        # Serve starts every model that has requests, and Ray gives the room to any of those that wait for it.
        waiting = {model.alias for model in models if model.waited is not None and not model.residents}
        given = {alias: other for other, leaving in decided.waits_for.items() for alias in leaving}
        left = {
            alias: other for alias, other in given.items() if alias in decided.reasons and not decided.targets[alias]
        }
        self._held = {alias: other for alias, other in {**self._held, **left}.items() if other in waiting}
        verdicts = {
            model.alias: ResidencyStatus(
                self._loads.get(model.alias, 0),
                dict(self._evictions.get(model.alias, {})),
                ", ".join(decided.waits_for.get(model.alias, ())),
                model.alias in decided.too_large,
                model.needs.accelerator if model.alias in decided.homeless else "",
                self._held.get(model.alias, ""),
                max(1, sum(not each.is_loading for each in model.residents)),
            )
            for model in models
        }
        if self._board is not None and verdicts != self._published:
            self._board.publish(verdicts)
            self._published = verdicts

    def _choose_leavers(self, decided: Plan) -> None:
        """Have Serve stop the replicas that were decided upon, where a model keeps others."""
        serve_internals.stop_first(
            {leave.replica for alias, leaves in decided.reasons.items() for leave in leaves if decided.targets[alias]}
        )


@dataclass(frozen=True)
class _Observation:
    """A note, and when it changed and its replica used last, by the clock of this process."""

    facts: ReplicaStatus
    changed_at: float
    used_at: float


def _use(facts: ReplicaStatus) -> tuple[int, int, float]:
    return facts.requests, facts.active, facts.used_at


def _lasts(since: dict[str, float], alias: str, now: float, *, holds: bool) -> float:
    """For how many seconds something has held of a model without a break."""
    if not holds:
        since.pop(alias, None)
        return 0.0
    return now - since.setdefault(alias, now)


def _policy_kwargs(context: Any) -> dict[str, Any]:
    kwargs: dict[str, Any] = context.config.policy.policy_kwargs
    return kwargs


def _nodes() -> Iterator[tuple[str, Node]]:
    """The machines of the cluster that live, by id."""
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            gpus = tuple(map(str, range(int(has.get("GPU", 0)))))
            kind = (node.get("Labels") or {}).get(ACCELERATOR_LABEL, "")
            yield node["NodeID"], Node(int(has.get("memory", 0)), gpus, kind)
