"""Which of a model's replicas gets a request: the one that has it warm, where that costs no wait."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from cachetools import LRUCache
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

_MOST_REMEMBERED: Final = 4096


class WarmRouter(RequestRouter):  # type: ignore[misc]  # Ray is untyped to mypy
    """Serve's router of a model that may have several replicas; each process that calls the model has one.

    Replicas keep what the next request of the same kind needs again: loaded LoRAs, the embedded prompt, the features of
    a conversation's pictures, a speaker who was listened to (`warmth` of the jobs in `models/tasks.py`). So a request
    goes where the last one of its warmth went, unless fewer requests are under way at another replica. Everything else
    goes to the one that has least to do.
    """

    def initialize_state(self, **_: Any) -> None:
        """Called once, by Serve."""
        self._last: LRUCache[int, ReplicaID] = LRUCache(_MOST_REMEMBERED)

    async def choose_replicas(
        self, candidate_replicas: Sequence[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas to try, in groups; of a group, Serve takes the one that has least to do and accepts."""
        warmth = warmth_of(pending_request)
        last = self._last.get(warmth) if warmth is not None else None
        under_way = {
            each.replica_id: self.replica_queue_len_cache.get(each.replica_id) or 0 for each in candidate_replicas
        }
        warm = [each for each in candidate_replicas if each.replica_id == last and is_no_busier(last, under_way)]
        return [warm, random.sample(candidate_replicas, len(candidate_replicas))]  # the first of equals is taken

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: object) -> None:  # noqa: ARG002 - Serve's signature
        """Remember where it went."""
        if (warmth := warmth_of(pending_request)) is not None:
            self._last[warmth] = replica_id


def warmth_of(request: PendingRequest | None) -> int | None:
    """The hash of what a replica keeps of a request's job, if there is something: it may be a whole picture."""
    warmth = getattr(request.args[0], "warmth", None) if request and request.args else None
    return None if warmth is None else hash(warmth)


def is_no_busier(replica: ReplicaID, under_way: dict[ReplicaID, int]) -> bool:
    """Whether no other replica has less to do."""
    return under_way[replica] <= min(under_way.values())
