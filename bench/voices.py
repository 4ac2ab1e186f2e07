"""A page to listen to the built-in voice, `docs/voices/index.html`, and the table of its pitches: `make samples`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from bench.overhead import ROOT
from models.catalog import create_engine
from models.speech import espeak_ng
from models.speech.audio_writing import write_audio
from models.speech.engine import SpeechEngine
from models.speech.speaker import change_voice, median_pitch
from models.tasks import Audio, SpeechJob
from settings import load

TEXTS = {
    "English": "Good morning to all of you. The meeting begins at nine, and nobody should be late.",
    "Korean": "안녕하세요. 오늘은 날씨가 아주 좋아서 공원에 갔습니다.",
    "Japanese": "おはようございます。今日は東京で友達に会いました。",
    "Chinese": "你好，世界。今天天气很好，我们去公园玩。",
}
SPEAKERS = {
    "a low man": (85, 0.95),
    "a man": (115, 1.0),
    "a woman": (205, 1.15),
    "a child": (290, 1.25),
}
"""References: espeak-ng, saying something else, at a pitch in Hz and with a build."""
REFERENCE_TEXT = "Please call Stella and ask her to bring these things with her from the store."

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier: the built-in voice</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  table { border-collapse: collapse; margin: 1rem 0 2rem } td, th { padding: .3rem .8rem; text-align: left }
  tr { border-bottom: 1px solid #ddd } audio { width: 15rem; height: 2rem; vertical-align: middle }
  @media (prefers-color-scheme: dark) { body { background: #161616; color: #ddd } tr { border-color: #444 } }
</style>
<h1>The built-in voice</h1>
<p>hibari speaks English, espeak-ng, a formant synthesiser, the other languages; Praat gives them a speaker's pitch and
build. It needs no GPU and no download. All of this was spoken by <code>make samples</code>.</p>
<h2>Like a recording</h2>
<p>Each row begins with the recording that is imitated. The pitch is Praat's median in Hz.</p>
$imitations
<h2>By name</h2>
<p>OpenAI's voice names, all saying: <q>$text</q></p>
$names
</html>
""")


def main() -> None:
    """Speak, measure and write."""
    folder = ROOT / "docs" / "voices"
    folder.mkdir(parents=True, exist_ok=True)
    entry = load(ROOT / "serve_config.yaml", {}).models["voice"]
    engine = create_engine(entry)
    assert isinstance(engine, SpeechEngine)
    engine.load()
    page = _PAGE.substitute(
        imitations=imitations(engine, folder), names=names(engine, folder), text=escape(TEXTS["English"])
    )
    (folder / "index.html").write_text(page)


def imitations(engine: SpeechEngine[Any], folder: Path) -> str:
    """A row for each speaker: the reference and what is said like it."""
    rows = [["speaker", "recording", *TEXTS]]
    for speaker, (pitch, build) in SPEAKERS.items():
        reference = change_voice(espeak_ng.speak(REFERENCE_TEXT, "en-us"), pitch, build)
        cells = [escape(speaker), sound(folder, f"{speaker} reference", reference)]
        for language, text in TEXTS.items():
            spoken = engine.speak(SpeechJob(text, reference=write_audio(reference, "wav")))
            cells.append(sound(folder, f"{speaker} {language}", spoken))
        rows.append(cells)
    return table(rows)


def names(engine: SpeechEngine[Any], folder: Path) -> str:
    """A row for each voice that the engine knows by name."""
    rows = [["voice", "sound"]]
    for name in engine.names(engine.entry):
        spoken = engine.speak(SpeechJob(TEXTS["English"], voice=name))
        rows.append([escape(name), sound(folder, name, spoken)])
    return table(rows)


def sound(folder: Path, name: str, audio: Audio) -> str:
    """Write an MP3; the cell that plays it and tells its pitch."""
    file = folder / f"{name.replace(' ', '-').lower()}.mp3"
    file.write_bytes(write_audio(audio, "mp3", "AI-generated speech"))
    return f'<audio controls preload="none" src="{file.name}"></audio> {median_pitch(audio) or 0:.0f} Hz'


def table(rows: list[list[str]]) -> str:
    """An HTML table, whose first row is its head."""
    head, *body = rows
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body]
    return f"<table>\n{chr(10).join(lines)}\n</table>"


if __name__ == "__main__":
    main()
