"""What can go wrong in a store. The HTTP face of each stands in `deployments/ingress/errors.py` and nowhere else.

All are picklable with their arguments, since they cross from the search replica to the ingress. No message names a
path of the host except those of `StoreUnusable`, which end a start and are read by the operator.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything a store raises on purpose."""


class NotFound(StoreError):
    """There is no such object or record."""


class KeyNotFound(NotFound):
    """There is no object of that key."""


class ProjectNotFound(NotFound):
    """There is no such project."""


class InvalidKey(StoreError):
    """An object key that could lead out of the store, or that the store cannot hold."""


class StoreFull(StoreError):
    """The disk is full; nothing was half-written."""


class UploadFailed(StoreError):
    """The outside object store did not take a change; what was there before may still be there."""


class DownloadFailed(StoreError):
    """The outside object store did not give what it was asked for, though it may have it."""


class CacheUnavailable(StoreError):
    """The cache could not be cleared. A cache that cannot be read is not an error: then the model is asked."""


class EmbedderChanged(StoreError):
    """The records were embedded by another model than the one that now answers, so their scores would mean nothing."""


class ConsentInUse(StoreError):
    """A consent that voices rest on is not removed."""


class NameTaken(StoreError):
    """There is something of that name already: an API key, or a voice of the caller's."""


class StoreUnavailable(StoreError):
    """The store does not answer at the moment; later it may."""


class SharedStateUnavailable(StoreUnavailable):
    """What several ingress replicas share (in Redis or PostgreSQL) does not answer at the moment."""


class StoreUnusable(StoreError):
    """The store cannot be opened as it is: a newer schema, a damaged file, another process inside."""


class RestoreFailed(StoreError):
    """The image index was not restored, and nothing was written; says which backup was meant and what can be done."""
