"""The built-in recogniser, on the built-in voice and on what nobody says.

It was made for people's voices, so that of a formant synthesiser it understands three words in four.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from bench.transcription import error_rate, words
from models.audio import join
from models.catalog import check_checkpoint, create_engine
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InvalidInput
from models.tasks import Audio, TranscriptionJob, TranscriptPiece, TranscriptSegment
from models.transcription.engines.moonshine import MoonshineEngine
from tests.models.sounds import encoded, sine
from tests.models.transcription.said import SENTENCES, noise, said, silence

pytest.importorskip("moonshine_voice", reason="there are wheels for Linux, and for macOS 15 on Apple silicon")


@pytest.fixture(scope="module")
def engine() -> Iterator[MoonshineEngine]:
    made = create_engine(ModelEntry.model_validate({"engine": "moonshine", "checkpoint": "builtin:listen"}))
    assert isinstance(made, MoonshineEngine)
    made.load()
    made.warm_up()
    yield made
    made.unload()


def heard(engine: MoonshineEngine, *parts: Audio, **told: object) -> list[TranscriptPiece]:
    return engine.transcribe(TranscriptionJob(encoded(join(list(parts))), **told))  # type: ignore[arg-type]


def segments(pieces: list[TranscriptPiece]) -> list[TranscriptSegment]:
    return [segment for piece in pieces for segment in piece.segments]


def test_most_of_what_the_built_in_voice_says_is_written_down(engine: MoonshineEngine) -> None:
    text = " ".join(SENTENCES)
    found = " ".join(segment.text for segment in segments(heard(engine, said(text))))
    assert error_rate(words(text), words(found)) < 0.45, found
    assert found[0].isupper()


def test_passages_are_where_they_are_spoken(engine: MoonshineEngine) -> None:
    first, second = said(SENTENCES[0]), said(SENTENCES[2])
    pieces = heard(engine, silence(2), first, silence(3), second, silence(1))
    one, other = segments(pieces)
    assert one.start == pytest.approx(2, abs=0.3)
    assert one.end == pytest.approx(2 + first.seconds, abs=0.3)
    assert other.start == pytest.approx(5 + first.seconds, abs=0.3)
    assert one.no_speech < 0.4
    assert pieces[0] == TranscriptPiece()  # before anything is heard
    assert pieces[-1].seconds == pytest.approx(6 + first.seconds + second.seconds, abs=0.01)
    assert {piece.language for piece in pieces[1:]} == {"en"}


@pytest.mark.parametrize(
    "sound", [silence(3), noise(3), sine(300, 3), silence(0)], ids=["silence", "noise", "a tone", "nothing"]
)
def test_nothing_is_made_up_where_nobody_speaks(engine: MoonshineEngine, sound: Audio) -> None:
    pieces = heard(engine, sound)
    assert segments(pieces) == []
    assert pieces[-1].seconds == pytest.approx(sound.seconds, abs=0.01)


@pytest.mark.parametrize("language", ["en", "English", "en-GB", "auto", ""])
def test_english_is_taken_by_any_of_its_names(engine: MoonshineEngine, language: str) -> None:
    assert next(engine.stream(TranscriptionJob(encoded(silence(1)), language))).segments == ()


@pytest.mark.parametrize(
    ("told", "param", "message"),
    [
        ({"language": "ko"}, "language", "'ko' is not a language that this model knows; allowed are auto, en"),
        ({"language": "Klingon"}, "language", "'Klingon' is not a language"),
        ({"translates": True}, "translates", "translates nothing"),
        ({"times_words": True}, "times_words", "tells no times of words"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_heard(
    engine: MoonshineEngine, told: dict[str, object], param: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        heard(engine, silence(1), **told)
    assert caught.value.param == param


def test_what_it_cannot_use_is_named(engine: MoonshineEngine) -> None:
    pieces = heard(engine, silence(1), prompt="Names: Ann.", temperature=0.4)
    assert {piece.ignored for piece in pieces} == {("prompt", "temperature")}


def test_a_caller_who_leaves_stops_it_between_windows(engine: MoonshineEngine) -> None:
    looks = []

    def has_left() -> bool:
        looks.append(True)
        return len(looks) > 40

    with pytest.raises(Cancelled):
        engine.transcribe(TranscriptionJob(encoded(join([said(SENTENCES[0]), silence(3)] * 20))), has_left)
    assert len(looks) == 41


def test_the_weights_are_counted_and_given_back(engine: MoonshineEngine) -> None:
    assert 40_000_000 < engine.footprint < 50_000_000
    other = create_engine(engine.entry)
    other.load()
    other.unload()
    assert other.footprint == 0


def test_it_computes_in_the_thread_that_asks(engine: MoonshineEngine) -> None:
    before = psutil.Process().num_threads()
    other = create_engine(engine.entry)
    other.load()
    other.warm_up()
    assert psutil.Process().num_threads() == before
    other.unload()


def test_another_checkpoint_is_refused_at_the_start() -> None:
    with pytest.raises(CheckpointError, match="has one model, 'builtin:listen'"):
        check_checkpoint(ModelEntry.model_validate({"engine": "moonshine", "checkpoint": "org/moonshine"}))
