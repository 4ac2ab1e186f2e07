"""Loading in turn, and once more when memory ran out."""

from __future__ import annotations

import threading

import pytest

from deployments import replica
from deployments.replica import ModelReplica
from deployments.residency.presence import Presence
from models.catalog import ModelEntry
from models.engine import Engine
from models.errors import OutOfMemory
from models.speech.espeak import EspeakEngine

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


async def test_a_load_that_runs_out_of_memory_twice_is_told(tight: type[Tight]) -> None:
    tight.failures = 2
    failed: ModelReplica[Engine] = ModelReplica("tight", ENTRY)
    with pytest.raises(OutOfMemory, match="the device is full"):
        await failed.ready()
    assert tight.failures == 0


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
