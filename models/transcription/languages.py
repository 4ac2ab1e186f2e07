"""Languages by their tags and English names, as callers write them and as transcripts name them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Final

from models.errors import InvalidInput

NAMES: Final[dict[str, str]] = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fil": "filipino",
    "fo": "faroese", "fr": "french", "ga": "irish", "gl": "galician", "gu": "gujarati", "ha": "hausa",
    "haw": "hawaiian", "he": "hebrew", "hi": "hindi", "hr": "croatian", "ht": "haitian creole", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "ig": "igbo", "is": "icelandic", "it": "italian", "ja": "japanese",
    "jv": "javanese", "jw": "javanese", "ka": "georgian", "kk": "kazakh", "km": "khmer", "kn": "kannada",
    "ko": "korean", "ku": "kurdish", "ky": "kyrgyz", "la": "latin", "lb": "luxembourgish", "ln": "lingala",
    "lo": "lao", "lt": "lithuanian", "lv": "latvian", "mg": "malagasy", "mi": "maori", "mk": "macedonian",
    "ml": "malayalam", "mn": "mongolian", "mr": "marathi", "ms": "malay", "mt": "maltese", "my": "burmese",
    "nb": "norwegian bokmål", "ne": "nepali", "nl": "dutch", "nn": "nynorsk", "no": "norwegian", "oc": "occitan",
    "pa": "punjabi", "pl": "polish", "ps": "pashto", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sa": "sanskrit", "sd": "sindhi", "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sn": "shona",
    "so": "somali", "sq": "albanian", "sr": "serbian", "su": "sundanese", "sv": "swedish", "sw": "swahili",
    "ta": "tamil", "te": "telugu", "tg": "tajik", "th": "thai", "tk": "turkmen", "tl": "tagalog", "tr": "turkish",
    "tt": "tatar", "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "xh": "xhosa", "yi": "yiddish",
    "yo": "yoruba", "yue": "cantonese", "zh": "chinese", "zu": "zulu",
}  # fmt: skip
"""Primary BCP 47 subtag → English name, small letters as in OpenAI's transcripts; what recognisers of speech know."""
_TAGS: Final = {name: tag for tag, name in NAMES.items()}
_OTHER: Final = {"fil": "tl", "tl": "fil", "jv": "jw", "jw": "jv", "nb": "no", "no": "nb"}
"""Tags of one language: BCP 47's and Whisper's."""


def language_tag(value: str | None, known: Collection[str], param: str = "language") -> str | None:
    """The primary tag of a language's name or tag: "English" and "en-GB" are "en"; None for none and for "auto".

    `known` are the tags that the model has; empty where it does not tell, and then every language passes.

    Raises:
        InvalidInput: it is no language, or none that the model has; the message lists those.
    """
    given = (value or "").strip().casefold()
    if given in ("", "auto"):
        return None
    if given in known:
        return given
    tag = _TAGS.get(given)
    if tag is None:
        import langcodes  # slow, and only needed where a tag is given

        with suppress(langcodes.tag_parser.LanguageTagError):
            tag = langcodes.Language.get(given).language
    if tag is not None and tag not in known and _OTHER.get(tag) in known:
        tag = _OTHER[tag]
    if tag is None or (tag not in known if known else tag not in NAMES):
        listed = ", ".join(f"{each} ({name_of(each)})" for each in sorted(known or NAMES))
        raise InvalidInput(f"{value!r} is not a language that this model knows; allowed are auto, {listed}", param)
    return tag


def name_of(tag: str) -> str:
    """The English name of a language, or its tag where we have none."""
    return NAMES.get(tag, tag)
