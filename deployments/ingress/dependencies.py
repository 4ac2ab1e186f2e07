"""What routes work with, and how a route asks for it: a parameter `atelier: AtelierDep`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.search_calls import SearchCalls
from deployments.ingress.metrics import Metrics
from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.bodies import room_of_this_machine
from deployments.ingress.middleware.caller_limits import Counts, LocalCounts, SharedCounts
from deployments.ingress.middleware.ledgers import Ledger, LocalLedger, SharedLedger
from deployments.ingress.middleware.recent_requests import RecentRequests
from deployments.ingress.services.caption_writer import CaptionWriter
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.listener import Listener
from deployments.ingress.services.omni import Omnis
from deployments.ingress.services.owned_objects import OwnedObjects
from deployments.ingress.services.prompt_writer import PromptWriter
from deployments.ingress.services.publishing import Publishing
from deployments.ingress.services.response_runs import ResponseRuns
from deployments.ingress.services.retention import Retention
from deployments.ingress.services.speakers import Speakers
from deployments.ingress.services.stored_responses import StoredResponses
from deployments.storage import open_cache, open_idempotency_answers
from settings import Settings
from stores.cache import Cache
from stores.claims import Claims
from stores.objects import PublicStore
from stores.shared_redis import SharedRedis
from stores.uploads import Uploads
from stores.voices import Voices


@dataclass(frozen=True)
class Atelier:
    """The collaborators of one ingress replica, each made when it is first used."""

    settings: Settings
    models: ModelCalls
    files: PublicStore
    search: SearchCalls | None

    @property
    def metrics(self) -> Metrics:
        """What this ingress replica has counted."""
        return self.models.metrics

    @cached_property
    def access(self) -> Access:
        """Who may call."""
        return Access(self.settings)

    @cached_property
    def shared(self) -> SharedRedis | None:
        """The Redis that this ingress replica shares with others; None where there is only this one."""
        url = self.settings.shared_redis_url
        return SharedRedis(url) if url is not None else None

    @cached_property
    def counts(self) -> Counts:
        """How much callers have asked."""
        return SharedCounts(self.shared) if self.shared is not None else LocalCounts()

    @cached_property
    def ledger(self) -> Ledger:
        """Repeated requests."""
        answers = open_idempotency_answers(self.settings)
        if self.shared is not None:
            return SharedLedger(self.shared, answers)
        return LocalLedger(Claims(self.settings.folder / "idempotency" / "running"), answers)

    @cached_property
    def prompt_writer(self) -> PromptWriter:
        """Titles and descriptions into prompts; one per ingress replica, since it remembers what it wrote."""
        return PromptWriter(self.settings.prompts, self.models)

    @cached_property
    def cache(self) -> Cache:
        """Captions that were made."""
        return open_cache(self.settings)

    @cached_property
    def caption_writer(self) -> CaptionWriter:
        """Pictures into captions; one per ingress replica, since it knows what is being made."""
        return CaptionWriter(self.models, self.cache)

    @cached_property
    def jobs(self) -> Jobs:
        """What this replica is making."""
        return Jobs(room_of_this_machine())

    @cached_property
    def recent_requests(self) -> RecentRequests:
        """What this replica has answered lately."""
        return RecentRequests()

    @cached_property
    def uploads(self) -> Uploads:
        """What was uploaded through this replica and others."""
        return Uploads(self.files)

    @cached_property
    def voices(self) -> Voices:
        """Voices that callers made, and the consents that they rest on."""
        return Voices(self.files)

    @cached_property
    def speakers(self) -> Speakers:
        """Names of voices and recordings, as a model takes them."""
        return Speakers(self.models, self.voices)

    @cached_property
    def listener(self) -> Listener:
        """Writes down what is said in the recordings of voices."""
        return Listener(self.models)

    @cached_property
    def retention(self) -> Retention:
        """Removes old files while the application runs."""
        return Retention(self.files, self.settings)

    @cached_property
    def objects(self) -> OwnedObjects:
        """Objects under keys that clients choose."""
        return OwnedObjects(self.files, self.retention, are_foreign_shared=self.settings.voice_shared)

    @cached_property
    def stored_responses(self) -> StoredResponses:
        """Responses that requests can go on from."""
        return StoredResponses(self.settings)

    @cached_property
    def response_runs(self) -> ResponseRuns:
        """Responses that this replica is making."""
        return ResponseRuns(self.stored_responses)

    @cached_property
    def publishing(self) -> Publishing:
        """Keeps results and hands out their URLs."""
        return Publishing(self.settings, self.files, self.uploads, self.retention)

    @cached_property
    def omnis(self) -> Omnis:
        """Chats that draw and speak."""
        return Omnis(self.settings, self.models, self.jobs, self.objects, self.publishing)


async def _atelier(request: Request) -> Atelier:
    atelier: Atelier = request.app.state.atelier
    return atelier


AtelierDep = Annotated[Atelier, Depends(_atelier)]
"""The application's collaborators, as a route's parameter."""
