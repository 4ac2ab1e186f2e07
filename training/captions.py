"""What people say of a scene, in English, Korean and Japanese: the words of the built-in world and its captions.

The tables list every word that a language has for a colour, shape, size or place, the plainest first. Captions come
in three kinds: `caption` (many phrasings, may leave things out, as an image prompt does), `full_caption` (many
phrasings, names everything, for retrieval) and `canonical_caption` (one fixed phrasing, for captioners).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from training.world import PLACES, Colour, Place, Scene, Shape, Size, Thing

Language = Literal["en", "ko", "ja"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

COLOUR_ADJECTIVES: dict[Language, dict[Colour, tuple[str, ...]]] = {
    "en": {
        "red": ("red",),
        "green": ("green",),
        "blue": ("blue",),
        "yellow": ("yellow",),
        "purple": ("purple", "violet"),
        "orange": ("orange",),
        "white": ("white",),
        "black": ("black",),
    },
    "ko": {
        "red": ("빨간색", "빨간"),
        "green": ("초록색", "녹색", "초록"),
        "blue": ("파란색", "파란"),
        "yellow": ("노란색", "노란"),
        "purple": ("보라색", "보랏빛"),
        "orange": ("주황색", "오렌지색"),
        "white": ("흰색", "하얀", "하얀색", "흰"),
        "black": ("검은색", "검은", "검정색", "까만"),
    },
    "ja": {
        "red": ("赤い", "赤色の", "赤の"),
        "green": ("緑の", "緑色の"),
        "blue": ("青い", "青色の", "青の"),
        "yellow": ("黄色い", "黄色の"),
        "purple": ("紫の", "紫色の"),
        "orange": ("オレンジ色の", "オレンジの"),
        "white": ("白い", "白色の", "白の"),
        "black": ("黒い", "黒色の", "黒の"),
    },
}
"""Words that stand before a shape or "background"."""

COLOUR_NOUNS: dict[Language, dict[Colour, tuple[str, ...]]] = {
    "en": COLOUR_ADJECTIVES["en"],
    "ko": {
        "red": ("빨간색", "빨강"),
        "green": ("초록색", "녹색", "초록"),
        "blue": ("파란색", "파랑"),
        "yellow": ("노란색", "노랑"),
        "purple": ("보라색", "보라"),
        "orange": ("주황색", "오렌지색", "주황"),
        "white": ("흰색", "하얀색", "하양"),
        "black": ("검은색", "검정", "검정색"),
    },
    "ja": {
        "red": ("赤", "赤色"),
        "green": ("緑", "緑色"),
        "blue": ("青", "青色"),
        "yellow": ("黄色",),
        "purple": ("紫", "紫色"),
        "orange": ("オレンジ色", "オレンジ"),
        "white": ("白", "白色"),
        "black": ("黒", "黒色"),
    },
}
"""The colour by its own name, as in an answer."""

SHAPE_NOUNS: dict[Language, dict[Shape, tuple[str, ...]]] = {
    "en": {
        "circle": ("circle", "disc"),
        "square": ("square",),
        "triangle": ("triangle",),
        "star": ("star",),
        "heart": ("heart",),
        "ring": ("ring", "hoop"),
        "cross": ("cross", "plus sign"),
        "diamond": ("diamond", "rhombus"),
    },
    "ko": {
        "circle": ("원", "동그라미"),
        "square": ("사각형", "정사각형", "네모"),
        "triangle": ("삼각형", "세모"),
        "star": ("별", "별 모양"),
        "heart": ("하트", "하트 모양"),
        "ring": ("고리", "링"),
        "cross": ("십자가", "십자"),
        "diamond": ("마름모", "다이아몬드"),
    },
    "ja": {
        "circle": ("円", "丸"),
        "square": ("四角形", "正方形", "四角"),
        "triangle": ("三角形", "三角"),
        "star": ("星", "星形"),
        "heart": ("ハート", "ハート形"),
        "ring": ("輪", "リング"),
        "cross": ("十字", "十字形"),
        "diamond": ("ひし形", "ダイヤ", "菱形"),
    },
}

SIZE_ADJECTIVES: dict[Language, dict[Size, tuple[str, ...]]] = {
    "en": {"big": ("big", "large"), "small": ("small", "little", "tiny")},
    "ko": {"big": ("큰", "커다란"), "small": ("작은", "조그만")},
    "ja": {"big": ("大きい", "大きな"), "small": ("小さい", "小さな")},
}

PLACE_NOUNS: dict[Language, dict[Place, tuple[str, ...]]] = {
    "en": {
        "left": ("left", "left side"),
        "right": ("right", "right side"),
        "top": ("top",),
        "bottom": ("bottom",),
        "centre": ("centre", "center", "middle"),
    },
    "ko": {
        "left": ("왼쪽",),
        "right": ("오른쪽",),
        "top": ("위쪽", "위"),
        "bottom": ("아래쪽", "아래"),
        "centre": ("가운데", "중앙"),
    },
    "ja": {
        "left": ("左", "左側"),
        "right": ("右", "右側"),
        "top": ("上", "上側"),
        "bottom": ("下", "下側"),
        "centre": ("中央", "真ん中"),
    },
}

SHAPE_WORD: dict[Language, str] = {"en": "shape", "ko": "도형", "ja": "図形"}
BACKGROUND_WORD: dict[Language, str] = {"en": "background", "ko": "배경", "ja": "背景"}
COUNTS: dict[Language, tuple[str, ...]] = {
    "en": ("no", "one", "two", "three"),
    "ko": ("없는", "한", "두", "세"),
    "ja": ("ない", "一つの", "二つの", "三つの"),
}
"""How many, as it stands before "shapes" ("two shapes", "도형 두 개" takes the same word before 개, "二つの図形")."""

_AT: dict[Place, str] = {"left": "on", "right": "on", "top": "at", "bottom": "at", "centre": "in"}

LEAD_INS = ("a picture of", "an image of", "a photo of", "a drawing of", "a photograph of", "an illustration of")
"""What English captions may begin with and a caller may give a captioner to continue."""
_ENGLISH_ORDERS = (
    "draw", "please draw", "paint", "create", "make", "generate", "show me", "draw me",
    "draw a picture of", "create an image of", "generate an image of", "make a picture with", "I want", "I would like",
    "could you draw",
)  # fmt: skip
_KOREAN_REQUESTS = ("그려 줘", "그려줘", "그려 주세요", "만들어 줘", "보여 줘", "그려라", "생성해 줘", "그려 줄래요?")
_JAPANESE_REQUESTS = ("描いて", "描いてください", "書いてください", "作って", "作ってください", "生成して", "見せて")


def pick(words: Sequence[str], rng: np.random.Generator) -> str:
    """One of the words, the first twice as often as all others together when there are others."""
    if len(words) == 1 or rng.random() < 0.6:
        return words[0]
    return words[int(rng.integers(1, len(words)))]


def article(phrase: str) -> str:
    """The English phrase with "a" or "an" before it."""
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def with_particle(word: str, after_consonant: str, after_vowel: str) -> str:
    """The Korean word with the particle that its last syllable asks for ("원이", "하트가")."""
    last = ord(word[-1]) - 0xAC00
    closed = 0 <= last < 11172 and last % 28 != 0
    return word + (after_consonant if closed else after_vowel)


def towards(word: str) -> str:
    """The Korean word with (으)로, which takes 로 after ㄹ too."""
    closed_by_l = (ord(word[-1]) - 0xAC00) % 28 == 8
    return f"{word}로" if closed_by_l else with_particle(word, "으로", "로")


def place_phrase(place: Place, language: Language, rng: np.random.Generator | None = None) -> str:
    """Where, as an adverb: "on the left", "왼쪽에", "左に"; the plainest words without a generator."""
    nouns = PLACE_NOUNS[language][place]
    noun = nouns[0] if rng is None else pick(nouns, rng)
    match language:
        case "en":
            return f"{_AT[place]} the {noun}"
        case "ko":
            return f"{noun}에"
        case "ja":
            return f"{noun}に"


def join_words(phrases: Sequence[str], language: Language) -> str:
    """ "a, b and c", "a와 b와 c", "aとbとc"."""
    match language:
        case "en":
            return " and ".join([*([", ".join(phrases[:-1])] if phrases[:-1] else []), phrases[-1]])
        case "ko":
            return " ".join([*(with_particle(p, "과", "와") for p in phrases[:-1]), phrases[-1]])
        case "ja":
            return "と".join(phrases)


@dataclass(frozen=True)
class _Told:
    """What a caption does not leave out."""

    size: bool
    place: bool
    background: bool


def caption(scene: Scene, rng: np.random.Generator, language: Language = "en") -> str:
    """A caption or image prompt; may leave out size, place or, rarely, the background."""
    return _say(scene, rng, language, _Told(rng.random() < 0.75, rng.random() < 0.7, rng.random() < 0.93))


def full_caption(scene: Scene, rng: np.random.Generator, language: Language = "en") -> str:
    """A caption in any phrasing that names each thing's colour, shape, size and place, the background and the word."""
    return _say(scene, rng, language, _Told(size=True, place=True, background=True))


def canonical_caption(scene: Scene, language: Language = "en") -> str:
    """The one fixed caption that names everything, things in the order of `PLACES`.

    English is a noun phrase, lower case without a full stop, as captioners write: "a big red circle on the left of a
    blue background". Korean and Japanese are sentences.
    """
    things = sorted(scene.things, key=lambda t: PLACES.index(t.place))
    ground = f"{COLOUR_ADJECTIVES[language][scene.background][0]} {BACKGROUND_WORD[language]}"
    names = [_plain_name(t, language) for t in things]
    placed = [place_phrase(t.place, language) for t in things]
    match language:
        case "en":
            word = _english_word(scene, 'the {noun} "{word}"')
            told = [f"{article(n)} {p}" for n, p in zip(names, placed, strict=True)]
            if not told:
                return f"{word} at the bottom of {article(ground)}"
            tail = f", with {word} at the bottom" if word else ""
            return f"{join_words(told, language)} of {article(ground)}{tail}"
        case "ko":
            told = [f"{p} {with_particle(n, '이', '가')}" for n, p in zip(names, placed, strict=True)]
            if not told:
                return f'{ground} 아래쪽에 "{scene.word}"라고 쓰여 있습니다.'
            tail = f' 있고 아래쪽에 "{scene.word}"라고 쓰여 있습니다.' if scene.word else " 있습니다."
            return f"{ground} " + " 있고 ".join(told) + tail
        case "ja":
            ground = ground.replace(" ", "")
            told = [f"{p}{n}" for n, p in zip(names, placed, strict=True)]
            if not told:
                return f"{ground}の下に「{scene.word}」と書かれています。"
            tail = f"があり、下に「{scene.word}」と書かれています。" if scene.word else "があります。"
            return f"{ground}の" + "、".join(told) + tail


def _plain_name(thing: Thing, language: Language) -> str:
    words = (
        SIZE_ADJECTIVES[language][thing.size][0],
        COLOUR_ADJECTIVES[language][thing.colour][0],
        SHAPE_NOUNS[language][thing.shape][0],
    )
    return ("" if language == "ja" else " ").join(words)


def name_of(thing: Thing, language: Language, rng: np.random.Generator, *, size: bool, colour: bool = True) -> str:
    """Size, colour and shape without article, in this language's usual order."""
    words = [pick(SHAPE_NOUNS[language][thing.shape], rng)]
    if colour:
        words.insert(0, pick(COLOUR_ADJECTIVES[language][thing.colour], rng))
    if size:
        # In Korean and Japanese the colour may as well come first.
        swapped = language != "en" and colour and rng.random() < 0.2
        words.insert(1 if swapped else 0, pick(SIZE_ADJECTIVES[language][thing.size], rng))
    return ("" if language == "ja" else " ").join(words)


def _say(scene: Scene, rng: np.random.Generator, language: Language, told: _Told) -> str:
    match language:
        case "en":
            return as_typed(_english(scene, rng, told), rng)
        case "ko":
            return _korean(scene, rng, told)
        case "ja":
            return _japanese(scene, rng, told)


def either(rng: np.random.Generator, *choices: str) -> str:
    """One of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


# English


def as_typed(text: str, rng: np.random.Generator) -> str:
    """Perhaps with a capital and a full stop, as people happen to write."""
    manner = rng.random()
    if manner < 0.5:
        return text
    text = text[0].upper() + text[1:]
    return text if manner < 0.7 or text[-1] in ".?" else text + "."


def _english_word(scene: Scene, frame: str) -> str:
    if scene.word is None:
        return ""
    return frame.format(noun="number" if scene.word.isdigit() else "word", word=scene.word)


def _english(scene: Scene, rng: np.random.Generator, told: _Told) -> str:
    ground = f"{pick(COLOUR_ADJECTIVES['en'][scene.background], rng)} background"
    word = _english_word(scene, either(rng, '{noun} "{word}"', '{noun} "{word}"', "{noun} {word}", 'text "{word}"'))
    if not scene.things:
        subject = f"the {word}"
        return f"{_english_lead(rng)}{subject} {either(rng, 'on', 'against')} {article(ground)}"
    frame = rng.random()
    if frame < 0.16:
        return _english_list(scene, rng, told, ground, word)
    if frame < 0.24 and len(scene.things) == 1:
        return _english_apposition(scene, rng, told, ground, word)
    if frame < 0.34 and told.place:
        return _english_place_first(scene, rng, told, ground, word)
    return _english_phrase(scene, rng, told, ground, word)


def _english_lead(rng: np.random.Generator) -> str:
    chance = rng.random()
    if chance < 0.6:
        return ""
    return (either(rng, *LEAD_INS) if chance < 0.8 else either(rng, *_ENGLISH_ORDERS)) + " "


def _english_phrase(scene: Scene, rng: np.random.Generator, told: _Told, ground: str, word: str) -> str:
    """ "a big red circle on the left and a star at the top, on a blue background"."""
    relative = rng.random() < 0.06
    phrases = []
    for thing in scene.things:
        if relative:
            colour = pick(COLOUR_ADJECTIVES["en"][thing.colour], rng)
            phrase = f"{article(name_of(thing, 'en', rng, size=told.size, colour=False))} that is {colour}"
        else:
            phrase = article(name_of(thing, "en", rng, size=told.size))
        phrases.append(f"{phrase} {place_phrase(thing.place, 'en', rng)}" if told.place else phrase)
    if len(phrases) == 2 and not told.place and rng.random() < 0.3:
        things = either(rng, " next to ", " with ", " beside ", " together with ").join(phrases)
    else:
        things = join_words(phrases, "en")
    number = len(phrases)
    if rng.random() < (0.15 if number > 1 else 0.04):
        shapes = "shapes" if number > 1 else "shape"
        things = f"{COUNTS['en'][number]} {shapes}: {things}"
    with_word = f"{either(rng, ' and', ', with', ' with')} the {word}" if word else ""
    if word and rng.random() < 0.3:
        with_word += either(rng, " at the bottom", " below", " written below")
    if not told.background:
        return _english_lead(rng) + things + with_word
    frame = rng.random()
    if frame < 0.12:
        return f"{_english_lead(rng)}{article(ground)} with {things}{with_word}"
    if frame < 0.22:
        there = either(rng, "there is", "there are" if number > 1 else "there is", "I see", "the picture shows")
        return f"{there} {things}{with_word}. The background is {ground.removesuffix(' background')}."
    if frame < 0.4 and told.place and number == 1:
        return f"{_english_lead(rng)}{things} of {article(ground)}{with_word}"
    comma = either(rng, ",", "") if told.place or number > 1 else ""
    on = either(rng, "on", "on", "on", "with", "against", "over")
    behind = article(ground) if rng.random() < 0.9 else f"the {ground}"
    return f"{_english_lead(rng)}{things}{comma} {on} {behind}{with_word}"


def _english_list(scene: Scene, rng: np.random.Generator, told: _Told, ground: str, word: str) -> str:
    """ "big red circle left, blue background"."""
    parts = []
    for thing in scene.things:
        name = name_of(thing, "en", rng, size=told.size)
        if told.place:
            name += " " + (place_phrase(thing.place, "en", rng) if rng.random() < 0.6 else thing.place)
        parts.append(name)
    if word:
        parts.append(word)
    if told.background:
        parts.insert(0 if rng.random() < 0.2 else len(parts), ground)
    return ", ".join(parts)


def _english_apposition(scene: Scene, rng: np.random.Generator, told: _Told, ground: str, word: str) -> str:
    """ "a small star on the left, green, with a white background"."""
    (thing,) = scene.things
    text = article(name_of(thing, "en", rng, size=told.size, colour=False))
    if told.place:
        text += " " + place_phrase(thing.place, "en", rng)
    text += f", {pick(COLOUR_ADJECTIVES['en'][thing.colour], rng)}"
    if word:
        text += f", with the {word}"
    if told.background:
        text += f", {either(rng, 'with', 'on', 'against')} {article(ground)}"
    return _english_lead(rng) + text


def _english_place_first(scene: Scene, rng: np.random.Generator, told: _Told, ground: str, word: str) -> str:
    """ "on the left a red circle, on the right a star, blue background"."""
    is_ = either(rng, "", "", "is ", "there is ")
    parts = [
        f"{place_phrase(t.place, 'en', rng)} {is_}{article(name_of(t, 'en', rng, size=told.size))}"
        for t in scene.things
    ]
    if word:
        parts.append(f"{either(rng, 'below', 'at the bottom')} {is_}the {word}")
    if not told.background:
        return ", ".join(parts)
    if is_ or rng.random() < 0.4:
        return f"{either(rng, 'on', 'against')} {article(ground)}, " + ", ".join(parts)
    return ", ".join([*parts, f"{either(rng, '', 'with a ', 'with a ')}{ground}".replace("a orange", "an orange")])


# Korean


def _korean(scene: Scene, rng: np.random.Generator, told: _Told) -> str:
    ground = f"{pick(COLOUR_ADJECTIVES['ko'][scene.background], rng)} 배경"
    word = either(rng, '"{}"라는 글자', '글자 "{}"', "{}라는 글자").format(scene.word) if scene.word else ""
    parts = [
        (f"{place_phrase(t.place, 'ko', rng)} " if told.place else "", name_of(t, "ko", rng, size=told.size))
        for t in scene.things
    ]
    if word:
        parts.append(("아래에 " if told.place and rng.random() < 0.5 else "", word))
    frame = rng.random()
    if frame < 0.2:  # a list
        listed = [p.replace("에 ", " ") + n for p, n in parts]
        if told.background:
            listed.insert(0 if rng.random() < 0.2 else len(listed), ground)
        return ", ".join(listed)
    if frame < 0.5:  # there is
        ending = either(rng, "있다", "있습니다", "있어요", "있음")
        mark = "." if rng.random() < 0.5 else ""
        if told.place:
            things = " 있고 ".join(f"{p}{with_particle(n, '이', '가')}" for p, n in parts)
        else:
            things = with_particle(join_words([n for _, n in parts], "ko"), "이", "가")
        if not told.background:
            return f"{things} {ending}{mark}"
        if rng.random() < 0.3:
            colour = pick(COLOUR_NOUNS["ko"][scene.background], rng)
            return f"{things} 있고 배경은 {with_particle(colour, '이다', '다')}{mark}"
        if told.place and parts[0][0] and rng.random() < 0.4:
            return f"{ground}의 {things} {ending}{mark}"
        return f"{ground}에 {things} {ending}{mark}"
    things = join_words([f"{p.replace('에 ', '에 있는 ')}{n}" for p, n in parts], "ko")
    if frame < 0.65:  # a picture of
        behind = f", {ground}" if told.background else ""
        if told.background and rng.random() < 0.5:
            return f"{ground}에 {with_particle(things, '이', '가')} 있는 {either(rng, '그림', '이미지', '사진')}"
        return f"{things}{behind}" if rng.random() < 0.5 else f"{things}의 그림{behind}"
    behind = f"{ground}에 " if told.background else ""
    if frame < 0.85:  # a request
        if told.place and rng.random() < 0.5:
            things = ", ".join(p + n for p, n in parts)
        return f"{behind}{with_particle(things, '을', '를')} {either(rng, *_KOREAN_REQUESTS)}"
    return f"{behind}{things}"


# Japanese


def _japanese(scene: Scene, rng: np.random.Generator, told: _Told) -> str:
    ground = f"{pick(COLOUR_ADJECTIVES['ja'][scene.background], rng)}背景"
    word = either(rng, "「{}」という文字", "文字「{}」", "{}という文字").format(scene.word) if scene.word else ""
    parts = [
        (place_phrase(t.place, "ja", rng) if told.place else "", name_of(t, "ja", rng, size=told.size))
        for t in scene.things
    ]
    if word:
        parts.append(("下に" if told.place and rng.random() < 0.5 else "", word))
    frame = rng.random()
    if frame < 0.2:  # a list
        listed = [(p.removesuffix("に") + "の" if p else "") + n for p, n in parts]
        if told.background:
            listed.insert(0 if rng.random() < 0.2 else len(listed), ground)
        return "、".join(listed)
    placed = "、".join(p + n for p, n in parts)
    together = join_words([n for _, n in parts], "ja")
    things = placed if told.place else together
    if frame < 0.5:  # there is
        ending = either(rng, "あります", "ある", "見えます")
        mark = "。" if rng.random() < 0.5 else ""
        if not told.background:
            return f"{things}が{ending}{mark}"
        if rng.random() < 0.3:
            colour = pick(COLOUR_NOUNS["ja"][scene.background], rng)
            return f"{things}があり、背景は{colour}{either(rng, 'です', '')}{mark}"
        comma = either(rng, "の", "に、", "の") if told.place and parts[0][0] else "に"
        return f"{ground}{comma}{things}が{ending}{mark}"
    attributive = join_words([(p.removesuffix("に") + "の" if p else "") + n for p, n in parts], "ja")
    if frame < 0.65:  # a picture of
        if told.background and rng.random() < 0.5:
            return f"{ground}に{attributive}がある{either(rng, '絵', '画像', '写真')}"
        behind = f"、{ground}" if told.background else ""
        return attributive + (either(rng, "の絵", "の画像", "") + behind)
    behind = (f"{ground}に" + ("、" if told.place and rng.random() < 0.3 else "")) if told.background else ""
    if frame < 0.85:  # a request
        return f"{behind}{attributive if rng.random() < 0.5 else things}を{either(rng, *_JAPANESE_REQUESTS)}"
    return f"{behind}{attributive}"
