"""Voices on MLX: a Qwen3-TTS with random weights, whose sentences last as long as chance will have it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.catalog import check_checkpoint, create_engine
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InferenceFailed, InvalidInput
from models.speech.engines.mlx_audio import MlxSpeechEngine
from models.speech.stock_voices import stock_voices
from models.tasks import Audio, SpeechJob
from tests.checkpoints.speech_mlx import write_qwen3_tts
from tests.models.sounds import encoded, vowels

HELLO = "Good morning."
MAN, WOMAN = encoded(vowels(110, 0.9, 1.0)), encoded(vowels(210, 1.15, 1.0))
WORDS = "a e i o u"
Changed = Callable[..., ModelEntry]

# what random weights say is noise, and Praat says so where it is made faster or slower
pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore:There were no voiced segments found")]


def entry(folder: Path, **more: object) -> ModelEntry:
    return ModelEntry.model_validate({"engine": "mlx_audio", "checkpoint": str(folder), "device": "cpu", **more})


def loaded(wanted: ModelEntry) -> MlxSpeechEngine:
    engine = create_engine(wanted)
    assert isinstance(engine, MlxSpeechEngine)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "qwen3_tts"
    write_qwen3_tts(folder)
    return folder


@pytest.fixture(scope="module")
def voice(checkpoint: Path) -> Iterator[MlxSpeechEngine]:
    engine = loaded(entry(checkpoint))
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def hello(voice: MlxSpeechEngine) -> Audio:
    """What the man says, whose words are known."""
    return said(voice)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> MlxSpeechEngine:
    """A model that never comes to an end."""
    folder = tmp_path_factory.mktemp("checkpoints") / "endless"
    write_qwen3_tts(folder, never_ends=True)
    return loaded(entry(folder))


@pytest.fixture
def changed(checkpoint: Path, tmp_path: Path) -> Changed:
    """A copy of the checkpoint with other fields in its config.json, and without some of its files."""

    def copy(*without: str, **fields: object) -> ModelEntry:
        folder = tmp_path / "changed"
        shutil.copytree(checkpoint, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))
        for name in without:
            (folder / name).unlink()
        return entry(folder)

    return copy


def said(engine: MlxSpeechEngine, text: str = HELLO, **asked: Any) -> Audio:
    return engine.speak(SpeechJob(text, **{"reference": MAN, "reference_text": WORDS, **asked}))


def same(one: Audio, other: Audio) -> bool:
    return np.array_equal(one.samples, other.samples)


# Whose voice it is


def test_each_recording_gives_a_voice_of_its_own(voice: MlxSpeechEngine, hello: Audio) -> None:
    assert not same(hello, said(voice, reference=WOMAN))
    assert not same(said(voice, reference_text=None), said(voice, reference=WOMAN, reference_text=None))


def test_a_recording_whose_words_are_known_is_continued_and_another_lends_its_timbre(
    voice: MlxSpeechEngine, hello: Audio
) -> None:
    by_timbre = said(voice, reference_text=None)
    assert not same(hello, by_timbre)
    assert not same(hello, said(voice, reference_text="other words"))
    assert same(by_timbre, said(voice, reference_text="(...)"))  # no word in it


def test_a_recording_is_worked_on_once(voice: MlxSpeechEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_audio.tts.models.qwen3_tts.speaker_encoder import Qwen3TTSSpeakerEncoder
    from mlx_audio.tts.models.qwen3_tts.speech_tokenizer import Qwen3TTSSpeechTokenizer

    runs = {"embedded": 0, "encoded": 0}

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            runs[name] += 1
            return method(*arguments)

        return run

    for name, kind, method in (
        ("embedded", Qwen3TTSSpeakerEncoder, "__call__"),
        ("encoded", Qwen3TTSSpeechTokenizer, "encode"),
    ):
        monkeypatch.setattr(kind, method, counted(name, getattr(kind, method)))
    child = encoded(vowels(300, 1.3, 1.0))
    said(voice, "This is the first sentence. This is the second one.", reference=child)
    said(voice, reference=child)
    assert runs == {"embedded": 1, "encoded": 1}
    said(voice, reference=encoded(vowels(301, 1.3, 1.0)))
    said(voice, reference=child)
    assert runs == {"embedded": 2, "encoded": 2}


def test_a_recording_of_any_rate_is_heard_at_the_models(voice: MlxSpeechEngine) -> None:
    for rate in (8_000, 44_100):
        heard = voice._heard_in(encoded(vowels(150, seconds=1.0, rate=rate)), None)
        assert heard.samples.size == pytest.approx(24_000, abs=10)


def test_openais_voices_are_there_from_the_start(voice: MlxSpeechEngine) -> None:
    assert MlxSpeechEngine.names(voice.entry) == stock_voices()
    spoken = [said(voice, reference=None, voice=name) for name in ("alloy", "onyx", None)]
    assert not same(spoken[0], spoken[1])
    assert same(spoken[0], spoken[2])


def test_configured_voices_come_first_and_are_their_recordings(checkpoint: Path, hello: Audio, tmp_path: Path) -> None:
    (tmp_path / "man.wav").write_bytes(MAN)
    voices = {
        "Ann": {"recording": str(tmp_path / "ann.wav")},
        "Bob": {"recording": str(tmp_path / "man.wav"), "text": WORDS},
    }
    engine = loaded(entry(checkpoint, options={"voices": voices}))
    assert engine.names(engine.entry)[:3] == ("Ann", "Bob", "alloy")
    assert same(said(engine, reference=None, reference_text=None, voice="Bob"), hello)
    with pytest.raises(CheckpointError, match="'Ann' cannot be read: No such file"):
        said(engine, reference=None)


# How it speaks


def test_it_speaks_at_the_models_rate_and_aloud(hello: Audio) -> None:
    assert hello.rate == 24_000
    assert hello.samples.dtype == np.float32
    assert 0.05 < np.abs(hello.samples).max() <= 1


def test_the_samples_are_those_of_mlx_audio_in_one_piece(voice: MlxSpeechEngine) -> None:
    import mlx.core as mx

    heard = voice._heard_in(MAN, None)
    spoken = voice._synthesize(HELLO, "en", heard, 1.0, lambda: False)
    mx.random.seed(0)
    (whole,) = voice._model.generate(HELLO, ref_audio=heard.samples, lang_code="english")
    assert len(spoken.samples) == 1920 * whole.token_count  # in one piece, it loses a frame for each code 0
    np.testing.assert_allclose(spoken.samples[: whole.samples], np.array(whole.audio), atol=1e-6)


def test_the_same_job_gives_the_same_samples(voice: MlxSpeechEngine, hello: Audio) -> None:
    said(voice, "Something else.", reference=WOMAN, speed=2)
    assert same(hello, said(voice))


def test_it_is_loaded_and_asked_in_a_thread_of_its_own_as_a_replica_does(hello: Audio, checkpoint: Path) -> None:
    def loaded_and_asked() -> Audio:
        engine = loaded(entry(checkpoint))
        engine.warm_up()
        return said(engine)

    with ThreadPoolExecutor(1) as thread:
        assert same(hello, thread.submit(loaded_and_asked).result())


def test_sentences_come_one_by_one(voice: MlxSpeechEngine) -> None:
    job = SpeechJob("This is the first one. This is the second one.", reference=MAN, reference_text=WORDS)
    pieces = list(voice.stream(job))
    assert len(pieces) == 2
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), voice.speak(job).samples)


def test_speed_divides_the_time(voice: MlxSpeechEngine, hello: Audio) -> None:
    for speed in (0.5, 2.0):
        assert said(voice, speed=speed).seconds == pytest.approx(hello.seconds / speed, rel=0.1)


@pytest.mark.parametrize(
    ("text", "language"), [("a", "en"), ("네", "ko"), ("か", "Japanese"), ("你", "zh-CN"), ("я", "ru")]
)
def test_auto_is_the_language_of_the_script(voice: MlxSpeechEngine, text: str, language: str) -> None:
    assert same(said(voice, text), said(voice, text, language=language))


def test_the_model_is_given_each_of_its_languages(voice: MlxSpeechEngine) -> None:
    assert set(voice.languages) == {"zh", "en", "ja", "ko", "de", "fr", "ru", "pt", "es", "it"}
    spoken = {said(voice, "1", language=tag).samples.tobytes() for tag in voice.languages}
    assert len(spoken) == 10
    assert same(said(voice, "1", language="pt"), said(voice, "1", language="pt-BR"))


def test_control_tokens_in_a_text_are_not_spoken(voice: MlxSpeechEngine, hello: Audio) -> None:
    assert same(hello, said(voice, f"<|im_end|>{HELLO}<tts_text_eod>"))
    assert same(hello, said(voice, reference_text=f"<|im_start|>{WORDS}"))


# Where it ends


def test_a_sentence_that_never_ends_is_ended(endless: MlxSpeechEngine) -> None:
    assert said(endless, "Hi.").seconds == pytest.approx(4 + 3 / 4, abs=0.1)
    assert said(endless, "Hi.", reference_text=None).seconds == pytest.approx(4 + 3 / 4, abs=0.1)


@pytest.mark.parametrize("words", [WORDS, None])
def test_cancelling_ends_a_sentence_within_four_frames(endless: MlxSpeechEngine, words: str | None) -> None:
    from mlx_audio.tts.models.qwen3_tts.talker import Qwen3TTSTalkerForConditionalGeneration as Talker

    asked: list[bool] = []
    frames: list[bool] = []
    own = Talker.__call__

    def third_time() -> bool:
        asked.append(True)
        return len(asked) == 3

    def counted(*arguments: Any, **more: Any) -> Any:
        frames.append(True)
        return own(*arguments, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Talker, "__call__", counted)
        with pytest.raises(Cancelled):
            list(endless.stream(SpeechJob(HELLO, reference=MAN, reference_text=words), third_time))
    assert (len(asked), len(frames)) == (3, 8)  # once before the sentence


def test_after_a_cancelled_or_broken_sentence_the_next_is_as_ever(voice: MlxSpeechEngine, hello: Audio) -> None:
    def broken() -> bool:
        asked.append(True)
        if len(asked) == 2:
            raise RuntimeError("broken inside")
        return False

    asked: list[bool] = []
    job = SpeechJob(HELLO, reference=WOMAN, reference_text=WORDS)
    with pytest.raises(InferenceFailed, match="broken inside"):
        list(voice.stream(job, broken))
    with pytest.raises(Cancelled):
        list(voice.stream(job, lambda: True))
    stopped = voice.stream(job)
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert same(hello, said(voice))


# What it refuses


@pytest.mark.parametrize(
    ("asked", "param", "why"),
    [
        ({"language": "Klingon"}, "language", r"allowed are auto, zh \(Chinese\), en \(English\)"),
        ({"language": "nl"}, "language", "'nl' is not a language"),
        ({"reference": b"no sound"}, "reference", "MP3, WAV"),
        ({"reference": None, "voice": "nobody"}, "voice", "there are alloy, ash"),
        ({"speed": 5.0}, "speed", "0.25 to 4"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_sound(
    voice: MlxSpeechEngine, asked: dict[str, Any], param: str, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        voice.stream(SpeechJob(HELLO, **{"reference": MAN, **asked}))
    assert caught.value.param == param


def test_a_text_of_control_tokens_alone_is_refused(voice: MlxSpeechEngine) -> None:
    with pytest.raises(InvalidInput, match="nothing of the text can be pronounced"):
        said(voice, "<|im_start|><|im_end|>")


# The checkpoint


def test_it_counts_its_parameters_and_gives_them_back(voice: MlxSpeechEngine, changed: Changed) -> None:
    weights = Path(voice.entry.checkpoint).rglob("*.safetensors")
    assert voice.footprint == pytest.approx(sum(path.stat().st_size for path in weights), rel=0.1)
    engine = loaded(changed().model_copy(update={"dtype": "bfloat16"}))
    codec = (Path(voice.entry.checkpoint) / "speech_tokenizer" / "model.safetensors").stat().st_size
    assert engine.footprint == pytest.approx((voice.footprint + codec) / 2, rel=0.1)
    assert said(engine).samples.dtype == np.float32
    engine.unload()
    assert engine.footprint == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tts_model_type": "custom_voice"}, "is a custom_voice model, which cannot imitate a recording; a base model"),
        ({"tokenizer_type": "qwen3_tts_tokenizer_25hz"}, "has the tokenizer qwen3_tts_tokenizer_25hz"),
        ({"model_type": "whisper"}, "is a whisper model, which mlx-audio does not speak with"),
        ({"model_type": "qwen3"}, "is a qwen3 model"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_unloaded_and_loaded(
    changed: Changed, fields: dict[str, str], why: str
) -> None:
    wrong = changed(**fields)
    for refuse in (check_checkpoint, loaded):
        with pytest.raises(CheckpointError, match=why):
            refuse(wrong)


def test_a_voice_that_imitates_nobody_is_refused(changed: Changed) -> None:
    wrong = changed(model_type="kokoro")
    check_checkpoint(wrong)
    with pytest.raises(CheckpointError, match="is a kokoro model, which cannot imitate a recording"):
        loaded(wrong)


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        (["config.json"], "has no config.json"),
        (["vocab.json", "merges.txt", "tokenizer_config.json"], "has no tokenizer that mlx-audio can load"),
        (["speech_tokenizer/config.json"], "has no speech_tokenizer that mlx-audio can load"),
        (["speech_tokenizer/model.safetensors"], "has no weights in speech_tokenizer"),
        (["model.safetensors"], "No weight files"),
    ],
)
def test_a_checkpoint_in_pieces_is_refused(changed: Changed, missing: list[str], why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        wrong = changed(*missing)
        check_checkpoint(wrong)
        loaded(wrong)


def test_a_missing_package_names_its_extra(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlx_audio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlx_audio", None)
    check_checkpoint(entry(checkpoint))
    with pytest.raises(CheckpointError, match="the engine mlx_audio needs the extra `mac`: pip install mlx-audio"):
        loaded(entry(checkpoint))
