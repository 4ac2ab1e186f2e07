"""espeak-ng in a reference speaker's pitch and build."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.entry import ModelEntry
from models.errors import CheckpointError, InvalidInput
from models.speech import espeak_ng
from models.speech.engines.espeak import EspeakEngine
from models.speech.speaker import Envelope, Speaker, change_voice, hear_speaker
from models.tasks import Audio, SpeechJob
from tests.models.sounds import encoded, praat_formants, praat_pitch, sine, vowels

TEXTS = {
    "en": "Good morning to all of you. The meeting begins at nine, and nobody should be late.",
    "ko": "안녕하세요. 오늘은 날씨가 아주 좋아서 공원에 갔습니다.",
    "ja": "おはようございます。今日は東京で友達に会いました。",
    "zh": "你好，世界。今天天气很好，我们去公园玩。",
}
LANGUAGES = ["en", "ko", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("ja", "zh"))]
STELLA = "Please call Stella and ask her to bring these things with her from the store."


def entry(checkpoint: str) -> ModelEntry:
    return ModelEntry.model_validate({"engine": "espeak", "checkpoint": checkpoint})


@pytest.fixture(scope="module")
def engine() -> Iterator[EspeakEngine]:
    made = EspeakEngine(entry("builtin:voice"))
    made.load()
    yield made
    made.unload()


def said_by(variant: str, text: str = STELLA) -> Audio:
    return espeak_ng.speak(text, variant)


REFERENCES = {
    "a low man": lambda: vowels(85),
    "a man": lambda: vowels(115, 0.95),
    "a woman": lambda: vowels(205, 1.15),
    "a child": lambda: vowels(320, 1.3),
    "espeak's male 1": lambda: said_by("en-us+m1"),
    "espeak's female 2": lambda: said_by("en-us+f2"),
    "espeak's female 4": lambda: said_by("en-us+f4"),
    "espeak's Belinda": lambda: said_by("en-us+belinda"),
    "a Klatt synthesiser": lambda: said_by("en-us+klatt4"),
    "a Korean text": lambda: change_voice(said_by("ko", TEXTS["ko"]), 180, 1.1),
    "a whistle": lambda: sine(440),
}


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_median_pitch_is_the_references(engine: EspeakEngine, reference: str, language: str) -> None:
    recording = REFERENCES[reference]()
    spoken = engine.speak(SpeechJob(TEXTS[language], reference=encoded(recording)))
    assert praat_pitch(spoken) == pytest.approx(praat_pitch(recording), rel=0.06)


def test_a_voice_deeper_than_praats_standard_range_is_not_heard_an_octave_up(engine: EspeakEngine) -> None:
    spoken = engine.speak(SpeechJob(TEXTS["en"], reference=encoded(vowels(65))))
    import parselmouth

    pitches = parselmouth.Sound(spoken.samples.astype(float), spoken.rate).to_pitch(pitch_floor=45)
    voiced = pitches.selected_array["frequency"]
    assert np.median(voiced[voiced > 0]) == pytest.approx(65, rel=0.06)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("maker", ["vowels", "espeak", "klatt"])
def test_formants_follow_the_references_vocal_tract(engine: EspeakEngine, maker: str, language: str) -> None:
    def reference(build: float) -> Audio:
        if maker == "vowels":
            return vowels(140, build)
        return change_voice(said_by("en-us" if maker == "espeak" else "en-us+klatt4"), 140, build)

    found = [
        praat_formants(engine.speak(SpeechJob(TEXTS[language], reference=encoded(reference(build)))))
        for build in (0.82, 1.0, 1.22)
    ]
    assert all(longer * 1.02 < shorter for longer, shorter in pairwise(found)), found


@pytest.mark.parametrize("build", [0.85, 1.0, 1.18])
@pytest.mark.parametrize("pitch", [90, 150, 260])
def test_build_is_measured_whatever_the_pitch(engine: EspeakEngine, pitch: float, build: float) -> None:
    # the engine's own speaker, changed by a known factor and saying something else
    recording = change_voice(said_by("en-us"), pitch, build)
    assert engine._heard_in(encoded(recording), None).build == pytest.approx(build, rel=0.06)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_job_gives_the_same_samples(engine: EspeakEngine, language: str) -> None:
    job = SpeechJob(TEXTS[language], reference=encoded(vowels(150)))
    first = engine.speak(job)
    engine.speak(SpeechJob("Something else in between.", voice="nova", speed=2))
    assert np.array_equal(first.samples, engine.speak(job).samples)


def test_another_process_gives_the_same_samples(engine: EspeakEngine) -> None:
    script = (
        "import hashlib; from models.entry import ModelEntry; from models.speech.engines.espeak import EspeakEngine;"
        "from models.tasks import SpeechJob; e = EspeakEngine(ModelEntry(engine='espeak', checkpoint='builtin:voice'));"
        f"e.load(); print(hashlib.sha256(e.speak(SpeechJob({TEXTS['en']!r}, voice='coral')).samples).hexdigest())"
    )
    root = Path(__file__).parents[3]
    printed = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    here = engine.speak(SpeechJob(TEXTS["en"], voice="coral"))
    assert printed.stdout.strip() == hashlib.sha256(here.samples.tobytes()).hexdigest()


def test_eight_threads_at_once_say_what_one_says(engine: EspeakEngine) -> None:
    jobs = [SpeechJob(text, voice=voice) for text in TEXTS.values() for voice in ("onyx", None)]
    alone = [engine.speak(job).samples for job in jobs]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda job: engine.speak(job).samples, jobs * 2))
    assert all(np.array_equal(found, expected) for found, expected in zip(together, alone * 2, strict=True))


def test_speaking_starts_no_thread_of_its_own(engine: EspeakEngine) -> None:
    def running() -> int:
        tasks = Path("/proc/self/task")
        return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()

    engine.speak(SpeechJob(TEXTS["en"], voice="nova"))
    before = running()
    for piece in engine.stream(SpeechJob(TEXTS["en"], voice="nova")):
        assert running() <= before
        assert len(piece.samples)


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[Audio]:
    """The recordings that have been analysed since the test began."""
    found: list[Audio] = []

    def noted(audio: Audio, known: Envelope, param: str | None) -> Speaker:
        found.append(audio)
        return hear_speaker(audio, known, param)

    monkeypatch.setattr("models.speech.engines.espeak.hear_speaker", noted)
    return found


def test_a_reference_is_analysed_once(engine: EspeakEngine, analysed: list[Audio]) -> None:
    recording = encoded(vowels(177))
    for text in ("One.", "Two.", "Three."):
        engine.speak(SpeechJob(text, reference=recording))
    engine.speak(SpeechJob("One.", reference=encoded(vowels(178))))
    assert len(analysed) == 2


def test_old_references_are_forgotten(engine: EspeakEngine, analysed: list[Audio]) -> None:
    recordings = [encoded(sine(hertz, 0.5, rate=8_000)) for hertz in range(200, 201 + EspeakEngine.kept_speakers)]
    for recording in recordings:
        engine._heard_in(recording, None)
    engine._heard_in(recordings[-1], None)
    assert len(analysed) == len(recordings)
    engine._heard_in(recordings[0], None)
    assert len(analysed) == len(recordings) + 1


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", "hello"),
        ("ko-KR", "안녕"),
        ("日本語", "日本"),
        ("zh-Hans", "你好"),
        ("en-GB", "hello"),
        ("de", "hallo"),
    ],
)
def test_languages_are_taken_by_name_and_by_tag(engine: EspeakEngine, language: str, text: str) -> None:
    assert engine.speak(SpeechJob(text, language)).seconds > 0.2


def test_auto_is_the_language_of_the_script(engine: EspeakEngine) -> None:
    for tag, text in TEXTS.items():
        auto, named = engine.speak(SpeechJob(text)), engine.speak(SpeechJob(text, tag))
        assert np.array_equal(auto.samples, named.samples)
    english, german = (engine.speak(SpeechJob("Die Katze", tag)) for tag in ("en", "de"))
    assert not np.array_equal(english.samples, german.samples)


@pytest.mark.parametrize("language", [*EspeakEngine.languages, "en-GB", "pt-PT", "es-MX"])
def test_every_language_that_is_promised_speaks(engine: EspeakEngine, language: str) -> None:
    assert np.abs(engine.speak(SpeechJob("1, 2, 3.", language)).samples).max() > 0.1


def test_kanji_are_read_as_words(engine: EspeakEngine) -> None:
    kanji, kana = (
        engine.speak(SpeechJob(text, "ja")).seconds for text in ("東京へ行きました。", "とうきょうえいきました。")
    )
    assert kanji == pytest.approx(kana, rel=0.15)  # "Chinese letter, Chinese letter" takes twice as long


def test_brackets_are_not_spoken(engine: EspeakEngine) -> None:
    plain = engine.speak(SpeechJob("Good morning to you."))
    directed = engine.speak(SpeechJob("(cheerfully) Good morning [waves] to you."))
    assert np.array_equal(plain.samples, directed.samples)


@pytest.mark.parametrize(
    ("job", "param", "said"),
    [
        (SpeechJob("(laughs) [sighs]"), "text", "brackets"),
        (SpeechJob("  "), "text", "nothing to speak"),
        (SpeechJob("hello", "Klingon"), "language", "allowed are auto, en (English), ko (Korean)"),
        (SpeechJob("hello", speed=0.2), "speed", "0.25 to 4"),
        (SpeechJob("hello", speed=4.1), "speed", "4.1"),
        (SpeechJob("hello", voice="nobody"), "voice", "alloy, ash"),
        (SpeechJob("hello", reference=b""), "reference", "empty"),
        (SpeechJob("hello", reference=b"text named ref.mp3"), "reference", "MP3, WAV, FLAC, Ogg"),
        (SpeechJob("hello", reference=bytes(11 * 2**20)), "reference", "10 MiB"),
        (SpeechJob("hello", reference=encoded(sine(seconds=0.3))), "reference", "0.5 to 60 s"),
        (SpeechJob("hello", reference=encoded(sine(seconds=61, rate=8_000))), "reference", "longer than 60 s"),
        (SpeechJob("hello", reference=encoded(sine(level=0))), "reference", "silent"),
        (
            SpeechJob("hello", reference=encoded(Audio(np.clip(9 * sine().samples, -1, 1), 24_000))),
            "reference",
            "clipped",
        ),
        (
            SpeechJob(
                "hello",
                reference=encoded(
                    Audio(0.1 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32), 24_000)
                ),
            ),
            "reference",
            "no voice",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_before_the_first_sound(
    engine: EspeakEngine, job: SpeechJob, param: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        engine.stream(job)
    assert caught.value.param == param
    assert said in str(caught.value)


@pytest.mark.parametrize("voice", [None, "shimmer"])
def test_speed_divides_the_time(engine: EspeakEngine, voice: str | None) -> None:
    usual = engine.speak(SpeechJob(TEXTS["en"], voice=voice)).seconds
    for speed in (0.25, 0.5, 0.8, 1.5, 2.0, 4.0):
        spoken = engine.speak(SpeechJob(TEXTS["en"], voice=voice, speed=speed))
        assert spoken.seconds == pytest.approx(usual / speed, rel=0.1)


def test_speed_leaves_the_pitch_alone(engine: EspeakEngine) -> None:
    for speed in (0.3, 2.5):
        spoken = engine.speak(SpeechJob(TEXTS["en"], reference=encoded(vowels(180)), speed=speed))
        assert praat_pitch(spoken) == pytest.approx(180, rel=0.06)


def test_named_voices_differ_and_have_their_pitch(engine: EspeakEngine) -> None:
    said = {
        voice: engine.speak(SpeechJob("Good morning to all of you.", voice=voice))
        for voice in engine.names(engine.entry)
    }
    assert len(said) == 13
    assert len({audio.samples.tobytes() for audio in said.values()}) == 13
    for voice, audio in said.items():
        assert praat_pitch(audio) == pytest.approx(engine._voices[voice].pitch, rel=0.06)


def test_a_stream_is_the_whole_in_sentences(engine: EspeakEngine) -> None:
    job = SpeechJob(
        "This is the first sentence. This is the second sentence. And a third one follows it.", voice="sage"
    )
    pieces = list(engine.stream(job))
    assert len(pieces) == 3
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), engine.speak(job).samples)


def test_speech_is_loud_but_never_beyond_full_level(engine: EspeakEngine) -> None:
    for build in (0.75, 1.0, 1.35):
        spoken = engine.speak(SpeechJob(TEXTS["en"], reference=encoded(vowels(200, build))))
        assert 0.2 < np.abs(spoken.samples).max() <= 1.0


@pytest.mark.parametrize("text", ["a", "1", "?a", "ㅋㅋㅋ", "กขค", "Ω", "é", "x" * 500, "안" * 500, "no. " * 100])
def test_odd_texts_are_spoken_all_the_same(engine: EspeakEngine, text: str) -> None:
    assert engine.speak(SpeechJob(text, reference=encoded(vowels(130)))).seconds > 0.1


def test_it_speaks_at_least_five_times_faster_than_real_time(engine: EspeakEngine) -> None:
    job = SpeechJob(" ".join([TEXTS["en"]] * 5), reference=encoded(vowels(150)))
    engine.speak(job)
    begun = time.process_time()
    spoken = engine.speak(job)
    assert (time.process_time() - begun) / spoken.seconds < 0.2


def test_a_checkpoint_without_voices_does_not_load(tmp_path: Path) -> None:
    for checkpoint in (str(tmp_path), "espeak-ng/espeak-ng", "builtin:nothing"):
        with pytest.raises(CheckpointError) as caught:
            EspeakEngine(entry(checkpoint)).load()
        assert checkpoint in str(caught.value) or "voices.json" in str(caught.value)


def test_an_unloaded_engine_loads_again() -> None:
    engine = EspeakEngine(entry("builtin:voice"))
    for _ in range(2):
        engine.load()
        engine.warm_up()
        assert engine.speak(SpeechJob("hello")).seconds > 0.2
        engine.unload()
        assert not engine.loaded


def test_the_names_of_the_voices_are_read_from_the_disk_once(tmp_path: Path) -> None:
    file = tmp_path / "voices.json"
    file.write_text('{"ann": {"pitch": 190, "build": 1.1}}')
    entry = ModelEntry(engine="espeak", checkpoint=str(tmp_path))
    assert EspeakEngine.names(entry) == ("ann",)
    file.unlink()
    assert EspeakEngine.names(entry) == ("ann",)
