"""Recognisers of speech by transformers: tiny checkpoints of each family, whose random weights write what they will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.audio import join
from models.catalog import check_checkpoint, create_engine
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InvalidInput
from models.tasks import TranscriptionJob, TranscriptSegment
from models.transcription.engines.asr import AsrEngine
from tests.checkpoints import asr as checkpoints
from tests.models.sounds import encoded
from tests.models.transcription.said import said, silence

WRITERS: dict[str, Callable[[Path], None]] = {
    "whisper": checkpoints.write_whisper,
    "moonshine": checkpoints.write_moonshine,
    "wav2vec2": checkpoints.write_wav2vec2,
    "parakeet": checkpoints.write_parakeet,
    "qwen3_asr": checkpoints.write_qwen3_asr,
}
EVERY = pytest.mark.parametrize("name", WRITERS)
HELLO, OTHER = "Good morning to all of you.", "The train to London leaves at noon."
Engines = Callable[[str], AsrEngine]

# of Whisper's alignment, where random weights write one token
pytestmark = pytest.mark.filterwarnings(r"ignore:std\(\).* degrees of freedom")


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights come to no end by themselves."""
    monkeypatch.setattr("models.transcription.engines.asr._MOST_TOKENS", 40)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """A loaded engine by its checkpoint's name, each written and loaded once."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), dict[str, AsrEngine]()

    def engine(name: str) -> AsrEngine:
        if name not in made:
            WRITERS[name](folder / name)
            found = create_engine(entry(folder / name))
            assert isinstance(found, AsrEngine)
            found.load()
            made[name] = found
        return made[name]

    return engine


def entry(folder: Path) -> ModelEntry:
    return ModelEntry.model_validate({"engine": "asr", "checkpoint": str(folder), "device": "cpu", "threads": 1})


def heard(engine: AsrEngine, text: str = HELLO, **told: Any) -> list[TranscriptSegment]:
    sound = encoded(join([silence(0.5), said(text), silence(0.5)]))
    return [each for piece in engine.transcribe(TranscriptionJob(sound, **told)) for each in piece.segments]


def texts(segments: list[TranscriptSegment]) -> list[str]:
    return [each.text for each in segments]


@EVERY
def test_each_family_writes_the_same_of_the_same_speech_and_nothing_of_silence(name: str, engines: Engines) -> None:
    engine = engines(name)
    engine.warm_up()
    first = heard(engine)
    assert first == heard(engine)
    assert texts(first) != texts(heard(engine, OTHER))
    for each in first:
        assert 0.2 <= each.start <= each.end <= said(HELLO).seconds + 0.9
    assert all(not piece.segments for piece in engine.transcribe(TranscriptionJob(encoded(silence(2)))))


@pytest.mark.nightly
@EVERY
def test_words_have_times_where_the_model_tells_them(name: str, engines: Engines) -> None:
    engine = engines(name)
    if name in ("moonshine", "parakeet", "qwen3_asr"):
        with pytest.raises(InvalidInput, match="no times of words"):
            heard(engine, times_words=True)
        return
    found = [word for each in heard(engine, times_words=True) for word in each.words]
    assert found
    assert all(word.text == word.text.strip() and word.start <= word.end for word in found)
    assert [word.start for word in found] == sorted(word.start for word in found)


@EVERY
def test_a_caller_who_leaves_stops_it_within_a_token(name: str, engines: Engines) -> None:
    engine = engines(name)
    sound, looks = said(HELLO).samples, []

    def has_left() -> bool:
        looks.append(True)
        return len(looks) > 1

    generates = name not in ("wav2vec2", "parakeet")  # those need one forward
    if generates:
        with pytest.raises(Cancelled):
            engine._hear(sound, TranscriptionJob(b""), has_left)
        assert len(looks) == 2
    with pytest.raises(Cancelled):
        engine._hear(sound, TranscriptionJob(b""), lambda: True)
    assert engine._hear(sound, TranscriptionJob(b""), lambda: False).segments


@pytest.mark.nightly
def test_whisper_is_given_the_language_the_task_and_what_was_said_before(engines: Engines) -> None:
    whisper = engines("whisper")
    assert set(whisper.abilities.languages) == {"en", "ko", "ja", "de"}
    plain = texts(heard(whisper, language="en"))
    assert texts(heard(whisper, language="German")) != plain
    assert texts(heard(whisper, language="en", translates=True)) != plain
    assert texts(heard(whisper, language="en", prompt="Ann, Bob and Kim.")) != plain
    with pytest.raises(InvalidInput, match=r"allowed are auto, de \(german\), en \(english\), ja"):
        heard(whisper, language="fr")


def test_whisper_names_the_language_that_it_hears(engines: Engines) -> None:
    found = engines("whisper").transcribe(TranscriptionJob(encoded(said(HELLO))))
    assert found[-1].language in {"en", "ko", "ja", "de"}


@pytest.mark.nightly
def test_a_whisper_that_is_unsure_tries_again_with_more_chance(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of random weights it always is."""
    engine = engines("whisper")
    tried = heard(engine, "Good morning.")
    monkeypatch.setattr("models.transcription.engines.asr._FALLBACK", {})
    assert heard(engine, "Good morning.") != tried


@pytest.mark.nightly
def test_a_prompt_as_long_as_it_may_be_leaves_room_for_an_answer(engines: Engines) -> None:
    assert heard(engines("whisper"), prompt="picture " * 500)
    assert heard(engines("whisper"), prompt="<|en|><|startoftranscript|> no control token")


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["whisper", "qwen3_asr"])
def test_temperature_is_chance_that_repeats_itself(name: str, engines: Engines) -> None:
    engine = engines(name)
    warm = texts(heard(engine, temperature=1.0))
    assert warm == texts(heard(engine, temperature=1.0))
    assert warm != texts(heard(engine))


def test_what_a_model_cannot_use_is_named(engines: Engines) -> None:
    for name, ignored in (("moonshine", ("prompt", "temperature")), ("qwen3_asr", ())):
        pieces = engines(name).transcribe(TranscriptionJob(encoded(silence(1)), prompt="Ann", temperature=0.5))
        assert {piece.ignored for piece in pieces} == {ignored}
    with pytest.raises(InvalidInput, match="translates nothing"):
        heard(engines("moonshine"), translates=True)


def test_a_model_that_is_asked_in_a_chat_hears_language_and_prompt(engines: Engines) -> None:
    engine = engines("qwen3_asr")
    plain = texts(heard(engine))
    assert texts(heard(engine, language="en")) != plain
    assert texts(heard(engine, prompt="Ann and Bob")) != plain
    with pytest.raises(InvalidInput, match="language"):
        heard(engine, language="Klingon")


def test_a_model_of_another_kind_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="is a bert model, which transformers does not write speech down with"):
        check_checkpoint(entry(tmp_path))


def test_a_checkpoint_gives_its_memory_back_and_can_be_loaded_again(engines: Engines) -> None:
    engine = engines("wav2vec2")
    first, footprint = texts(heard(engine)), engine.footprint
    engine.unload()
    assert engine.footprint == 0
    engine.load()
    assert (texts(heard(engine)), engine.footprint) == (first, footprint)
