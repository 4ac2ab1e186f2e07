"""Short ways to write situations of models with several replicas, on several machines and GPUs."""

from __future__ import annotations

from dataclasses import replace

from deployments.residency.plan import Plan, plan
from deployments.residency.situation import Model, Needs, Node, Resident, Rules, Scale

GB = 10**9
RULES = Rules(idle_timeout=300, quiet=1, min_residence=5, patience=15, grow=2, stall=15)
EIGHT = tuple(map(str, range(8)))
ONE_NODE = {"here": Node(20 * GB)}
TWO_NODES = {"here": Node(20 * GB), "there": Node(20 * GB)}
BOX = {"box": Node(500 * GB, EIGHT)}
TWO_BOXES = {"left": Node(100 * GB, ("0", "1")), "right": Node(100 * GB, ("0", "1"))}
IDLE = Resident("here", idle_for=60, resident_for=100, load_seconds=2)
BUSY = replace(IDLE, active=2, idle_for=0)
LOADING = Resident("here", is_loading=True)
UP_TO = {most: Scale(1, most, target_ongoing=4) for most in range(1, 10)}


def model(alias: str, *residents: Resident, gigabytes: float = 8, gpus: float = 0, **what: object) -> Model:
    """A model of 8 GB, of up to 2 replicas with 4 requests each; what it has is what it was to have."""
    given = {"scale": UP_TO[2], "target": len(residents), **what}
    named = tuple(replace(each, replica=each.replica or f"{alias}{n}") for n, each in enumerate(residents, 1))
    return Model(alias, Needs(int(gigabytes * GB), gpus), residents=named, **given)  # type: ignore[arg-type]


def on_gpu(alias: str, *residents: Resident, gpus: float = 1, **what: object) -> Model:
    return model(alias, *residents, gigabytes=0, gpus=gpus, **what)


def at(gpu: str | tuple[str, ...], resident: Resident = IDLE, node: str = "box", **what: object) -> Resident:
    return replace(resident, node=node, gpus=(gpu,) if isinstance(gpu, str) else gpu, **what)  # type: ignore[arg-type]


def decide(*models: Model, nodes: dict[str, Node] = ONE_NODE, rules: Rules = RULES) -> Plan:
    return plan(models, nodes, rules)


def leaving(decided: Plan) -> set[str]:
    return {leave.replica for leaves in decided.reasons.values() for leave in leaves}
