"""A machine of 10 GB whose models the policy decides about. Ray is replaced by a store of this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pytest
import ray
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments import serve_internals
from deployments.residency import policy
from deployments.residency.board import ReplicaStatus, ReplicaStatusStore, ResidencyStatus
from deployments.residency.policy import Residency
from deployments.residency.situation import Rules
from deployments.states import ReplicaState

GB = 10**9
RULES = Rules(idle_timeout=300, quiet=1, min_residence=5, patience=15, stall=15)


class KeyValueStore:
    """Ray's, of one process. `listed` counts how often somebody looked."""

    def __init__(self) -> None:
        self._values: dict[tuple[bytes, bytes], bytes] = {}
        self.listed = 0

    def _internal_kv_put(self, key: bytes, value: bytes, overwrite: bool, namespace: bytes) -> None:
        assert overwrite
        self._values[namespace, key] = value

    def _internal_kv_get(self, key: bytes, namespace: bytes) -> bytes | None:
        return self._values.get((namespace, key))

    def _internal_kv_del(self, key: bytes, namespace: bytes) -> None:
        self._values.pop((namespace, key), None)

    def _internal_kv_list(self, prefix: bytes, namespace: bytes) -> list[bytes]:
        self.listed += 1
        return [key for space, key in self._values if space == namespace and key.startswith(prefix)]


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@dataclass
class Model:
    """A deployment as Serve sees it."""

    name: str
    needs: int = 6 * GB
    options: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 0
    target: int = 0
    replica: ReplicaStatus | None = None
    more: list[ReplicaStatus] = field(default_factory=list)
    """Replicas beside that one."""


class Machine:
    """A machine of 10 GB with some models, on which Serve does what the policy says once a test lets it."""

    def __init__(self, *models: Model, rules: Rules = RULES) -> None:
        self.clock, self.store = Clock(), KeyValueStore()
        self.models, self.rules = {model.name: model for model in models}, rules
        self.residency = Residency()
        self.notes = ReplicaStatusStore("atelier")
        self.is_silent = False
        """Replicas say nothing, not even that they live."""
        self.is_recovering = False
        """Serve's controller has just begun, and has not found the replicas yet that run."""
        self._replicas = 0

    def decide(self, seconds: float = 0.0) -> set[str]:
        """The models that shall be loaded, so many seconds later."""
        self.clock.now += seconds
        for each in self.models.values():
            if each.replica and not self.is_silent:
                each.replica = replace(each.replica, beats=each.replica.beats + 1)
                self.notes.put(each.replica)
                each.more = [replace(other, beats=other.beats + 1) for other in each.more]
                for other in each.more:
                    self.notes.put(other)
        targets, state = self.residency({self._id(name): self._context(each) for name, each in self.models.items()})
        assert state == {}
        for name, each in self.models.items():
            each.target = targets[self._id(name)]
        return {name for name, each in self.models.items() if each.target}

    def load(self, name: str, state: ReplicaState = ReplicaState.READY, **what: Any) -> None:
        """Serve starts a replica, which says that it has loaded its model, or how far it is."""
        model = self.models[name]
        self._replicas += 1
        replica = f"{name}-{self._replicas}"
        model.target = max(1, model.target)
        status = ReplicaStatus(name, replica, "here", 1, state, self.clock.now, used_at=self.clock.now, **what)
        if model.replica:
            model.more.append(status)
        else:
            model.replica = status
        self.notes.put(status)

    def use(self, name: str, active: int = 0) -> None:
        """A request has come, and has ended unless one is active."""
        model = self.models[name]
        assert model.replica
        used = {"requests": model.replica.requests + 1, "active": active, "used_at": self.clock.now}
        model.replica, model.requests = replace(model.replica, **used), active  # type: ignore[arg-type]
        self.notes.put(model.replica)

    def unload(self, name: str) -> None:
        """Serve has stopped the replica, which took its note down."""
        model = self.models[name]
        assert model.replica
        self.notes.forget(model.replica.replica)
        model.replica = None

    @property
    def verdicts(self) -> dict[str, ResidencyStatus]:
        return self.notes.verdicts()

    def _id(self, name: str) -> DeploymentID:
        return DeploymentID(name, "atelier")

    def _context(self, model: Model) -> AutoscalingContext:
        there = [model.replica, *model.more] if model.replica and not self.is_recovering else []
        running = [ReplicaID(each.replica, self._id(model.name)) for each in there]
        kwargs = {"needs": {"memory": model.needs}, "rules": asdict(self.rules), **model.options}
        config = AutoscalingConfig(min_replicas=0, max_replicas=9, policy=AutoscalingPolicy(policy_kwargs=kwargs))
        return AutoscalingContext(
            deployment_id=self._id(model.name),
            deployment_name=model.name,
            app_name="atelier",
            current_num_replicas=len(running),
            target_num_replicas=model.target,
            running_replicas=running,
            total_num_requests=model.requests,
            total_queued_requests=None,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=0,
            capacity_adjusted_max_replicas=1,
            policy_state={},
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=self.clock.now,
            config=config,
        )


def started(monkeypatch: pytest.MonkeyPatch, made: Machine) -> Machine:
    monkeypatch.setattr(serve_internals, "internal_kv", made.store)
    monkeypatch.setattr(policy, "time", made.clock)
    here = {"NodeID": "here", "Alive": True, "Resources": {"memory": 10 * GB}}
    gone = {"NodeID": "gone", "Alive": False, "Resources": {"memory": 99 * GB}}
    monkeypatch.setattr(ray, "nodes", lambda: [here, gone])
    return made
