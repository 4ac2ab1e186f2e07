"""`atelier say`, as a user runs it: in a process of its own, against a running server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.environment import free_ports
from cli.say import FORMATS
from models.speech.audio_writing import MEDIA_TYPES
from tests.api.test_cli_search import User
from tests.api.test_voice import median_pitch, recording
from tests.servers import Server

TEXT = "Good morning to all of you. The meeting begins at nine, and nobody should be late. It ends at noon."


class Speaker(User):
    """Somebody who has something said."""

    command = "say"


@pytest.fixture
def user(server: Server, tmp_path: Path) -> User:
    return Speaker(server.url, tmp_path / "home")


def test_a_text_becomes_the_file_that_is_named_and_nothing_else(user: User, tmp_path: Path) -> None:
    folder = tmp_path / "spoken"
    folder.mkdir()
    (folder / "morning.mp3").write_text("an older one")
    said = user.run(TEXT, "--out", folder / "morning.mp3")
    assert said.startswith(f"{folder}/morning.mp3: ")
    samples, rate = soundfile.read(folder / "morning.mp3")
    assert 4 < len(samples) / rate < 10
    assert [each.name for each in folder.iterdir()] == ["morning.mp3"]


def test_voice_language_and_format_are_as_asked(user: User, tmp_path: Path) -> None:
    user.run("Bonjour à tous.", "--voice", "onyx", "--model", "voice", "--language", "fr", "--out", tmp_path / "a.WAV")
    assert median_pitch((tmp_path / "a.WAV").read_bytes()) == pytest.approx(85, rel=0.06)
    said = user.run("12", "--language", "en", "--out", tmp_path / "en.pcm", "--json")
    size = (tmp_path / "en.pcm").stat().st_size
    assert json.loads(said) == {"file": str(tmp_path / "en.pcm"), "format": "pcm", "bytes": size}
    user.run("12", "--language", "German", "--out", tmp_path / "de.pcm")
    assert (tmp_path / "en.pcm").read_bytes() != (tmp_path / "de.pcm").read_bytes()


def test_it_speaks_like_a_recording(user: User, tmp_path: Path) -> None:
    (tmp_path / "ann.wav").write_bytes(recording(pitch=190))
    user.run(TEXT, "--ref-audio", tmp_path / "ann.wav", "--out", tmp_path / "a.flac")
    samples, rate = soundfile.read(tmp_path / "a.flac")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples), rate, format="WAV")
    assert median_pitch(buffer.getvalue()) == pytest.approx(190, rel=0.06)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Hello.", "--voice", "nobody"], "voice: there is no voice 'nobody'"),
        (["Hello.", "--model", "blip"], "the model 'blip' is of kind"),
        (["Hello.", "--language", "Klingon"], "'Klingon' is not a language"),
        (["Hello.", "--ref-audio", "{folder}/none"], "--ref-audio: {folder}/none: No such file"),
        (["Hello.", "--ref-audio", "{folder}/text.mp3"], "the recording is not a sound file"),
        (["Hello.", "--ref-audio", "{folder}/text.mp3", "--voice", "nova"], "--voice: 'nova': does not go with"),
        (["Hello.", "--ref-audio", "{folder}/text.mp3", "--model", "voice"], "--model: 'voice': does not go with"),
        (["Hello.", "--out", "{folder}/a.midi"], "--out: {folder}/a.midi: the name of a file is needed that ends in "),
        (["Hello.", "--out", "{folder}/none/a.mp3"], "--out: there is no folder {folder}/none"),
        (["Hello.", "--out", "{folder}/folder.mp3"], "--out: {folder}/folder.mp3 is a folder"),
        (["Hello.", "--url", "here:80"], "'here:80': a URL such as http://"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(user: User, arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("this is text")
    (tmp_path / "folder.mp3").mkdir()
    before = sorted(tmp_path.rglob("*"))
    given = [each.format(folder=tmp_path) for each in ["--out", "{folder}/a.mp3", *arguments]]
    errors = user.run(*given, status=2)
    assert errors.startswith("atelier: ")
    assert said.format(folder=tmp_path) in errors
    assert errors.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_where_no_server_answers_it_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    errors = Speaker("", tmp_path / "home", PORT=str(port)).run("Hello.", "--out", tmp_path / "a.mp3", status=1)
    assert errors.startswith(f"atelier: no server answers at http://127.0.0.1:{port} (")
    assert list(tmp_path.iterdir()) == []


def test_every_format_of_the_server_can_be_asked_for() -> None:
    assert set(FORMATS) == set(MEDIA_TYPES)
