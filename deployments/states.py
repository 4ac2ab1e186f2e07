"""The states in which models, their replicas, jobs and image search are: one vocabulary for all rooms."""

from __future__ import annotations

from enum import StrEnum


class ModelState(StrEnum):
    """The state of a model, as clients and Prometheus see it."""

    COLD = "cold"
    """Not loaded; the next request loads it."""
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


class ReplicaState(StrEnum):
    """The state of a model's process, as it says itself; in the first two it holds no model yet."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"


class JobState(StrEnum):
    """The state of a request's work on pictures."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SearchState(StrEnum):
    """The state of image search."""

    READY = "ready"
    EMBEDDING = "embedding"
    """Pictures are being embedded by another model than before."""
    UNAVAILABLE = "unavailable"
    """The index cannot be opened."""
    BUSY = "busy"
    """It runs, and did not answer in time."""
    STARTING = "starting"
    FAILED = "failed"
    OFF = "off"
    """Switched off in the configuration."""
