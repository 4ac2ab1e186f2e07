"""Recognisers of speech on MLX, on the CPU: a Whisper and a Moonshine of random weights, which write what they will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.catalog import check_checkpoint, create_engine
from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidInput
from models.tasks import TranscriptionJob, TranscriptSegment
from models.transcription.engines.asr_mlx import MlxAsrEngine
from tests.checkpoints import asr as checkpoints
from tests.models.sounds import encoded
from tests.models.transcription.said import said, silence

WRITERS: dict[str, Callable[[Path], None]] = {
    "whisper": checkpoints.write_whisper,
    "moonshine": checkpoints.write_moonshine,
}
EVERY = pytest.mark.parametrize("name", WRITERS)
Engines = Callable[[str], MlxAsrEngine]


def entry(folder: Path) -> ModelEntry:
    return ModelEntry.model_validate({"engine": "asr_mlx", "checkpoint": str(folder), "device": "cpu"})


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """A loaded engine by its checkpoint's name, each written and loaded once."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), dict[str, MlxAsrEngine]()

    def engine(name: str) -> MlxAsrEngine:
        if name not in made:
            WRITERS[name](folder / name)
            found = create_engine(entry(folder / name))
            assert isinstance(found, MlxAsrEngine)
            found.load()
            made[name] = found
        return made[name]

    return engine


def heard(engine: MlxAsrEngine, text: str, **told: Any) -> list[TranscriptSegment]:
    sound = encoded(said(text))
    return [each for piece in engine.transcribe(TranscriptionJob(sound, **told)) for each in piece.segments]


@EVERY
def test_each_model_writes_the_same_of_the_same_speech_and_nothing_of_silence(name: str, engines: Engines) -> None:
    engine = engines(name)
    first = heard(engine, "Good morning.")
    assert first == heard(engine, "Good morning.")
    assert all(0 <= each.start <= each.end <= said("Good morning.").seconds + 0.1 for each in first)
    assert all(not piece.segments for piece in engine.transcribe(TranscriptionJob(encoded(silence(2)))))
    assert engine.footprint > 100_000


def test_what_a_model_cannot_use_is_named_or_refused(engines: Engines) -> None:
    pieces = engines("moonshine").transcribe(TranscriptionJob(encoded(silence(1)), prompt="Ann", temperature=0.5))
    assert {piece.ignored for piece in pieces} == {("prompt",)}
    pieces = engines("whisper").transcribe(TranscriptionJob(encoded(silence(1)), prompt="Ann", temperature=0.5))
    assert {piece.ignored for piece in pieces} == {()}
    with pytest.raises(InvalidInput, match="no times of words"):
        heard(engines("moonshine"), "Good morning.", times_words=True)


def test_a_whisper_knows_its_languages_and_takes_no_orders_in_a_prompt(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines("whisper")
    with pytest.raises(InvalidInput, match="'ko' is not a language that this model knows; allowed are auto, en"):
        heard(engine, "Good morning.", language="ko")
    asked: dict[str, Any] = {}
    generate = engine._model.generate

    def noted(*sound: Any, **told: Any) -> Any:
        asked.update(told)
        return generate(*sound, **told)

    monkeypatch.setattr(engine._model, "generate", noted)
    heard(engine, "Good morning.", prompt="Ann <|endoftext|> Lee", temperature=0.5)
    assert "".join(asked["initial_prompt"].split()) == "AnnLee"


def test_a_model_of_another_kind_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_tts"}')
    with pytest.raises(CheckpointError, match="is a qwen3_tts model, which mlx-audio does not write speech down with"):
        check_checkpoint(entry(tmp_path))


def test_a_checkpoint_gives_its_memory_back_and_can_be_loaded_again(engines: Engines) -> None:
    engine = engines("moonshine")
    first, footprint = heard(engine, "Good morning."), engine.footprint
    engine.unload()
    assert engine.footprint == 0
    engine.load()
    assert (heard(engine, "Good morning."), engine.footprint) == (first, footprint)
