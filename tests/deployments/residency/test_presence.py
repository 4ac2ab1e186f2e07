"""Loading in turn, and once more when memory ran out."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from deployments import replica, serve_internals
from deployments.replica import ModelReplica
from deployments.residency.board import ReplicaStatus, ReplicaStatusStore
from deployments.residency.presence import Presence
from deployments.states import ReplicaState
from models.engine import Engine
from models.entry import ModelEntry
from models.errors import ModelError, OutOfMemory
from models.speech.engines.espeak import EspeakEngine
from tests.deployments.residency.machine import KeyValueStore

ENTRY = ModelEntry(engine="espeak", checkpoint="builtin:voice")


class Tight(EspeakEngine):
    """Fits only after so many loads have failed, as when others leave meanwhile."""

    failures = 0

    def _load(self) -> None:
        if self.failures:
            type(self).failures -= 1
            raise OutOfMemory("the device is full")
        super()._load()


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> type[Tight]:
    monkeypatch.setattr(replica, "create_engine", Tight)
    return Tight


async def test_a_load_that_runs_out_of_memory_is_tried_once_more(tight: type[Tight]) -> None:
    tight.failures = 1
    loaded: ModelReplica[Engine] = ModelReplica("tight", ENTRY)
    await loaded.ready()
    assert loaded.engine.loaded


async def test_a_load_that_runs_out_of_memory_twice_is_reported(tight: type[Tight]) -> None:
    tight.failures = 2
    failed: ModelReplica[Engine] = ModelReplica("tight", ENTRY)
    with pytest.raises(OutOfMemory, match="the device is full"):
        await failed.ready()
    assert tight.failures == 0


TWICE = ModelEntry.model_validate({"engine": "espeak", "checkpoint": "builtin:voice", "replicas": {"max": 2}})


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> ReplicaStatusStore:
    """A board on which replicas of this process note themselves as `tight-2`."""
    here = SimpleNamespace(get_node_id=lambda: "here", get_accelerator_ids=dict)
    made = ReplicaStatusStore("atelier")
    monkeypatch.setattr(serve_internals, "internal_kv", KeyValueStore())
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(Presence, "here", lambda alias, keep: Presence(alias, made, "tight-2", keep=keep))
    return made


def test_a_replica_that_does_not_load_beside_one_that_has_is_not_started(
    tight: type[Tight], board: ReplicaStatusStore
) -> None:
    board.put(ReplicaStatus("tight", "tight-1", "here", os.getpid(), ReplicaState.READY, since=1.0))
    tight.failures = 2
    with pytest.raises(OutOfMemory, match="the device is full"):
        ModelReplica("tight", TWICE)
    assert [each.replica for each in board.facts()] == ["tight-1"]


@pytest.mark.parametrize(
    "other",
    [
        ReplicaStatus("tight", "tight-1", "here", os.getpid(), ReplicaState.LOADING, since=1.0),
        ReplicaStatus("tight", "tight-1", "here", 2**22 + 1, ReplicaState.READY, since=1.0),
        ReplicaStatus("another", "another-1", "there", 1, ReplicaState.READY, since=1.0),
    ],
    ids=["one that loads", "one that was killed", "another model"],
)
async def test_a_replica_that_does_not_load_and_for_which_nobody_stands_in_says_why(
    tight: type[Tight], board: ReplicaStatusStore, other: ReplicaStatus
) -> None:
    board.put(other)
    tight.failures = 2
    alone: ModelReplica[Engine] = ModelReplica("tight", TWICE)
    with pytest.raises(OutOfMemory, match="the device is full"):
        await alone.ready()
    assert {each.state for each in board.facts() if each.replica == "tight-2"} == {ReplicaState.FAILED}
    alone.presence.end()


def test_one_model_is_loaded_at_a_time() -> None:
    first, second = Presence("first", None), Presence("second", None)
    order: list[str] = []

    def load() -> None:
        with second.turn_to_load(capacity=0):
            order.append("second begins")

    with first.turn_to_load(capacity=0):
        waiting = threading.Thread(target=load)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        order.append("first ends")
    waiting.join()
    assert order == ["first ends", "second begins"]


def test_what_is_in_use_is_counted_even_when_it_fails() -> None:
    presence = Presence("model", None)
    with presence.in_use():
        assert (presence.facts.active, presence.facts.requests) == (1, 1)
        with pytest.raises(ValueError, match="broken"), presence.in_use():
            assert (presence.facts.active, presence.facts.requests) == (2, 2)
            raise ValueError("broken")
    assert (presence.facts.active, presence.facts.requests) == (0, 2)


def on_gpus(*gpus: str) -> Presence:
    presence = Presence("model", None)
    presence._facts = replace(presence._facts, gpus=gpus)
    return presence


def is_turn_of(presence: Presence) -> tuple[threading.Thread, threading.Event]:
    loads = threading.Event()

    def load() -> None:
        with presence.turn_to_load(capacity=0):
            loads.set()

    thread = threading.Thread(target=load)
    thread.start()
    return thread, loads


def test_models_that_share_a_gpu_are_loaded_one_at_a_time_and_others_side_by_side() -> None:
    with on_gpus("0", "1").turn_to_load(capacity=0):
        elsewhere, loads = is_turn_of(on_gpus("2"))
        assert loads.wait(60)
        beside, waits = is_turn_of(on_gpus("1"))
        assert not waits.wait(0.2)
    assert waits.wait(60)
    for thread in (elsewhere, beside):
        thread.join()


def test_models_that_name_their_gpus_in_any_order_do_not_wait_for_each_other_for_ever() -> None:
    threads = [is_turn_of(on_gpus(*gpus)) for _ in range(20) for gpus in (("0", "1"), ("1", "0"))]
    for thread, _ in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_lock_folder_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "atelier").mkdir()
    (tmp_path / "atelier").chmod(0o777)
    with pytest.raises(ModelError, match="only this user"), on_gpus("0").turn_to_load(capacity=0):
        pass
    (tmp_path / "atelier").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "atelier").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="only this user"), on_gpus("0").turn_to_load(capacity=0):
        pass
    (tmp_path / "atelier").unlink()
    with on_gpus("0").turn_to_load(capacity=0):
        assert (tmp_path / "atelier").stat().st_mode & 0o777 == 0o700
