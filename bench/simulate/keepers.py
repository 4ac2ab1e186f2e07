"""Who decides what is loaded: the server's own plan, and what it is compared with."""

from __future__ import annotations

import math

from bench.simulate.machine import HELD_AT_ONCE, Decision, Line, Replica
from bench.simulate.traffic import Served
from deployments.residency.plan import plan
from deployments.residency.situation import Model, Needs, Node, Resident, Rules, Scale


class Planned:
    """What `deployments/residency` decides, over what its policy would know."""

    def __init__(self, rules: Rules, most_replicas: int = 2, gpus: int = 8) -> None:
        self._rules = rules
        self._scale = Scale(1, most_replicas, target_ongoing=HELD_AT_ONCE / 2)
        self._nodes = {"box": Node(0, tuple(map(str, range(gpus))))}
        self._short_since: dict[str, float] = {}
        self._spare_since: dict[str, float] = {}

    def share(self, model: Served) -> float:
        """What it takes."""
        return model.gpus

    def decide(self, now: float, lines: dict[str, Line]) -> Decision:
        """As the plan says."""
        concerned = [line for line in lines.values() if line.waiting or line.replicas or line.target]
        decided = plan([self._model(line, now) for line in concerned], self._nodes, self._rules)
        named = {each.name: each for line in lines.values() for each in line.staying}
        leaving = [
            named[leave.replica] for leaves in decided.reasons.values() for leave in leaves if leave.replica in named
        ]
        return Decision(leaving, dict(decided.targets))

    def _model(self, line: Line, now: float) -> Model:
        alias, ready, staying = line.model.alias, line.ready(now), line.staying
        is_waited_for = bool(line.waiting) and not ready
        load = len(line.waiting) + sum(each.works for each in ready)
        wanted = self._scale.wanted(load)
        shown = staying or (line.replicas if not line.target else [])
        return Model(
            alias,
            Needs(gpus=line.model.gpus),
            waited=now - line.waiting[0].at if is_waited_for else None,
            residents=tuple(self._resident(each, line, now) for each in shown),
            is_draining=bool(line.target) and len(staying) < len(line.replicas),
            scale=self._scale,
            load=load,
            target=line.target,
            short_for=_lasts(self._short_since, alias, now, holds=bool(ready) and 0 < line.target < wanted),
            spare_for=_lasts(self._spare_since, alias, now, holds=wanted < line.target),
        )

    @staticmethod
    def _resident(replica: Replica, line: Line, now: float) -> Resident:
        is_loading = replica.ready_at > now
        active = replica.works or (bool(line.waiting) and not is_loading)
        return Resident(
            "box",
            tuple(map(str, replica.gpus)),
            active=int(active),
            idle_for=0.0 if active or is_loading else now - replica.used_at,
            resident_for=max(0.0, now - replica.ready_at),
            load_seconds=replica.ready_at - replica.placed_at,
            is_loading=is_loading,
            is_leaving=replica.is_leaving,
            replica=replica.name,
        )


class LeastRecentlyUsed:
    """One model on each GPU, and the one that was used longest ago leaves: what servers do that count models."""

    def __init__(self, gpus: int = 8) -> None:
        self._gpus = gpus

    def share(self, model: Served) -> float:
        """Whole GPUs."""
        return float(math.ceil(model.gpus))

    def decide(self, now: float, lines: dict[str, Line]) -> Decision:
        """First come, first served; a busy model is waited for."""
        targets = {alias: int(bool(line.staying)) for alias, line in lines.items()}
        held = [each for line in lines.values() for each in line.replicas]
        idle = sorted(
            (each for each in held if each.ready_at <= now and not (each.works or each.is_leaving)),
            key=lambda each: each.used_at,
        )
        promised = self._gpus - sum(self.share(each.model) for each in held if not each.is_leaving)
        leaving: list[Replica] = []
        waiting = [line for line in lines.values() if line.waiting and not line.staying and not line.replicas]
        for line in sorted(waiting, key=lambda each: each.waiting[0].at):
            needed, going = self.share(line.model), []
            while promised < needed and idle:
                going.append(idle.pop(0))
                promised += self.share(going[-1].model)
            leaving += going
            if promised < needed:
                break  # the others wait behind it
            promised -= needed
            targets[line.model.alias] = 1
        for each in leaving:
            targets[each.model.alias] = 0
        return Decision(leaving, targets)


def _lasts(since: dict[str, float], alias: str, now: float, *, holds: bool) -> float:
    if not holds:
        since.pop(alias, None)
        return 0.0
    return now - since.setdefault(alias, now)
