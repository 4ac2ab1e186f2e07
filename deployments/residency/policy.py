"""Who is loaded: models leave when they have been idle, or when another one is wanted that does not fit beside them.

`plan` decides, purely; `Residency` is the application-level autoscaling policy that gives Ray Serve its decisions.
Serve starts a replica for each model that has requests waiting, and Ray keeps it pending until its memory and GPU share
are free: a new model is never loaded on top of an old one. What is decided here is who makes room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from deployments.residency.board import ReplicaStatus, ReplicaStatusStore, ResidencyStatus, from_note
from deployments.residency.plan import Leave, Model, Needs, Node, Plan, Resident, Rules, plan, resident_of
from deployments.states import ReplicaState
from stores.footprints import Footprints

logger = logging.getLogger("ray.serve")

_STALE_SECONDS = 60.0
"""A replica that has not changed its note for so long is dead: it would have counted a beat."""
_LOOK_SECONDS = 1.0
"""How often the board is read while nobody waits for room."""


class Residency:
    """The application-level autoscaling policy: `plan` over what Serve and the board say.

    What is configured of a model comes with its deployment, as the keyword arguments of its own policy, which Serve's
    default does not look at: `needs` (of `Needs`), `keep`, `preload`, `max_requests`, `rules` (of `Rules`), and
    `footprint` (`file` and `identity`) where what it takes is to be kept on disk.
    """

    def __init__(self) -> None:
        self._board: ReplicaStatusStore | None = None
        self._nodes: dict[str, Node] = {}
        self._facts: list[ReplicaStatus] = []
        self._dismissed: set[str] = set()
        self._looked_at = 0.0
        self._waiting_since: dict[str, float] = {}
        self._seen: dict[str, _Observation] = {}
        self._loaded: set[str] = set()
        self._loads: dict[str, int] = {}
        self._were_ready: set[str] = set()
        self._evictions: dict[str, dict[str, int]] = {}
        self._published: dict[str, ResidencyStatus] = {}
        self._reasons: dict[str, Leave] = {}
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
        rules = from_note(
            Rules, next(iter(_policy_kwargs(context).get("rules", {}) for _, context in by_alias.values()))
        )
        decided = plan(models, self._nodes, rules)
        self._keep_footprints(by_alias)
        self._note(models, decided)
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
        return Model(
            alias,
            from_note(Needs, kwargs.get("needs", {})),
            keep=kwargs.get("keep", False),
            waited=waited,
            resident=self._resident(context, kwargs.get("max_requests", 0), now),
            is_draining=context.target_num_replicas > 0 and any(each.state == ReplicaState.READY for each in mine),
        )

    def _resident(self, context: Any, max_requests: int, now: float) -> Resident | None:
        """The model's replica: the one that Serve runs, else one that loads, else one that leaves."""
        running = {each.unique_id for each in context.running_replicas}
        mine = [each for each in self._facts if each.alias == context.deployment_name]
        if context.target_num_replicas:
            mine = [each for each in mine if each.replica in running or each.state != ReplicaState.READY]
        mine = [each for each in mine if each.state != ReplicaState.WAITING]
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
            is_loading=facts.state in (ReplicaState.DOWNLOADING, ReplicaState.LOADING) or facts.replica not in running,
            is_leaving=context.target_num_replicas == 0,
            is_dismissed=facts.replica in self._dismissed or 0 < max_requests <= facts.requests,
            lacks_memory=facts.state == ReplicaState.OUT_OF_MEMORY,
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
        for model in models:
            reason = decided.reasons.get(model.alias)
            if reason and not resident_of(model).is_leaving and model.alias not in self._reasons:
                logger.info("%s is unloaded: %s", model.alias, reason.text)
                kinds = self._evictions.setdefault(model.alias, {})
                kinds[reason.kind] = kinds.get(reason.kind, 0) + 1
        self._reasons = dict(decided.reasons)
        # Serve starts every model that has requests, and Ray gives the room to any of those that wait for it.
        waiting = {model.alias for model in models if model.waited is not None and model.resident is None}
        given = {alias: other for other, leaving in decided.waits_for.items() for alias in leaving}
        left = {alias: other for alias, other in given.items() if alias in decided.reasons}
        self._held = {alias: other for alias, other in {**self._held, **left}.items() if other in waiting}
        verdicts = {
            model.alias: ResidencyStatus(
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
class _Observation:
    """A note, and when it changed and its replica used last, by the clock of this process."""

    facts: ReplicaStatus
    changed_at: float
    used_at: float


def _use(facts: ReplicaStatus) -> tuple[int, int, float]:
    return facts.requests, facts.active, facts.used_at


def _policy_kwargs(context: Any) -> dict[str, Any]:
    kwargs: dict[str, Any] = context.config.policy.policy_kwargs
    return kwargs


def _nodes() -> Iterator[tuple[str, Node]]:
    """The machines of the cluster that live, by id."""
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            yield node["NodeID"], Node(int(has.get("memory", 0)), tuple(map(str, range(int(has.get("GPU", 0))))))
