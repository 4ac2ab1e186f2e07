"""The voices under OpenAI's names: espeak-ng speaks them, and engines that only clone imitate recordings of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from models.checkpoints import local_folder
from models.errors import CheckpointError
from models.speech import espeak_ng
from models.speech.audio_writing import write_audio
from models.speech.speaker import Speaker, imitate

ESPEAK_VOICES = {
    "en": "en-us",
    "en-GB": "en-gb-x-rp",
    "ko": "ko",
    "ja": "ja",
    "zh": "cmn",
    "de": "de",
    "fr": "fr",
    "ru": "ru",
    "pt": "pt-br",
    "pt-PT": "pt",
    "es": "es",
    "es-MX": "es-419",
    "it": "it",
}
"""BCP 47 → espeak-ng's voice; a tag with another region is spoken like its language."""

KNOWN_SPEAKER = {
    "en": "The old man walked slowly down to the river with a small red bag.",
    "ko": "오늘은 날씨가 아주 좋아서 친구들과 공원에 갔습니다.",
    "ja": "きょうは てんきが いいので ともだちと こうえんに いきました。",
    "zh": "今天天气很好，我和朋友们一起去公园玩。",
}
"""What espeak-ng says to be measured as the speaker of build 1."""

_STOCK = "builtin:voice"


def stock_voices() -> tuple[str, ...]:
    """OpenAI's voice names, all of which the built-in synthesiser speaks in."""
    return tuple(speakers_of(voices_folder(_STOCK)))


@cache
def stock_recording(name: str) -> tuple[bytes, str]:
    """A recording of one of the `stock_voices`, for engines that need one, and what is said in it."""
    text = KNOWN_SPEAKER["en"]
    spoken = imitate(espeak_ng.speak(text, ESPEAK_VOICES["en"]), speakers_of(voices_folder(_STOCK))[name])
    return write_audio(spoken, "wav"), text


def voices_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint of espeak's, which has a voices.json.

    Raises:
        CheckpointError: it is not on disk.
    """
    folder = local_folder(checkpoint)
    if folder is None:
        raise CheckpointError(f"espeak's checkpoint is a folder with voices.json, not {checkpoint!r}")
    return folder


@cache  # every request needs them, and must not wait for a disk
def speakers_of(folder: Path) -> dict[str, Speaker]:
    """The speakers in a folder's voices.json, by name."""
    return TypeAdapter(dict[str, Speaker]).validate_json((folder / "voices.json").read_bytes())
