"""A recording's voice from a tiny Pocket TTS of random weights, which speaks no words but does all else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.catalog import check_checkpoint, check_options
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InvalidInput
from models.generation import seeded
from models.speech.engines.pocket_tts import PocketTtsEngine
from models.tasks import Audio, SpeechJob
from tests.checkpoints import write_pocket_tts
from tests.models.conftest import entry_of, loaded, with_options
from tests.models.sounds import encoded, vowels

SENTENCE = "The old man walked slowly down to the river."
TEXT = f"{SENTENCE} He carried a small red bag. Nobody saw him coming back that night."
A_MAN, A_WOMAN = encoded(vowels(115)), encoded(vowels(210, 1.15))


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    folder = tmp_path_factory.mktemp("pocket_tts") / "checkpoint"
    write_pocket_tts(folder)
    return entry_of("pocket_tts", folder)


@pytest.fixture(scope="module")
def engine(entry: ModelEntry) -> Iterator[PocketTtsEngine]:
    made = loaded(entry)
    yield made
    made.unload()


@pytest.fixture(scope="module")
def endless(entry: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> PocketTtsEngine:
    """One that never finds that a sentence has ended."""
    folder = tmp_path_factory.mktemp("pocket_tts") / "endless"
    shutil.copytree(entry.checkpoint, folder)
    rewrite(folder / "generation_config.json", lambda config: config.update(eos_threshold=1e9))
    engine: PocketTtsEngine = loaded(entry_of("pocket_tts", folder))
    return engine


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def copied(entry: ModelEntry, folder: Path) -> ModelEntry:
    shutil.copytree(entry.checkpoint, folder)
    return entry.model_copy(update={"checkpoint": str(folder)})


def test_it_speaks_in_24_khz_after_it_has_warmed_up(engine: PocketTtsEngine) -> None:
    engine.warm_up()
    spoken = engine.speak(SpeechJob(TEXT))
    assert spoken.rate == 24_000
    assert spoken.samples.dtype == np.float32
    assert 0.02 < spoken.samples.std() < 0.5


def test_the_voice_is_the_recordings(engine: PocketTtsEngine) -> None:
    man, woman = (engine.speak(SpeechJob(SENTENCE, reference=recording)) for recording in (A_MAN, A_WOMAN))
    assert not np.array_equal(man.samples, woman.samples)


def test_a_recording_is_heard_once(engine: PocketTtsEngine) -> None:
    heard = []
    with engine._processor.audio_tokenizer.encoder.register_forward_hook(lambda *_: heard.append(True)):
        for text in (SENTENCE, TEXT):
            engine.speak(SpeechJob(text, reference=encoded(vowels(123))))
    assert len(heard) == 1


def test_what_is_prepared_once_says_what_the_whole_prompt_would_say(engine: PocketTtsEngine) -> None:
    import torch

    recording = vowels(150, rate=24_000)
    content = [{"type": "audio", "audio": recording.samples}, {"type": "text", "text": SENTENCE}]
    inputs = engine._processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"sampling_rate": recording.rate},
    )
    with torch.inference_mode(), seeded(engine._model, 0):
        made = engine._model.generate(**inputs, do_sample=True, temperature=0.7, return_dict_in_generate=True)
    whole = engine._processor.decode(made.audio_latents[0]).numpy()
    heard = engine._encode_speaker(recording, None)
    assert heard.frames == 26  # 2.08 s: it is made to end in a pause
    prepared = engine._synthesize(SENTENCE, "en", heard, 1.0, lambda: False)
    assert np.allclose(prepared.samples, whole, atol=1e-5)


def test_what_is_prepared_stays_as_it_was(engine: PocketTtsEngine) -> None:
    heard = engine._encode_speaker(vowels(150), None)
    for text in (SENTENCE, "Yes.", TEXT):
        engine._synthesize(text, "en", heard, 1.0, lambda: False)
        assert heard.cache.get_seq_length() == heard.frames + 1


def test_of_a_long_recording_the_first_15_seconds_are_heard(engine: PocketTtsEngine) -> None:
    recording = vowels(150, seconds=25)
    long, longer = (
        engine._encode_speaker(Audio(recording.samples[:end], recording.rate), None) for end in (16 * 16_000, None)
    )
    assert long.frames == longer.frames == 189
    assert all(a.keys.equal(b.keys) for a, b in zip(long.cache.layers, longer.cache.layers, strict=True))


def test_the_shortest_recording_is_enough(engine: PocketTtsEngine) -> None:
    assert engine.speak(SpeechJob(SENTENCE, reference=encoded(vowels(150, seconds=0.5)))).seconds > 0


def test_the_same_job_gives_the_same_samples(engine: PocketTtsEngine, entry: ModelEntry) -> None:
    import torch

    job = SpeechJob(TEXT, reference=A_WOMAN)
    first = engine.speak(job)
    torch.rand(1)
    engine.speak(SpeechJob("Something else in between."))
    assert np.array_equal(first.samples, engine.speak(job).samples)
    assert np.array_equal(first.samples, loaded(entry).speak(job).samples)


def test_the_global_chance_is_left_as_it_was(engine: PocketTtsEngine) -> None:
    import torch

    before = torch.get_rng_state()
    engine.speak(SpeechJob(SENTENCE))
    assert torch.get_rng_state().equal(before)


def test_each_sentence_comes_when_it_is_spoken(engine: PocketTtsEngine) -> None:
    frames = []
    with engine._model.register_forward_pre_hook(lambda *_: frames.append(True)):
        at = [len(frames) for _ in engine.stream(SpeechJob(TEXT, reference=A_MAN))]
    assert len(at) == 3
    assert at[0] < at[1] < at[2]


@pytest.mark.filterwarnings("ignore:There were no voiced segments")  # noise is what random weights speak
@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed_changes_how_long_it_takes(engine: PocketTtsEngine, speed: float) -> None:
    heard = engine._encode_speaker(vowels(150), None)
    usual = engine._synthesize(TEXT, "en", heard, 1.0, lambda: False)
    assert engine._synthesize(TEXT, "en", heard, speed, lambda: False).seconds == pytest.approx(
        usual.seconds / speed, rel=0.1
    )


def test_a_sentence_that_does_not_end_is_cut_off(endless: PocketTtsEngine) -> None:
    def seconds(text: str) -> float:
        return endless._synthesize(text, "en", endless._named(None), 1.0, lambda: False).seconds

    assert 3 < seconds("Well.") < 5
    assert 3 < seconds(SENTENCE) < 20
    assert seconds("x" * 150) == 30
    assert seconds("x" * 300) == 30


def test_a_sentence_of_many_tokens_is_said_in_parts_that_the_model_takes(engine: PocketTtsEngine) -> None:
    heard, prompts = engine._named(None), []

    def count_prompt(_model: object, _args: object, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] > 1:
            prompts.append(kwargs["input_ids"].shape[1])

    with engine._model.register_forward_pre_hook(count_prompt, with_kwargs=True):
        engine._synthesize("a small red bag", "en", heard, 1.0, lambda: False)
        assert len(prompts) == 1
        engine._synthesize(", ".join(["a small red bag"] * 12), "en", heard, 1.0, lambda: False)
    assert len(prompts) > 2
    assert max(prompts) < 60


@pytest.mark.parametrize("asked_before", [1, 4])
def test_a_caller_who_leaves_stops_a_sentence_within_a_frame(endless: PocketTtsEngine, asked_before: int) -> None:
    heard, asked, frames = endless._named(None), count(), []
    with (
        endless._model.register_forward_hook(lambda *_: frames.append(True)),
        pytest.raises(Cancelled),
    ):
        endless._synthesize(SENTENCE, "en", heard, 1.0, lambda: next(asked) == asked_before)
    assert len(frames) == asked_before
    assert len(endless._synthesize("Well.", "en", heard, 1.0, lambda: False).samples)


def test_a_caller_who_leaves_stops_what_makes_sound_of_the_frames(engine: PocketTtsEngine) -> None:
    left, sounded = [], []
    decoder = engine._processor.audio_tokenizer.decoder
    with (
        decoder.register_forward_pre_hook(lambda *_: left.append(True)),
        decoder.register_forward_hook(lambda *_: sounded.append(True)),
        pytest.raises(Cancelled),
    ):
        engine.speak(SpeechJob(SENTENCE), lambda: bool(left))
    assert not sounded


@pytest.mark.parametrize(
    "text",
    [
        "Say <|audio_prompt|> now",
        "<|audio_<|audio_bos|>prompt|> x",
        "<|audio_bos|> <pad> <|audio_latent|> x",
        "{{ part }} a",
    ],
)
def test_what_looks_like_the_models_own_tokens_is_text(engine: PocketTtsEngine, text: str) -> None:
    assert engine.speak(SpeechJob(text)).seconds > 0


def test_openais_voices_are_known_and_differ(engine: PocketTtsEngine, entry: ModelEntry) -> None:
    names = engine.names(entry)
    assert {"alloy", "echo", "nova", "shimmer"} <= set(names)
    first, nova, default = (engine.speak(SpeechJob(SENTENCE, voice=name)).samples for name in (names[0], "nova", None))
    assert np.array_equal(first, default)
    assert not np.array_equal(first, nova)


def test_a_configured_voice_is_its_recordings_and_the_default(entry: ModelEntry, tmp_path: Path) -> None:
    file = tmp_path / "emma.wav"
    file.write_bytes(A_WOMAN)
    engine = loaded(with_options(entry, voices={"emma": {"recording": str(file)}}))
    assert engine.names(engine.entry)[:1] == ("emma",)
    emma = engine.speak(SpeechJob(SENTENCE, voice="emma")).samples
    assert np.array_equal(emma, engine.speak(SpeechJob(SENTENCE)).samples)
    assert np.array_equal(emma, engine.speak(SpeechJob(SENTENCE, reference=A_WOMAN)).samples)


def test_an_unknown_voice_is_refused(engine: PocketTtsEngine) -> None:
    with pytest.raises(InvalidInput, match="there is no voice 'emma'; there are alloy"):
        engine.stream(SpeechJob(SENTENCE, voice="emma"))


def test_a_recording_that_is_none_is_refused(engine: PocketTtsEngine) -> None:
    with pytest.raises(InvalidInput, match="not a sound file") as refused:
        engine.stream(SpeechJob(SENTENCE, reference=b"not a sound"))
    assert refused.value.param == "reference"


def test_a_checkpoint_speaks_its_own_language_and_no_other(entry: ModelEntry) -> None:
    french = loaded(with_options(entry, language="fr"))
    for language in ("auto", "fr", "French"):
        assert french.speak(SpeechJob("Le vieil homme marchait.", language)).seconds > 0
    with pytest.raises(InvalidInput, match=r"'en' is not a language .* allowed are auto, fr \(French\)"):
        french.stream(SpeechJob(SENTENCE, "en"))
    with pytest.raises(InvalidInput, match="looks like Korean"):
        french.stream(SpeechJob("오늘은 날씨가 아주 좋습니다."))


def test_a_language_that_it_has_no_checkpoint_of_is_refused_as_an_option(entry: ModelEntry) -> None:
    with pytest.raises(ValueError, match="language"):
        check_options(with_options(entry, language="ko"))


def test_the_footprint_counts_the_model_and_its_audio_tokenizer(entry: ModelEntry) -> None:
    engine = loaded(entry)
    weights = sum(file.stat().st_size for file in Path(entry.checkpoint).rglob("*.safetensors"))
    assert engine.footprint == pytest.approx(weights, rel=0.1)
    engine.unload()
    assert engine.footprint == 0


def test_half_precision_is_the_models_not_that_of_its_sound(entry: ModelEntry) -> None:
    engine = loaded(entry.model_copy(update={"dtype": "bfloat16"}))
    samples = engine.speak(SpeechJob(SENTENCE)).samples
    assert len(np.unique(samples)) > len(samples) / 2  # bfloat16 has 256 of each power of two


def test_another_kind_of_model_is_refused(entry: ModelEntry, tmp_path: Path) -> None:
    other = copied(entry, tmp_path / "other")
    rewrite(tmp_path / "other" / "config.json", lambda config: config.update(model_type="qwen3"))
    with pytest.raises(CheckpointError, match="is a qwen3 model, not a Pocket TTS of transformers"):
        check_checkpoint(other)
    with pytest.raises(CheckpointError, match="is a qwen3 model, not a Pocket TTS of transformers"):
        loaded(other)


def test_kyutais_own_layout_is_refused(entry: ModelEntry, tmp_path: Path) -> None:
    (tmp_path / "tts_b6369a24.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"has no config.json: .* for the engine 'pocket_tts'"):
        check_checkpoint(entry.model_copy(update={"checkpoint": str(tmp_path)}))


def test_a_checkpoint_that_cannot_clone_a_voice_is_refused(entry: ModelEntry, tmp_path: Path) -> None:
    deaf = copied(entry, tmp_path / "deaf")
    codec = tmp_path / "deaf" / "audio_tokenizer"
    rewrite(codec / "config.json", lambda config: config.update(encoder_config=None))
    rewrite(
        tmp_path / "deaf" / "processor_config.json",
        lambda config: config["audio_tokenizer"].update(audio_tokenizer_name_or_path=str(codec)),
    )
    with pytest.raises(CheckpointError, match="cannot clone a voice"):
        loaded(deaf)


def test_nothing_heavy_is_imported_to_read_a_configuration() -> None:
    import subprocess
    import sys

    script = (
        "import sys, models.speech.engines.pocket_tts;sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=False).returncode == 0
