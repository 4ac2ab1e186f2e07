"""What people type to get a scene, in English, Korean and Japanese.

A prompt may leave out what is usual (in the middle, of middling size, on whichever ground), adds words that say
nothing, and names a style where the design is not the usual one.
"""

from __future__ import annotations

from typing import Final, cast

import numpy as np

from training.art.subjects import subjects
from training.captions import (
    BACKGROUND_WORD,
    COLOUR_ADJECTIVES,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    Language,
    article,
    as_typed,
    either,
    join_words,
    pick,
    place_phrase,
    with_particle,
)
from training.composer.scene import Figure, Scene
from training.composer.words import FILLERS, GROUND_NAMES, IN_GROUND, PLAIN_STYLE, QUALITY, STYLES
from training.world import Shape

_UNTOLD_GROUND: Final = 0.03
_PLURAL: Final = {"fish": "fish", "sheep": "sheep", "deer": "deer", "mouse": "mice", "ox": "oxen", "tooth": "teeth",
                  "foot": "feet", "man": "men", "woman": "women", "wolf": "wolves", "knife": "knives", "leaf": "leaves",
                  "goose": "geese", "person": "people", "policeman": "policemen"}  # fmt: skip
_UNCOUNTED: Final = frozenset({
    "grapes", "cherries", "blueberries", "pancakes", "peanuts", "french fries", "chopsticks", "noodles", "popcorn",
    "salad", "rice", "curry rice", "spaghetti", "sushi", "bacon", "meat", "bread", "cheese", "corn",
    "garlic", "broccoli",
    "lettuce", "butter", "salt", "honey", "soup", "milk", "coffee", "green tea", "sake", "champagne", "wine", "beer",
    "juice", "chocolate", "candy", "pudding", "jeans", "shorts", "socks", "gloves", "glasses",
    "sunglasses", "headphones",
    "scissors", "fireworks", "lightning", "fire", "santa claus", "statue of liberty", "tokyo tower", "earth", "books",
    "eyes", "lips", "footprints", "clapping hands", "folded hands", "thumbs up", "thumbs down", "theater masks",
    "japanese dolls", "bowling", "yarn", "soap", "poop", "skis", "scales", "fork and knife", "bow and arrow",
    "nut and bolt", "thunder", "seashell",
})  # fmt: skip
"""What English gives no article "a"."""
_EN_LEADS: Final = ("a picture of", "an image of", "a drawing of", "an illustration of", "a painting of", "a photo of",
                    "draw", "draw me", "please draw", "create an image of", "generate a picture of", "paint", "show me",
                    "I want", "make a picture of", "could you draw", "generate", "imagine")  # fmt: skip
_KO_REQUESTS: Final = ("그려줘", "그려 줘", "그려 주세요", "그림 그려줘", "그림을 그려줘", "만들어 줘",
                       "보여 줘", "그림",
                       "사진", "이미지", "이미지 만들어줘", "그림 그려 주세요", "그려주세요", "생성해 줘")  # fmt: skip
_JA_REQUESTS: Final = ("を描いて", "を描いてください", "の絵", "の絵を描いて", "の画像", "のイラスト",
                       "の写真", "を作って",
                       "の絵を描いてください", "の画像を生成して", "を見せて", "を生成して")  # fmt: skip
_SERVED: Final = ("a bowl of", "a plate of", "a piece of", "a slice of", "some", "fresh", "delicious")
"""What food is served in, and what else stands before it."""
_KO_COUNT: Final = {2: "두", 3: "세"}
_JA_COUNT: Final = {2: "二", 3: "三"}
_EN_COUNT: Final = {2: "two", 3: "three"}


def prompt(scene: Scene, rng: np.random.Generator, language: Language) -> str:
    """One prompt for this scene."""
    match language:
        case "en":
            return as_typed(_english(scene, rng), rng)
        case "ko":
            return _korean(scene, rng)
        case "ja":
            return _japanese(scene, rng)


def noun(figure: Figure, language: Language, rng: np.random.Generator) -> str:
    """The thing's name; a shape's with its colour."""
    if figure.colour is not None:
        words = (
            pick(COLOUR_ADJECTIVES[language][figure.colour], rng),
            pick(SHAPE_NOUNS[language][cast("Shape", figure.name)], rng),
        )
        return ("" if language == "ja" else " ").join(words)
    names = subjects()[figure.name].names[language]
    return pick(names, rng) if rng.random() < 0.5 else pick_any(names, rng)


def described(figure: Figure, language: Language, rng: np.random.Generator, *, bare: bool = False) -> str:
    """The noun with its size, where that is striking, and perhaps a word that says nothing; no article."""
    words = [noun(figure, language, rng)]
    if not bare and rng.random() < 0.25:
        words.insert(0, pick_any(FILLERS[language], rng))
    if figure.size is not None:
        words.insert(int(rng.integers(len(words))), pick(SIZE_ADJECTIVES[language][figure.size], rng))
    return ("" if language == "ja" else " ").join(words)


def pick_any(words: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the words, all equally likely."""
    return words[int(rng.integers(len(words)))]


def with_article(figure: Figure, phrase: str) -> str:
    """The English phrase with "a" or "an", where its noun takes one."""
    return phrase if figure.name in _UNCOUNTED and not figure.is_shape else article(phrase)


def _introduced(figure: Figure, rng: np.random.Generator) -> str:
    """The thing in English as a prompt brings it in: with an article, or food with what it is served in."""
    phrase = described(figure, "en", rng)
    food = not figure.is_shape and subjects()[figure.name].category == "food"
    if food and figure.size is None and " of " not in phrase and rng.random() < 0.2:
        return f"{pick_any(_SERVED, rng)} {phrase}"
    return with_article(figure, phrase)


def plural(phrase: str) -> str:
    """The English phrase in the plural."""
    head, _, last = phrase.rpartition(" ")
    if last in _PLURAL:
        last = _PLURAL[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}" if head else last


def _style(scene: Scene, rng: np.random.Generator, language: Language) -> list[str]:
    """What stands after the rest: a style, and praise."""
    said = []
    words = STYLES.get(scene.design, STYLES[PLAIN_STYLE])[language]
    if scene.figures and (scene.design != PLAIN_STYLE or rng.random() < 0.25) and not _only_shapes(scene):
        said.append(pick_any(words, rng))
    if rng.random() < 0.08:
        said.append(pick_any(QUALITY[language], rng))
    return said


def _only_shapes(scene: Scene) -> bool:
    return all(figure.is_shape for figure in scene.figures)


def _says_ground(scene: Scene, rng: np.random.Generator) -> bool:
    # A white ground is what comes where none is named.
    return rng.random() > (0.6 if scene.ground == "white" else _UNTOLD_GROUND)


# English


def _english(scene: Scene, rng: np.random.Generator) -> str:
    lead = pick_any(_EN_LEADS, rng) + " " if rng.random() < 0.35 else ""
    style = _style(scene, rng, "en")
    if not scene.figures:
        name = pick(GROUND_NAMES["en"][scene.ground], rng)  # type: ignore[index]
        if rng.random() < 0.35:
            kind, _, rest = name.partition(" ")
            filler = pick_any(FILLERS["en"], rng)
            name = article(f"{filler} {rest}") if kind in ("a", "an") else f"{filler} {name.removeprefix('the ')}"
        return ", ".join([lead + name, *style])
    text = _english_figures(scene, rng)
    if not _says_ground(scene, rng):
        return ", ".join([lead + text, *style])
    if scene.is_painted:
        if rng.random() < 0.72:
            text = f"{text} {pick(IN_GROUND['en'][scene.ground], rng)}"  # type: ignore[index]
        else:
            name = pick(GROUND_NAMES["en"][scene.ground], rng)  # type: ignore[index]
            text += either(
                rng, f" with {name} in the background", f", {name} in the background", f", background: {name}"
            )
    else:
        ground = f"{pick(COLOUR_ADJECTIVES['en'][scene.ground], rng)} {BACKGROUND_WORD['en']}"  # type: ignore[index]
        text += either(
            rng, f" on {article(ground)}", f" on {article(ground)}", f", {ground}", f" with {article(ground)}"
        )
    return ", ".join([lead + text, *style])


def _english_figures(scene: Scene, rng: np.random.Generator) -> str:
    figures = scene.figures
    if scene.count:
        return f"{_EN_COUNT[scene.count]} {plural(described(figures[0], 'en', rng))}"
    named = [_introduced(f, rng) for f in figures]
    if len(figures) == 1:
        if figures[0].place == "centre" and rng.random() < 0.9:
            return named[0]
        return f"{named[0]} {place_phrase(figures[0].place, 'en', rng)}"
    if len(figures) == 3 or scene.relation is None:
        return join_words(named, "en")
    one, other = named
    match scene.relation:
        case "beside":
            if rng.random() < 0.3:
                left, right = (place_phrase(f.place, "en", rng) for f in figures)
                return either(rng, f"{one} {left} and {other} {right}", f"{other} {right} and {one} {left}")
            if not figures[1].is_shape and subjects()[figures[1].name].category == "clothes" and rng.random() < 0.3:
                return f"{one} wearing {other}"
            return f"{one} {either(rng, 'and', 'and', 'next to', 'beside', 'with', 'near', 'holding')} {other}"
        case "above":
            return either(
                rng, f"{one} above {other}", f"{one} over {other}", f"{other} below {one}", f"{other} under {one}"
            )
        case "on":
            if figures[0].is_animate and rng.random() < 0.25:
                return f"{one} riding {other}"
            does = either(rng, " sitting", " sitting", " standing", " lying") if figures[0].is_animate else ""
            return f"{one}{does if rng.random() < 0.7 else ''} {either(rng, 'on', 'on', 'on top of')} {other}"
        case "in front of":
            return either(rng, f"{one} in front of {other}", f"{one} in front of {other}", f"{other} behind {one}")


# Korean


def _korean(scene: Scene, rng: np.random.Generator) -> str:
    style = _style(scene, rng, "ko")
    request = pick_any(_KO_REQUESTS, rng) if rng.random() < 0.45 else ""
    if not scene.figures:
        name = pick(GROUND_NAMES["ko"][scene.ground], rng)  # type: ignore[index]
        if rng.random() < 0.3:
            name = f"{pick_any(FILLERS['ko'], rng)} {name}"
        return _korean_end(name, request, style, rng)
    text = _korean_figures(scene, rng)
    if not _says_ground(scene, rng):
        return _korean_end(text, request, style, rng)
    if scene.is_painted:
        if rng.random() < 0.7:
            where = pick(IN_GROUND["ko"][scene.ground], rng)  # type: ignore[index]
            if where.endswith("에") and rng.random() < 0.8:
                where += either(rng, " 있는", "서", " 있는") if scene.relation != "on" else either(rng, "서", " ")
            return _korean_end(f"{where.strip()} {text}", request, style, rng)
        name = pick(GROUND_NAMES["ko"][scene.ground], rng)  # type: ignore[index]
        behind = either(
            rng,
            f"{with_particle(name, '을', '를')} 배경으로 한 {text}",
            f"{text}, {name} 배경",
            f"{name} 배경의 {text}",
        )
        return _korean_end(behind, request, style, rng)
    ground = f"{pick(COLOUR_ADJECTIVES['ko'][scene.ground], rng)} 배경"  # type: ignore[index]
    said = either(rng, f"{ground}에 {text}", f"{ground}의 {text}", f"{text}, {ground}", f"{ground}에 있는 {text}")
    return _korean_end(said, request, style, rng)


def _korean_end(text: str, request: str, style: list[str], rng: np.random.Generator) -> str:
    if request and request[0] not in "그사이" and rng.random() < 0.5:
        text = with_particle(text, "을", "를")
    said = ", ".join([text, *style])
    return f"{said} {request}".strip()


def _korean_figures(scene: Scene, rng: np.random.Generator) -> str:
    figures = scene.figures
    if scene.count:
        counter = "마리" if figures[0].is_animate else "개"
        return f"{described(figures[0], 'ko', rng)} {_KO_COUNT[scene.count]} {counter}"
    named = [described(f, "ko", rng) for f in figures]
    if len(figures) == 1:
        if figures[0].place == "centre" and rng.random() < 0.9:
            return named[0]
        return f"{place_phrase(figures[0].place, 'ko', rng)} 있는 {named[0]}"
    if len(figures) == 3 or scene.relation is None:
        return ", ".join(named) if rng.random() < 0.3 else join_words(named, "ko")
    one, other = named
    match scene.relation:
        case "beside":
            if rng.random() < 0.3:
                left, right = (place_phrase(f.place, "ko", rng) for f in figures)
                return f"{left} {one}, {right} {other}"
            if rng.random() < 0.3:
                return f"{other} {either(rng, '옆에 있는', '옆의')} {one}"
            return join_words([one, other], "ko")
        case "above":
            return either(
                rng, f"{other} 위쪽에 있는 {one}", f"위에 {one}, 아래에 {other}", f"{one} 아래에 있는 {other}"
            )
        case "on":
            if figures[0].is_animate and rng.random() < 0.2:
                return f"{with_particle(other, '을', '를')} 타고 있는 {one}"
            sits = "앉아 있는" if figures[0].is_animate and rng.random() < 0.7 else "있는"
            return (
                f"{other}{either(rng, '에', ' 위에')} {sits} {one}" if sits[0] == "앉" else f"{other} 위에 있는 {one}"
            )
        case "in front of":
            return either(rng, f"{other} 앞에 있는 {one}", f"{one} 뒤에 있는 {other}", f"{other} 앞의 {one}")


# Japanese


def _japanese(scene: Scene, rng: np.random.Generator) -> str:
    style = _style(scene, rng, "ja")
    request = pick_any(_JA_REQUESTS, rng) if rng.random() < 0.45 else ""
    if not scene.figures:
        name = pick(GROUND_NAMES["ja"][scene.ground], rng)  # type: ignore[index]
        if rng.random() < 0.3:
            name = pick_any(FILLERS["ja"], rng) + name
        return "、".join([name, *style]) if style else name + request
    text = _japanese_figures(scene, rng)
    if _says_ground(scene, rng):
        if scene.is_painted:
            if rng.random() < 0.7:
                where = pick(IN_GROUND["ja"][scene.ground], rng)  # type: ignore[index]
                is_ = "いる" if scene.figures[0].is_animate else "ある"
                text = either(rng, f"{where}{is_}{text}", f"{where.removesuffix('に')}の{text}")
            else:
                name = pick(GROUND_NAMES["ja"][scene.ground], rng)  # type: ignore[index]
                text = either(rng, f"{name}を背景にした{text}", f"{text}、背景は{name}", f"{name}の背景に{text}")
        else:
            ground = f"{pick(COLOUR_ADJECTIVES['ja'][scene.ground], rng)}背景"  # type: ignore[index]
            text = either(rng, f"{ground}に{text}", f"{ground}の{text}", f"{text}、{ground}")
    return "、".join([text, *style]) if style else text + request


def _japanese_figures(scene: Scene, rng: np.random.Generator) -> str:
    figures = scene.figures
    if scene.count:
        many = f"{_JA_COUNT[scene.count]}{'匹' if figures[0].is_animate else 'つ'}"
        thing = described(figures[0], "ja", rng)
        return either(rng, f"{many}の{thing}", f"{thing}{many}")
    named = [described(f, "ja", rng) for f in figures]
    if len(figures) == 1:
        if figures[0].place == "centre" and rng.random() < 0.9:
            return named[0]
        return f"{place_phrase(figures[0].place, 'ja', rng).removesuffix('に')}の{named[0]}"
    if len(figures) == 3 or scene.relation is None:
        return "、".join(named) if rng.random() < 0.3 else join_words(named, "ja")
    one, other = named
    is_ = "いる" if figures[0].is_animate else "ある"
    match scene.relation:
        case "beside":
            if rng.random() < 0.3:
                left, right = (place_phrase(f.place, "ja", rng) for f in figures)
                return f"{left}{one}、{right}{other}"
            if rng.random() < 0.3:
                return f"{other}の{either(rng, '隣', '横')}{either(rng, 'の', f'に{is_}')}{one}"
            return join_words([one, other], "ja")
        case "above":
            return either(rng, f"{other}の上方に{is_}{one}", f"上に{one}、下に{other}", f"{one}の下にある{other}")
        case "on":
            if figures[0].is_animate and rng.random() < 0.7:
                return f"{other}に{either(rng, '座っている', '乗っている', '座る')}{one}"
            return f"{other}の上{either(rng, 'の', f'に{is_}')}{one}"
        case "in front of":
            return either(rng, f"{other}の前に{is_}{one}", f"{other}の前の{one}", f"{one}の後ろの{other}")
