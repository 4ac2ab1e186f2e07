"""Calls of a replica that is slow, does not start, dies or is left by its caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
)

from deployments.imaging import Progress
from deployments.ingress.calls import model_handle
from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.calls.states import ModelStates, Snapshot
from deployments.ingress.errors import ApiError
from deployments.residency.board import ReplicaStatus, ResidencyStatus
from deployments.states import ReplicaState
from models.errors import InvalidInput


class Replicas:
    """What Serve gives for a deployment: each call is the next of `plays`, a list of what comes and an end.

    An exception is raised, an event is waited for, everything else is yielded, or is the result.
    """

    def __init__(self, *plays: list[Any]) -> None:
        self.plays = list(plays)
        self.cancelled = 0

    def options(self, *, stream: bool) -> Replicas:
        assert stream
        return self

    @property
    def work(self) -> Replicas:
        return self

    def remote(self, *_: object) -> Answer:
        return Answer(self, self.plays.pop(0))


class Answer:
    def __init__(self, replicas: Replicas, play: list[Any]) -> None:
        self._replicas = replicas
        self._pieces = self._played(play)

    def __await__(self) -> Any:
        return self._whole().__await__()

    async def _whole(self) -> Any:
        return [each async for each in self._pieces][-1]

    async def _played(self, play: list[Any]) -> AsyncIterator[Any]:
        for each in play:
            if isinstance(each, asyncio.Event):
                await each.wait()
            elif isinstance(each, Exception):
                raise each
            else:
                yield each

    async def __anext__(self) -> Any:
        return await anext(self._pieces)

    def cancel(self) -> None:
        self._replicas.cancelled += 1


DIED = RayActorError()
LOST = {
    "its process ended": DIED,
    "it does not answer": ActorUnavailableError("Actor is unavailable.", b"a" * 16),
    "its machine died": NodeDiedError("the node died"),
    "its result was on a machine that died": ObjectLostError("f" * 56, None, ""),
    "the connection broke": AioRpcError(StatusCode.INTERNAL, Metadata(), Metadata(), "RST_STREAM"),
    "the connection broke before it was accepted": RuntimeError(
        "Unexpected error (StatusCode.UNKNOWN): Socket closed."
    ),
    "another that it called died": RayTaskError("work", "", DIED),
}


def deployment(*states: str) -> dict[str, Any]:
    return {"status": "HEALTHY", "replicas": [{"replica_id": "1", "state": state} for state in states]}


COLD, READY = Snapshot({"a": deployment()}, [], {}), Snapshot({"a": deployment("RUNNING")}, [], {})
TOO_LARGE = Snapshot({"a": deployment()}, [], {"a": ResidencyStatus(is_too_large=True)})


def handle_of(
    replicas: Replicas, snapshot: Snapshot = READY, *, start_timeout: float = 60, may_repeat: bool = True
) -> ModelHandle:
    states = ModelStates(["a"], lambda: snapshot)
    return ModelHandle("a", replicas, states, start_timeout, may_repeat=may_repeat)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are looked at after each 10 ms in which no answer came."""
    monkeypatch.setattr(model_handle, "_STATE_SECONDS", 0.01)


class Silence:
    """A control plane that says nothing until `over` is set; `asked` is set as soon as it is asked."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def __call__(self) -> Snapshot:
        self.asked.set()
        self.over.wait()
        return READY


@pytest.fixture
def silence() -> Iterator[Silence]:
    silent = Silence()
    yield silent
    silent.over.set()


async def refusal(work: Any) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as refused:
        await work
    return refused.value.status, refused.value.code


async def pieces(handle: ModelHandle) -> list[Any]:
    async with aclosing(handle.stream("work")) as stream:
        return [each async for each in stream]


async def test_a_finished_answer_is_given_while_the_control_plane_is_silent(silence: Silence) -> None:
    finished = asyncio.Event()
    states = ModelStates(["a"], silence)
    handle = ModelHandle("a", Replicas([finished, "answer"]), states, 60)
    calling = asyncio.ensure_future(handle.call("work"))
    await asyncio.to_thread(silence.asked.wait)
    finished.set()
    assert await asyncio.wait_for(calling, 1) == "answer"  # sooner than the states would be given up


async def test_a_model_that_works_for_longer_than_it_may_start_is_waited_for() -> None:
    finished = asyncio.Event()
    handle = handle_of(Replicas([finished, "answer"]), READY, start_timeout=0.02)
    calling = asyncio.ensure_future(handle.call("work"))
    await asyncio.wait([calling], timeout=0.3)
    assert not calling.done()
    finished.set()
    assert await calling == "answer"


async def test_a_model_that_does_not_start_in_time_is_a_503_and_its_call_is_cancelled() -> None:
    replicas = Replicas([asyncio.Event()])
    assert await refusal(handle_of(replicas, COLD, start_timeout=0.05).call("work")) == (503, "model_starting")
    assert replicas.cancelled == 1


async def test_a_model_that_is_still_being_downloaded_says_how_far_it_is() -> None:
    there = ReplicaStatus(
        "a",
        "1",
        "node",
        1,
        ReplicaState.DOWNLOADING,
        since=0.0,
        downloaded_bytes=4_100_000_000,
        download_bytes=16_400_000_000,
    )
    handle = handle_of(
        Replicas([asyncio.Event()]), Snapshot({"a": deployment("STARTING")}, [there], {}), start_timeout=0.05
    )
    with pytest.raises(ApiError, match=r"is being downloaded: 4\.1 of 16\.4 GB, 25 %") as refused:
        await handle.call("work")
    assert (refused.value.status, refused.value.code) == (503, "model_starting")


async def test_a_model_that_fits_nowhere_is_refused_at_once() -> None:
    replicas = Replicas([asyncio.Event()], [asyncio.Event()])
    handle = handle_of(replicas, TOO_LARGE)
    assert await refusal(handle.call("work")) == (503, "model_too_large")
    assert await refusal(pieces(handle)) == (503, "model_too_large")
    assert replicas.cancelled == 2


async def test_a_model_for_a_kind_of_gpu_that_no_machine_has_is_refused_at_once_by_its_name() -> None:
    homeless = Snapshot({"a": deployment("STARTING")}, [], {"a": ResidencyStatus(lacks_accelerator="H100")})
    with pytest.raises(ApiError, match="a GPU of the kind H100, and there is none now") as refused:
        await handle_of(Replicas([asyncio.Event()]), homeless).call("work")
    assert (refused.value.status, refused.value.code) == (503, "accelerator_missing")


async def test_a_call_whose_replica_dies_is_given_to_the_next_one_once() -> None:
    assert await handle_of(Replicas([DIED], ["answer"])).call("work") == "answer"
    assert await refusal(handle_of(Replicas([DIED], [DIED], ["answer"])).call("work")) == (503, "model_restarting")


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
async def test_however_a_replica_is_lost_its_call_is_given_to_the_next_one_and_then_refused_for_now(
    lost: Exception,
) -> None:
    assert await handle_of(Replicas([lost], ["answer"])).call("work") == "answer"
    assert await pieces(handle_of(Replicas([lost], ["answer"]))) == ["answer"]
    with pytest.raises(ApiError) as refused:
        await handle_of(Replicas([lost], [lost])).call("work")
    assert (refused.value.status, refused.value.code) == (503, "model_restarting")
    assert refused.value.headers["Retry-After"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), RayTaskError("work", "", ValueError("no")), OSError()])
async def test_what_fails_in_a_replica_that_lives_is_not_asked_of_another(error: Exception) -> None:
    replicas = Replicas([error], ["answer"])
    assert (await refusal(handle_of(replicas).call("work")))[0] == 500
    assert len(replicas.plays) == 1


async def test_a_replica_that_dies_while_it_loads_costs_no_request() -> None:
    loading = Snapshot({"a": deployment("STARTING")}, [], {})
    began = asyncio.Event()
    handle = handle_of(Replicas([began, DIED], ["answer"]), loading)
    calling = asyncio.ensure_future(handle.call("work"))
    await asyncio.wait([calling], timeout=0.05)
    began.set()
    assert await calling == "answer"


async def test_what_went_to_another_server_is_not_sent_again() -> None:
    replicas = Replicas([DIED], ["answer"])
    assert await refusal(handle_of(replicas, may_repeat=False).call("work")) == (503, "model_restarting")
    assert len(replicas.plays) == 1


async def test_what_the_model_refuses_is_not_asked_again() -> None:
    replicas = Replicas([InvalidInput("too long", "input")], ["answer"])
    assert await refusal(handle_of(replicas).call("work")) == (400, "invalid_value")
    assert len(replicas.plays) == 1


async def test_a_stream_of_which_only_progress_has_come_begins_again() -> None:
    first, second = Progress(0, 4), Progress(1, 4)
    assert await pieces(handle_of(Replicas([first, DIED], [second, "picture"]))) == [first, second, "picture"]


async def test_a_stream_that_has_begun_ends_with_its_replica() -> None:
    replicas = Replicas(["word", DIED], ["word"])
    assert await refusal(pieces(handle_of(replicas))) == (503, "model_restarting")
    assert len(replicas.plays) == 1


async def test_an_empty_stream_is_no_error() -> None:
    assert await pieces(handle_of(Replicas([]))) == []


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_caller_who_leaves_cancels_the_call(*, is_stream: bool) -> None:
    replicas = Replicas([asyncio.Event()])
    handle = handle_of(replicas)
    calling = asyncio.ensure_future(pieces(handle) if is_stream else handle.call("work"))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert replicas.cancelled == 1


async def test_a_control_plane_that_fails_lets_a_model_that_runs_answer() -> None:
    def read() -> Snapshot:
        raise GetTimeoutError("no answer")

    finished = asyncio.Event()
    handle = ModelHandle("a", Replicas([finished, "answer"]), ModelStates(["a"], read), 60)
    calling = asyncio.ensure_future(handle.call("work"))
    await asyncio.wait([calling], timeout=0.1)
    finished.set()
    assert await calling == "answer"
