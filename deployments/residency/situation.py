"""What is known when it is decided which models are loaded: machines, models, their replicas, and the rules."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Needs:
    """What a replica takes: bytes of main memory (0: not counted) and a share of a GPU, or several whole ones.

    `accelerator`: only on machines with this kind of GPU; empty: on any.
    """

    memory: int = 0
    gpus: float = 0.0
    accelerator: str = ""


@dataclass(frozen=True)
class Scale:
    """How many replicas a model that is loaded may have, and how many requests each of them is meant for."""

    least: int = 1
    most: int = 1
    target_ongoing: float = 8.0

    def wanted(self, load: float) -> int:
        """The replicas for so many requests at work and waiting, as Ray Serve's own policy counts them."""
        return min(self.most, max(self.least, math.ceil(load / self.target_ongoing)))


@dataclass(frozen=True)
class Node:
    """What a machine has for replicas; `accelerator` is the kind of its GPUs, as Ray names it."""

    memory: int
    gpus: tuple[str, ...] = ()
    accelerator: str = ""


@dataclass(frozen=True)
class Resident:
    """A replica that holds room. One that `is_leaving` still holds it, but it is about to become free.

    `is_dismissed`: somebody asked that it be unloaded. `lacks_memory`: its load ran out of memory. `replica` is its id.
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
    replica: str = ""


@dataclass(frozen=True)
class Model:
    """What is known of a model. `waited`: the seconds that requests have waited for its first replica, if any do.

    `is_draining`: a replica of it that nobody counts any more still ends its work, and holds its room until then.
    `load` are the requests that it works on and that wait for it, and `target` is how many replicas it was to have so
    far. More than those have been wanted for `short_for` seconds, and fewer would have done for `spare_for`.
    """

    alias: str
    needs: Needs = field(default_factory=Needs)
    keep: bool = False
    waited: float | None = None
    residents: tuple[Resident, ...] = ()
    is_draining: bool = False
    scale: Scale = field(default_factory=Scale)
    load: float = 0.0
    target: int = 0
    short_for: float = 0.0
    spare_for: float = 0.0

    @property
    def least_kept(self) -> int:
        """How many of its replicas are never unloaded."""
        return self.scale.least if self.keep else 0


@dataclass(frozen=True)
class Rules:
    """Seconds, but for `capacity`: at most so many replicas are on a machine; 0 = by memory only.

    idle_timeout: a model leaves after so long without a request, and a replica after so long without need.
    quiet: one that has been idle so long may make room for another at once,
    min_residence: one that is in use again and again only when it has been resident so long (and as long as its load
        took), or two models in use would do nothing but load.
    patience: a model that has been waited for so long gets its room from a busy one, which first ends what it has; and
        one that has been short of replicas for so long gets room from a model that has been idle for as long.
    grow: a model gets another replica when it has been short of them for so long.
    stall: a model that should fit and does not start in so long is in the way of something unknown.
    """

    idle_timeout: float = 300.0
    quiet: float = 1.0
    min_residence: float = 5.0
    patience: float = 15.0
    grow: float = 2.0
    stall: float = 15.0
    capacity: int = 0
