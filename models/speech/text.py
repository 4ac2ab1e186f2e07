"""What is said and in which language, before any voice says it; shared by all speech engines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from models.errors import InvalidInput
from models.tasks import SpeechJob

LANGUAGES: dict[str, tuple[str, ...]] = {
    "zh": ("Chinese", "中文", "汉语", "漢語", "Mandarin", "cmn"),
    "en": ("English",),
    "ja": ("Japanese", "日本語"),
    "ko": ("Korean", "한국어"),
    "de": ("German", "Deutsch"),
    "fr": ("French", "Français"),
    "ru": ("Russian", "Русский"),
    "pt": ("Portuguese", "Português"),
    "es": ("Spanish", "Español"),
    "it": ("Italian", "Italiano"),
}
"""Primary BCP 47 subtag → names that callers use for it, the English one first."""

LATIN = "en"
"""What a text in Latin script is taken for."""
WRITTEN_IN_LATIN = ("en", "de", "fr", "pt", "es", "it")

_SECONDS = 4.0
_SECONDS_PER_BYTE = 0.25

_BY_NAME = {name.casefold(): tag for tag, names in LANGUAGES.items() for name in names}

_ROUND, _SQUARE, _CURLY = r"[(（][^()（）]*[)）]", r"[\[［【][^\[\]［］【】]*[\]］】]", r"[{｛][^{}｛｝]*[}｝]"
_STAGE_DIRECTION = re.compile(f"{_ROUND}|{_SQUARE}|{_CURLY}")
_LOST_SPACE = re.compile(r"\s+([,.!?;:、。，！？；：…])")
_SENTENCE_END = re.compile(r"(?<=[.!?…])(?=\s)|(?<=[.!?…][\"'”’»)])(?=\s)|(?<=[。！？])(?![。！？」』”’])|\n")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s|(?<=[、，；：])|\s[-–—]\s")


def normalise_language(value: str | None, allowed: Iterable[str], param: str = "language") -> str:
    """The BCP 47 tag of a language's name or tag: "Korean" → "ko", "en_gb" → "en-GB"; "auto" for none.

    `allowed` are the primary subtags that the engine speaks. A script is dropped, a region is kept.

    Raises:
        InvalidInput: none of them; the message lists what is allowed.
    """
    given = (value or "").strip()
    if given.casefold() in ("", "auto"):
        return "auto"
    allowed = tuple(allowed)
    tag, region = _BY_NAME.get(given.casefold()), None
    if tag is None:
        import langcodes  # slow, and only needed where a tag is given

        with suppress(langcodes.tag_parser.LanguageTagError):
            parsed = langcodes.Language.get(given)
            tag, region = parsed.language, parsed.territory
    if tag not in allowed:
        listed = ", ".join(f"{known} ({language_name(known)})" for known in allowed)
        raise InvalidInput(f"{given!r} is not a language that this voice speaks; allowed are auto, {listed}", param)
    return f"{tag}-{region}" if region else tag


def detect_language(text: str) -> str:
    """The language by script: Hangul is Korean, kana Japanese, Han alone Chinese, Cyrillic Russian, all else English.

    The first of these that occurs wins, in this order: a Korean sentence may hold a Latin word or a Han one.
    """
    scripts = {_script(char) for char in text}
    for script, tag in (("HANGUL", "ko"), ("KANA", "ja"), ("CJK", "zh"), ("CYRILLIC", "ru")):
        if script in scripts:
            return tag
    return LATIN


def language_name(tag: str) -> str:
    """The English name of a language, or its tag where we have none."""
    return LANGUAGES[tag][0] if tag in LANGUAGES else tag


def spoken_text(text: str, param: str = "text") -> str:
    """The text without its stage directions, that is without passages in round, square and curly brackets.

    Full-width brackets and 【】 count, quotation marks 「」『』 do not. Whitespace becomes single spaces, line
    breaks stay.

    Raises:
        InvalidInput: no letter and no digit is left.
    """
    text, before = _plain(text), None
    while before != text:  # innermost first, so that nested brackets go too
        before, text = text, _STAGE_DIRECTION.sub(" ", text)
    text = _tidy(text)
    if not _is_spoken(text):
        raise InvalidInput(
            "there is nothing to speak: passages in brackets are not spoken, and without them no word is left", param
        )
    return text


def literal_text(text: str) -> str:
    """The whole text, brackets included, its whitespace as in `spoken_text`; empty where it has no letter or digit."""
    text = _tidy(_plain(text))
    return text if _is_spoken(text) else ""


def text_of(job: SpeechJob) -> str:
    """What is spoken of a job's text; empty only where it is literal. Raises as `spoken_text` does."""
    return literal_text(job.text) if job.is_literal else spoken_text(job.text)


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def _tidy(text: str) -> str:
    lines = (_LOST_SPACE.sub(r"\1", " ".join(line.split())) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def sentences(text: str, at_least: int = 20, at_most: int = 300, first_at_most: int = 120) -> list[str]:
    """The text in pieces to be spoken one after the other, cut at sentence ends.

    Pieces shorter than `at_least` characters are joined with the next one (so "Dr. Kim" stays whole), longer ones than
    `at_most` are cut at a comma, else at a space, else anywhere. The first one is shorter, since somebody waits for it.
    """
    found: list[str] = []
    for number, sentence in enumerate(_SENTENCE_END.split(text)):
        for piece in _shortened(sentence.strip(), at_most, min(first_at_most, at_most) if number == 0 else at_most):
            if found and (len(found[-1]) < at_least or not _is_spoken(piece)):
                found[-1] = f"{found[-1]} {piece}"
            else:
                found.append(piece)
    if len(found) > 1 and (len(found[-1]) < at_least or not _is_spoken(found[0])):
        found[-2:] = [" ".join(found[-2:])]
    return found


def is_one_sentence(job: SpeechJob) -> bool:
    """Whether a job's text is spoken in one piece. Raises as `spoken_text` does."""
    return len(sentences(text_of(job))) <= 1


def pronounceable(text: str, control_tokens: Iterable[str]) -> str:
    """The text without what a model's tokenizer would take for a command; empty where no word is left."""
    for token in control_tokens:
        text = text.replace(token, " ")
    return text.strip() if _is_spoken(text) else ""


def most_seconds(sentence: str) -> float:
    """Longer than any speaker takes for a sentence, in any of the languages; a model that goes on is lost.

    Four times what a slow speaker takes for a byte of UTF-8.
    """
    return _SECONDS + _SECONDS_PER_BYTE * len(sentence.encode())


def _shortened(sentence: str, at_most: int, first_at_most: int) -> list[str]:
    if len(sentence) <= first_at_most:
        return [sentence] if sentence else []
    ends = [match.end() for match in _CLAUSE_END.finditer(sentence, 0, first_at_most)]
    cut = ends[-1] if ends else sentence.rfind(" ", 1, first_at_most)
    cut = cut if cut > 0 else first_at_most
    return [sentence[:cut].strip(), *_shortened(sentence[cut:].strip(), at_most, at_most)]


def _is_spoken(piece: str) -> bool:
    return any(char.isalnum() for char in piece)


def _script(char: str) -> str:
    if not char.isalpha():
        return ""
    name = unicodedata.name(char, "").removeprefix("HALFWIDTH ")
    return "KANA" if name.startswith(("HIRAGANA", "KATAKANA")) else name.split(" ", 1)[0]
