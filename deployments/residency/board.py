"""The statuses that model replicas, the residency policy and the ingress exchange, in Ray's own key-value store.

A replica writes what it holds and whether it works; the policy reads that before it decides, and writes what it did;
the ingress reads both. Nobody is called, so that looking at a model neither wakes it nor counts as its use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from deployments.serve_internals import KeyValueStore
from deployments.states import ReplicaState

N = TypeVar("N")


@dataclass(frozen=True)
class ReplicaStatus:
    """What a replica says of itself; one that is `waiting` or `downloading` holds no model yet.

    Times are seconds since the epoch, by the clock of its node.

    `since` is when it came into its state, `used_at` when the last request ended (or the load); `active` counts the
    requests that it works on or holds, `requests` all that it ever had. `gpus` are Ray's ids of its accelerators.
    `resident_bytes` are of main memory (`main_bytes`) and of GPUs together. `keep`: it is never unloaded. `beats` grow
    as long as its process lives. `downloaded_bytes` of `download_bytes` are there of a checkpoint on the hub.
    """

    alias: str
    replica: str
    node: str
    pid: int
    state: ReplicaState
    since: float
    gpus: tuple[str, ...] = ()
    load_seconds: float = 0.0
    resident_bytes: int = 0
    main_bytes: int = 0
    active: int = 0
    requests: int = 0
    used_at: float = 0.0
    keep: bool = False
    beats: int = 0
    downloaded_bytes: int = 0
    download_bytes: int = 0


@dataclass(frozen=True)
class ResidencyStatus:
    """What the policy says of a model: how often it was loaded and, by why, unloaded, and whom it waits for now.

    `lacks_accelerator`: the kind of GPU that it is for and that no machine has. `held_for`: its room was given to this
    model, which is not there yet; until then it is not to be asked anything.
    `replicas` are those that work, or the one that is on its way.
    """

    loads: int = 0
    evictions: dict[str, int] = field(default_factory=dict)
    waits_for: str = ""
    is_too_large: bool = False
    lacks_accelerator: str = ""
    held_for: str = ""
    replicas: int = 1


def from_note(kind: type[N], note: Mapping[str, Any]) -> N:
    """A note as what this version knows: fields of another version, in a Ray cluster that outlives it, are left out.

    Raises:
        TypeError: the note lacks a field that has no default.
    """
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in note.items() if name in known})


class ReplicaStatusStore:
    """The notes of one application. Each call is a round trip to Ray's head node, some 0.3 ms, and blocks."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._notes = KeyValueStore("atelier")

    def put(self, facts: ReplicaStatus) -> None:
        """Write a replica's status, over the one before."""
        self._put(f"facts:{facts.replica}", asdict(facts))

    def forget(self, replica: str) -> None:
        """Remove a replica's status, and the request that it leave."""
        for room in ("facts", "leave"):
            self._notes.delete(self._key(f"{room}:{replica}"))

    def facts(self) -> list[ReplicaStatus]:
        """The statuses of replicas, those of processes that were killed included."""
        notes = [note for key in self._names("facts:") if (note := self._get(key))]
        return [status for note in notes if (status := _replica_status(note))]

    def ask_to_leave(self, replica: str) -> None:
        """Have the policy unload a replica once its requests have ended."""
        self._put(f"leave:{replica}", True)

    def asked_to_leave(self) -> set[str]:
        """Replicas that are to be unloaded."""
        return {name.partition(":")[2] for name in self._names("leave:")}

    def publish(self, verdicts: dict[str, ResidencyStatus]) -> None:
        """Write the policy's status of each model, by alias."""
        self._put("verdicts", {alias: asdict(verdict) for alias, verdict in verdicts.items()})

    def verdicts(self) -> dict[str, ResidencyStatus]:
        """The policy's statuses as last written, by alias."""
        notes = self._get("verdicts") or {}
        return {alias: from_note(ResidencyStatus, note) for alias, note in notes.items()}

    def _key(self, name: str) -> str:
        return f"{self._application}:{name}"

    def _put(self, name: str, value: Any) -> None:
        self._notes.put(self._key(name), json.dumps(value).encode())

    def _get(self, name: str) -> Any:
        value = self._notes.get(self._key(name))
        return None if value is None else json.loads(value)

    def _names(self, prefix: str) -> list[str]:
        return [key.removeprefix(f"{self._application}:") for key in self._notes.keys(self._key(prefix))]


def _replica_status(note: Mapping[str, Any]) -> ReplicaStatus | None:
    """None for one of a version that does not say what this one cannot do without."""
    try:
        state = ReplicaState(note.get("state", ""))
        return from_note(ReplicaStatus, {**note, "state": state, "gpus": tuple(note.get("gpus", ()))})
    except (TypeError, ValueError):
        return None
