"""What is known of the models without asking any of them, and how old that is.

Serve's controller and Ray's key-value store are asked in threads of their own and for a limited time: a control plane
that is slow, restarts or has stopped holds up nobody. What was known before is given then.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

import ray
from ray.serve.schema import DeploymentStatus

from deployments import serve_internals
from deployments.executors import CONTROL_PLANE, ExecutorFull
from deployments.residency.board import ReplicaStatus, ReplicaStatusStore, ResidencyStatus
from deployments.states import ModelState, ReplicaState

logger = logging.getLogger("ray.serve")
T = TypeVar("T")

SEARCH: Final = "search"
"""The deployment that is not a model and of which the same is asked: whether it runs, or can be expected to."""
_FRESH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 0.7
"""How long a call waits for a newer state before it gets the last known one."""
ANSWER_SECONDS: Final = 5.0
"""How long the control plane may take; then it is asked again when somebody wants to know."""


class Reason(StrEnum):
    """Why a model cannot serve right now."""

    TOO_LARGE = "too_large"
    NO_ACCELERATOR = "no_accelerator"
    FAILED = "failed"
    WAITS = "waits"
    DOWNLOADING = "downloading"
    LOADING = "loading"

    def text(self, what: str = "") -> str:
        """The reason in words; `what` are the models that are in its way, or the kind of GPU that is missing."""
        return _REASONS[self].format(what)


_REASONS: Final = {
    Reason.TOO_LARGE: "needs more memory or GPU than there is beside the models that are kept",
    Reason.NO_ACCELERATOR: "is for machines with a GPU of the kind {}, and there is none now",
    Reason.FAILED: "could not be loaded; the server's log says why",
    Reason.WAITS: "waits for {} to leave",
    Reason.DOWNLOADING: "is being downloaded",
    Reason.LOADING: "is being loaded",
}


@dataclass(frozen=True)
class Standing:
    """What is known of a model: `facts` of its newest replica, if one is there; `queue` requests wait for their turn.

    `replicas` are the facts of all that Serve has and does not stop, the newest first.
    """

    state: ModelState
    facts: ReplicaStatus | None = None
    verdict: ResidencyStatus = field(default_factory=ResidencyStatus)
    queue: int = 0
    replicas: Sequence[ReplicaStatus] = ()

    @property
    def working(self) -> int:
        """How many replicas can answer."""
        return sum(each.state == ReplicaState.READY for each in self.replicas)

    @property
    def why(self) -> Reason | None:
        """Why it cannot serve right now; None when it can, or could if it were asked."""
        if self.verdict.is_too_large:
            return Reason.TOO_LARGE
        if self.verdict.lacks_accelerator:
            return Reason.NO_ACCELERATOR
        if self.state == ModelState.FAILED:
            return Reason.FAILED
        if self.state == ModelState.STARTING:
            if self.facts is not None and self.facts.state == ReplicaState.DOWNLOADING:
                return Reason.DOWNLOADING
            return Reason.WAITS if self.verdict.waits_for else Reason.LOADING
        return None

    @property
    def reason(self) -> str | None:
        """`why` in words; of a download also how far it is."""
        if self.why is None:
            return None
        text = self.why.text(self.verdict.lacks_accelerator or self.verdict.waits_for)
        if self.why is Reason.DOWNLOADING and self.facts is not None and self.facts.download_bytes:
            done, total = self.facts.downloaded_bytes, self.facts.download_bytes
            return f"{text}: {done / 1e9:.1f} of {total / 1e9:.1f} GB, {100 * done // total} %"
        return text


@dataclass(frozen=True)
class Snapshot:
    """What Serve's controller and the store of notes say at one time."""

    deployments: Mapping[str, Mapping[str, Any]]
    facts: Sequence[ReplicaStatus]
    verdicts: Mapping[str, ResidencyStatus]


def read_control_plane() -> Snapshot:
    """What is known now; blocks. Raises what Ray raises when that cannot be had."""
    application = serve_internals.application_name()
    deployments = serve_internals.deployment_details(application, ANSWER_SECONDS)
    store = ReplicaStatusStore(application)
    return Snapshot(deployments, store.facts(), store.verdicts())


class ModelStates:
    """The standings of some aliases, and of image search, as of the last time that the control plane answered.

    To be used from one event loop. `read` blocks, and is never called twice at a time.
    """

    def __init__(self, aliases: Collection[str], read: Callable[[], Snapshot] = read_control_plane) -> None:
        self._read = read
        self._standings = {alias: Standing(ModelState.COLD) for alias in (*aliases, SEARCH)}
        self._looking: asyncio.Future[None] | None = None
        self._look_began = -math.inf
        self._known_at = -math.inf
        self._is_outdated = True
        self._is_silent = False
        self._memory = 0
        self._created = time.monotonic()

    @property
    def age(self) -> float:
        """How many seconds ago that was asked for which is known."""
        return time.monotonic() - max(self._known_at, self._created)

    async def standings(
        self, at_most: float = _FRESH_SECONDS, patience: float = _PATIENCE_SECONDS
    ) -> dict[str, Standing]:
        """What is known of each: at most so many seconds old, or what can be had with so much patience."""
        since = time.monotonic() - at_most
        if self._known_at == -math.inf:
            patience = ANSWER_SECONDS
        while self._is_outdated or self._known_at < since:
            if self._looking is None or self._looking.done():
                if since <= self._look_began and not self._is_outdated:  # that one has failed
                    break
                self._look_began, self._is_outdated = time.monotonic(), False
                self._looking = asyncio.ensure_future(self._look(self._look_began))
            left = self._look_began + patience - time.monotonic()
            if left <= 0:  # those who came before have waited for it
                break
            await asyncio.wait([self._looking], timeout=left)
        return dict(self._standings)

    async def memory_for_models(self) -> int:
        """Bytes of main memory that Ray gives to replicas, over all machines; 0 where that was never known."""
        try:
            resources = await self.ask(ray.cluster_resources, patience=_PATIENCE_SECONDS)
        except (TimeoutError, ExecutorFull):
            return self._memory
        self._memory = int(resources.get("memory", 0))
        return self._memory

    async def verdicts(self) -> dict[str, ResidencyStatus]:
        """What the policy says of the models at this moment. Raises as `ask`."""
        store = ReplicaStatusStore(serve_internals.application_name())
        return await self.ask(store.verdicts, patience=_FRESH_SECONDS)

    async def ask(self, read: Callable[..., T], *args: Any, patience: float = ANSWER_SECONDS) -> T:
        """What a blocking call to the control plane returns. Raises TimeoutError, ExecutorFull, and what it raises."""
        async with asyncio.timeout(patience):
            return await CONTROL_PLANE.run(read, *args)

    def expire(self) -> None:
        """Have the next one who wants to know ask: something has changed."""
        self._is_outdated = True

    def has_answered(self, alias: str) -> None:
        """Know at once that a model is ready, which has just said so itself."""
        standing = self._standings[alias]
        is_noted = standing.facts is not None or alias == SEARCH  # which notes nothing of itself
        if standing.state != ModelState.READY or not is_noted:
            self._standings[alias] = replace(standing, state=ModelState.READY)
            self.expire()

    async def _look(self, began: float) -> None:
        try:
            snapshot = await CONTROL_PLANE.run(self._read)
        except Exception as error:  # noqa: BLE001 - whatever it is, models that run go on answering
            if not self._is_silent:
                logger.warning("the control plane does not answer; what was known before is given: %s", error)
            self._is_silent = True
            return
        if self._is_silent:
            logger.info("the control plane answers again")
        self._is_silent = False
        self._known_at = began
        self._standings = {alias: _standing(alias, snapshot) for alias in self._standings}


def _standing(alias: str, snapshot: Snapshot) -> Standing:
    """Of the replicas that Serve has and does not stop."""
    deployment = snapshot.deployments.get(alias)
    state: ModelState = _state(deployment) if deployment else ModelState.COLD
    there = {
        replica["replica_id"]
        for replica in (deployment["replicas"] if deployment else ())
        if replica["state"] in ("RUNNING", "STARTING")
    }
    mine = [each for each in snapshot.facts if each.alias == alias and each.replica in there]
    mine.sort(key=lambda each: each.since, reverse=True)
    newest = mine[0] if mine else None
    if any(each.state == ReplicaState.READY for each in mine):  # Serve hears of it a moment later
        state = ModelState.READY
    elif newest is not None and newest.state == ReplicaState.FAILED:
        state = ModelState.FAILED
    return Standing(state, newest, snapshot.verdicts.get(alias, ResidencyStatus()), replicas=mine)


def _state(deployment: Mapping[str, Any]) -> ModelState:
    replicas = {replica["state"] for replica in deployment["replicas"]}
    if "RUNNING" in replicas:
        return ModelState.READY
    if deployment["status"] in (DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY):
        return ModelState.FAILED
    return ModelState.STARTING if "STARTING" in replicas else ModelState.COLD
