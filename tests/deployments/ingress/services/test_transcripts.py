"""Transcripts as clients read them."""

from __future__ import annotations

from deployments.ingress.services.transcripts import Transcript, srt, vtt
from models.tasks import TranscriptSegment


def test_what_is_said_is_never_read_as_markup_or_as_times() -> None:
    said = Transcript([TranscriptSegment("a < b & c --> d", 0.0, 1.5)], "en", 1.5)
    assert vtt(said) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na &lt; b &amp; c --&gt; d\n\n"
    assert srt(said) == "1\n00:00:00,000 --> 00:00:01,500\na < b & c -> d\n\n"
