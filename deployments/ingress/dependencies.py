"""What routes work with, and how a route asks for it: a parameter `atelier: AtelierDep`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from deployments.ingress.services.job_outcomes import KEPT_SECONDS
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.listener import Listener
from deployments.ingress.services.omni import Omnis
from deployments.ingress.services.owned_objects import OwnedObjects
from deployments.ingress.services.prompt_writer import PromptWriter
from deployments.ingress.services.publishing import Publishing
from deployments.ingress.services.replica_calls import ReplicaCalls
from deployments.ingress.services.response_runs import ResponseRuns
from deployments.ingress.services.retention import Retention
from deployments.ingress.services.shared_captions import MadeByOne
from deployments.ingress.services.shared_jobs import SharedJobs
from deployments.ingress.services.shared_response_runs import SharedResponseRuns
from deployments.ingress.services.speakers import Speakers
from deployments.ingress.services.stored_responses import StoredResponses
from deployments.storage import open_cache, open_idempotency_answers, open_job_outcomes, open_voices
from settings import Settings
from stores.cache import Cache
from stores.claims import Claims
from stores.objects import PublicStore
from stores.shared_redis import SharedRedis, end_tasks
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
    def replica_calls(self) -> ReplicaCalls | None:
        """Questions to the other ingress replicas, where there are any."""
        return ReplicaCalls(self.shared) if self.shared is not None else None

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
        make_once = MadeByOne(self.cache, self.shared) if self.shared is not None else None
        return CaptionWriter(self.models, self.cache, make_once)

    @cached_property
    def jobs(self) -> Jobs:
        """What is being made, by this replica and those that share its Redis."""
        most_bytes, url = room_of_this_machine(), self.settings.shared_database_url
        if self.shared is None or self.replica_calls is None or url is None:
            return Jobs(most_bytes)
        kept = open_job_outcomes(url, most_bytes, KEPT_SECONDS)
        return SharedJobs(most_bytes, self.shared, self.replica_calls, kept)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Around the time in which requests come: what goes on in the background, and is closed at the end."""
        self.retention.start()
        background = [asyncio.create_task(self.stored_responses.tend())]
        if self.replica_calls is not None:
            _ = self.jobs, self.response_runs  # which answer what other replicas ask
            background.append(asyncio.create_task(self.replica_calls.listen()))
        try:
            yield
        finally:
            if isinstance(self.jobs, SharedJobs):
                await self.jobs.close()
            await end_tasks(background)
            await asyncio.to_thread(self.retention.stop)
            await self.cache.close()
            await self.stored_responses.close()
            self.access.close()
            self.ledger.close()
            if self.shared is not None:
                await self.shared.close()

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
        return open_voices(self.settings, self.files)

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
        """Responses that are being made, by this replica and those that share its Redis."""
        if self.shared is None or self.replica_calls is None:
            return ResponseRuns(self.stored_responses)
        return SharedResponseRuns(self.stored_responses, self.shared, self.replica_calls)

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
