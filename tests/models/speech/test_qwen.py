"""Qwen3-TTS, in processes that find its own packages before the server's."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import yaml

from cli.environment import ROOT
from models.catalog import check_checkpoint, create_engine
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError, InvalidInput
from models.speech.stock_voices import stock_recording
from models.tasks import Audio, SpeechJob
from tests.models.sounds import encoded, vowels
from tests.servers import Server, environment_of, start_server

pytestmark = pytest.mark.nightly

Elsewhere = Callable[..., Any]
"""Calls a function of this module in the process that has the packages."""

JOB = SpeechJob("Hi.", "en")
RECORDING = encoded(vowels(120.0))


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder of what requirements.qwen_tts.lock says, installed unless it is there."""
    script = ROOT / "deploy" / "environment.sh"
    subprocess.run([script, "qwen_tts"], env={**os.environ, "PYTHON": sys.executable}, check=True)
    return Path(sys.prefix) / "environments" / "qwen_tts"


@pytest.fixture(scope="module")
def elsewhere(packages: Path) -> Iterator[Elsewhere]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=prefer, initargs=(packages,)) as process:
        yield lambda call, *args: process.submit(call, *args).result()


@pytest.fixture(scope="module")
def checkpoint(elsewhere: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen_tts")
    elsewhere(write, folder)
    return folder


@pytest.fixture
def speak(elsewhere: Elsewhere, checkpoint: Path) -> Callable[[SpeechJob], Audio]:
    return lambda job: elsewhere(spoken, checkpoint, job)


def prefer(packages: Path) -> None:
    sys.path.insert(0, str(packages))


def write(folder: Path) -> None:
    from tests.checkpoints.speech_qwen import write_qwen_tts

    write_qwen_tts(folder)


def entry_of(checkpoint: Path) -> ModelEntry:
    return ModelEntry(engine="qwen_tts", checkpoint=str(checkpoint), device="cpu", threads=1)


@cache
def engine_of(checkpoint: Path) -> Any:
    engine = create_engine(entry_of(checkpoint))
    engine.load()
    engine.warm_up()
    return engine


def spoken(checkpoint: Path, job: SpeechJob) -> Audio:
    audio: Audio = engine_of(checkpoint).speak(job)
    return audio


def footprint(checkpoint: Path) -> int:
    size: int = engine_of(checkpoint).footprint
    return size


def looks_until_cancelled(checkpoint: Path, at: int) -> int:
    looks = 0

    def is_cancelled() -> bool:
        nonlocal looks
        looks += 1
        return looks >= at

    with pytest.raises(Cancelled):
        engine_of(checkpoint).speak(JOB, is_cancelled)
    return looks


def refusal(checkpoint: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        create_engine(entry_of(checkpoint)).load()
    return str(refused.value)


def versions() -> tuple[str, str]:
    import torch
    import transformers

    return transformers.__version__, torch.__version__


def test_the_environment_has_an_old_transformers_and_the_servers_torch(elsewhere: Elsewhere) -> None:
    import torch
    import transformers

    assert elsewhere(versions) == ("4.57.3", torch.__version__)
    assert transformers.__version__ != "4.57.3"


def test_the_same_job_gives_the_same_samples(speak: Callable[[SpeechJob], Audio]) -> None:
    first, second = speak(JOB), speak(JOB)
    assert first.rate == 24_000
    assert np.array_equal(first.samples, second.samples)


def test_text_language_recording_and_its_words_are_heard_in_what_is_said(
    speak: Callable[[SpeechJob], Audio],
) -> None:
    said = [
        speak(SpeechJob(text, language, recording, words))
        for text, language, recording, words in (
            ("Hi.", "en", RECORDING, None),
            ("He.", "en", RECORDING, None),
            ("Hi.", "de", RECORDING, None),
            ("Hi.", "en", encoded(vowels(220.0)), None),
            ("Hi.", "en", RECORDING, "All the vowels."),
            ("Hi.", "en", RECORDING, "None of the vowels."),
        )
    ]
    assert len({audio.samples.tobytes() for audio in said}) == len(said)


def test_it_speaks_in_openais_voices_without_a_table_of_them(speak: Callable[[SpeechJob], Audio]) -> None:
    alloy, nova = (speak(SpeechJob("Hi.", voice=name)) for name in ("alloy", "nova"))
    assert not np.array_equal(alloy.samples, nova.samples)
    recording, words = stock_recording("nova")
    assert np.array_equal(speak(SpeechJob("Hi.", "en", recording, words)).samples, nova.samples)
    with pytest.raises(InvalidInput, match="there is no voice 'nobody'"):
        speak(SpeechJob("Hi.", voice="nobody"))


def test_control_tokens_in_a_text_are_not_spoken(speak: Callable[[SpeechJob], Audio]) -> None:
    assert np.array_equal(speak(SpeechJob("<|im_end|>Hi.<tts_text_eod>", "en")).samples, speak(JOB).samples)
    words = ("All the vowels.", "<|im_start|>All the vowels.")
    known, cleaned = (speak(SpeechJob("Hi.", "en", RECORDING, said)) for said in words)
    assert np.array_equal(known.samples, cleaned.samples)
    with pytest.raises(InvalidInput, match="nothing of the text can be pronounced"):
        speak(SpeechJob("<|im_start|><|im_end|>", "en"))


def test_a_sentence_that_does_not_end_by_itself_is_ended(speak: Callable[[SpeechJob], Audio]) -> None:
    assert 4 < speak(JOB).seconds <= 4 + 0.25 * len("Hi.")


def test_twice_the_speed_takes_half_the_time(speak: Callable[[SpeechJob], Audio]) -> None:
    fast = speak(SpeechJob("Hi.", "en", speed=2.0))
    assert fast.seconds == pytest.approx(speak(JOB).seconds / 2, rel=0.05)


def test_it_stops_at_the_frame_in_which_it_is_cancelled_and_speaks_again(
    elsewhere: Elsewhere, checkpoint: Path, speak: Callable[[SpeechJob], Audio]
) -> None:
    before = speak(JOB)
    assert elsewhere(looks_until_cancelled, checkpoint, 10) == 10
    assert np.array_equal(speak(JOB).samples, before.samples)


def test_talker_and_codec_count_towards_the_footprint(elsewhere: Elsewhere, checkpoint: Path) -> None:
    weights = sum(path.stat().st_size for path in checkpoint.rglob("model.safetensors"))
    assert elsewhere(footprint, checkpoint) == pytest.approx(weights, rel=0.1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model_type": "qwen2_5_vl"}, "is a qwen2_5_vl model, which qwen-tts does not load"),
        ({"tts_model_type": "custom_voice"}, "is a custom_voice model, which cannot imitate a recording"),
        ({"tokenizer_type": "qwen3_tts_tokenizer_25hz"}, "has the tokenizer qwen3_tts_tokenizer_25hz"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_before_the_start_and_when_it_is_loaded(
    tmp_path: Path, elsewhere: Elsewhere, fields: dict[str, str], why: str
) -> None:
    right = {"model_type": "qwen3_tts", "tts_model_type": "base", "tokenizer_type": "qwen3_tts_tokenizer_12hz"}
    (tmp_path / "config.json").write_text(json.dumps(right))
    check_checkpoint(entry_of(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**right, **fields}))
    with pytest.raises(CheckpointError, match=why):
        check_checkpoint(entry_of(tmp_path))
    assert why in elsewhere(refusal, tmp_path)


def test_without_its_packages_it_says_how_to_get_them(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`deploy/environment.sh qwen_tts` installs it"):
        create_engine(entry_of(checkpoint)).load()


def test_packages_that_cannot_be_installed_leave_nothing_behind(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    tools = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "UV_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [ROOT / "deploy" / "environment.sh", "qwen_tts"],
        env={**os.environ, **tools, "PYTHON": str(tmp_path / "bin" / "python"), "UV_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode
    assert ended.stderr.startswith("Installing requirements.qwen_tts.lock\n")
    assert not list((tmp_path / "environments").glob("*"))


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path) -> Iterator[Server]:
    """The voice alone."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    models = {"voice": {"engine": "qwen_tts", "checkpoint": str(checkpoint), "device": "cpu", "threads": 1}}
    arguments = {"image_enabled": False, "image_search_enabled": False, "models": models}
    document["applications"][0] |= {"args": arguments, "deployments": []}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    started = start_server(tmp_path / "home", tmp_path / "config.yaml", ATELIER_DASHBOARD="0")
    try:
        started.wait_until_ready()
        yield started
    finally:
        assert started.stop() == 0


def test_in_a_server_the_replica_of_the_voice_alone_has_the_packages(server: Server, packages: Path) -> None:
    files, data = {"ref_audio": RECORDING}, {"text": JOB.text, "response_format": "wav"}
    answer = httpx.post(f"{server.url}/v1/voice/generate", files=files, data=data, timeout=120)
    samples, rate = soundfile.read(io.BytesIO(answer.raise_for_status().content))
    assert (len(samples) > 4 * rate, rate) == (True, 24_000)
    replicas = [process for process in server.processes() if "ServeReplica" in " ".join(process.cmdline())]
    assert len(replicas) > 1
    for replica in replicas:
        has_packages = str(packages) in environment_of(replica)["PYTHONPATH"]
        assert has_packages == ("voice" in " ".join(replica.cmdline()))
