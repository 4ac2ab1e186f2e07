"""Transcripts as clients read them: text, subtitles, or JSON with times."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

from models.tasks import TranscriptPiece, TranscriptSegment
from models.transcription.languages import name_of

_NO_SPACES: Final = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "FULLWIDTH")
"""How the names of characters begin whose scripts put no spaces between words."""
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Transcript:
    """A whole recording written down. `language` is a BCP 47 tag, None where nobody knows it; `seconds` its length."""

    segments: Sequence[TranscriptSegment]
    language: str | None
    seconds: float
    ignored: Collection[str] = ()

    @property
    def text(self) -> str:
        """What is said in it."""
        return "".join(spaced(segment.text for segment in self.segments))


async def gathered(pieces: AsyncIterator[TranscriptPiece]) -> Transcript:
    """The transcript that comes in pieces."""
    segments: list[TranscriptSegment] = []
    last = TranscriptPiece()
    async for last in pieces:
        segments += last.segments
    return Transcript(segments, last.language, last.seconds or 0.0, last.ignored)


def spaced(texts: Iterable[str], before: str = "") -> list[str]:
    """The texts such that they can be joined as they are; `before` is what stands before the first."""
    found = []
    for text in texts:
        space = " " if before and not (_has_no_spaces(before[-1]) or _has_no_spaces(text[0])) else ""
        found.append(space + text)
        before = text
    return found


def verbose(
    transcript: Transcript, task: Literal["transcribe", "translate"], granularities: Collection[str], temperature: float
) -> dict[str, Any]:
    """`verbose_json`. `avg_logprob` is 0 where the model tells none: the SDKs need the key."""
    language = "english" if task == "translate" else name_of(transcript.language or _UNKNOWN)
    shown: dict[str, Any] = {
        "task": task,
        "language": language,
        "duration": transcript.seconds,
        "text": transcript.text,
    }
    if not granularities or "segment" in granularities:
        shown["segments"] = [_segment(*numbered, temperature) for numbered in enumerate(transcript.segments)]
    if "word" in granularities:
        words = (word for segment in transcript.segments for word in segment.words)
        shown["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
    return {**shown, "usage": duration(transcript)}


def duration(transcript: Transcript) -> dict[str, Any]:
    """What the recording counts for."""
    return {"type": "duration", "seconds": transcript.seconds}


def srt(transcript: Transcript) -> str:
    """SubRip subtitles."""
    cues = (
        f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n{_cue(each.text)}\n\n"
        for number, each in enumerate(transcript.segments, 1)
    )
    return "".join(cues)


def vtt(transcript: Transcript) -> str:
    """WebVTT subtitles."""
    cues = (
        f"{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n{escape(each.text, quote=False)}\n\n"
        for each in transcript.segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _segment(number: int, segment: TranscriptSegment, temperature: float) -> dict[str, Any]:
    text = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.start * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": temperature,
        "avg_logprob": round(segment.log_probability, 4),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 3),
        "no_speech_prob": round(segment.no_speech, 3),
    }


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _cue(text: str) -> str:
    """Text that no player takes for the times of a cue."""
    return text.replace("-->", "->")


def _has_no_spaces(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_NO_SPACES)
