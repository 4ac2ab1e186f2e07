"""Words in many letterings: masks of words and numbers drawn once in the fonts of Debian, kept for every picture after.

Words are kept as pictures, so that composing scenes needs no font: a machine that only trains has none.
Some fonts never train: they measure how well a model reads lettering that it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.progress import track

from training.art.fetch import UNPACKED, ArtError, unpack
from training.art.shelf import FOLDER

Script = Literal["latin", "hangul", "kana"]
HEIGHT: Final = 32
WIDTH: Final = 128
"""Of a word's mask, in pixels."""
_FONTS: Final = UNPACKED / "fonts"
_COUNTS: Final[dict[Script, int]] = {"latin": 9000, "hangul": 3000, "kana": 3000}
_SEED: Final = 51


@dataclass(frozen=True)
class Font:
    """One font file of a package of Debian; `judge` marks those that never train."""

    package: str
    file: str
    scripts: tuple[Script, ...]
    judge: bool = False

    def path(self) -> Path:
        """Where it lies once its package is unpacked."""
        return _FONTS / self.file


_LATIN: Final[tuple[Script, ...]] = ("latin",)
_HANGUL: Final[tuple[Script, ...]] = ("hangul",)
_KANA: Final[tuple[Script, ...]] = ("kana",)
FONTS: Final = (
    Font("fonts-dejavu-core", "truetype/dejavu/DejaVuSans-Bold.ttf", _LATIN),
    Font("fonts-dejavu-core", "truetype/dejavu/DejaVuSerif.ttf", _LATIN),
    Font("fonts-liberation", "truetype/liberation/LiberationSans-Regular.ttf", _LATIN),
    Font("fonts-liberation", "truetype/liberation/LiberationSerif-Bold.ttf", _LATIN),
    Font("fonts-liberation", "truetype/liberation/LiberationMono-Bold.ttf", _LATIN),
    Font("fonts-lato", "truetype/lato/Lato-Black.ttf", _LATIN),
    Font("fonts-open-sans", "truetype/open-sans/OpenSans-Semibold.ttf", _LATIN),
    Font("fonts-comic-neue", "opentype/comic-neue/ComicNeue-Bold.otf", _LATIN),
    Font("fonts-courier-prime", "opentype/courier-prime/Courier Prime Bold.otf", _LATIN),
    Font("fonts-quicksand", "truetype/quicksand/Quicksand-Bold.ttf", _LATIN),
    Font("fonts-roboto-slab", "opentype/roboto/slab/RobotoSlab-Bold.otf", _LATIN),
    Font("fonts-lobstertwo", "opentype/lobstertwo/LobsterTwo-Bold.otf", _LATIN),
    Font("fonts-bebas-neue", "opentype/bebas-neue/BebasNeue-Bold.otf", _LATIN),
    Font("fonts-linuxlibertine", "opentype/linux-libertine/LinLibertine_RB.otf", _LATIN),
    Font("fonts-hack", "truetype/hack/Hack-Bold.ttf", _LATIN, judge=True),
    Font("fonts-ebgaramond", "opentype/ebgaramond/EBGaramond12-Bold.otf", _LATIN, judge=True),
    Font("fonts-karla", "truetype/karla/Karla-Bold.otf", _LATIN, judge=True),
    Font("fonts-cabin", "opentype/cabin/Cabin-Bold.otf", _LATIN, judge=True),
    Font("fonts-nanum", "truetype/nanum/NanumGothicBold.ttf", ("latin", "hangul")),
    Font("fonts-nanum", "truetype/nanum/NanumMyeongjoBold.ttf", _HANGUL),
    Font("fonts-nanum", "truetype/nanum/NanumSquareRoundB.ttf", _HANGUL),
    Font("fonts-unfonts-core", "truetype/unfonts-core/UnDotumBold.ttf", _HANGUL),
    Font("fonts-unfonts-core", "truetype/unfonts-core/UnPilgiBold.ttf", _HANGUL),
    Font("fonts-baekmuk", "truetype/baekmuk/hline.ttf", _HANGUL),
    Font("fonts-unfonts-core", "truetype/unfonts-core/UnBatangBold.ttf", _HANGUL, judge=True),
    Font("fonts-ipafont-gothic", "opentype/ipafont-gothic/ipagp.ttf", _KANA),
    Font("fonts-ipafont-mincho", "opentype/ipafont-mincho/ipamp.ttf", _KANA),
    Font("fonts-mplus", "opentype/mplus/Mplus1-Bold.otf", ("latin", "kana")),
    Font("fonts-mplus", "opentype/mplus/Mplus2-Black.otf", _KANA),
    Font("fonts-vlgothic", "truetype/vlgothic/VL-PGothic-Regular.ttf", _KANA, judge=True),
)
_WORDS: Final[dict[Script, Sequence[str]]] = {
    "latin": [
        "HELLO",
        "HI",
        "LOVE",
        "OPEN",
        "CLOSED",
        "SALE",
        "STOP",
        "GO",
        "YES",
        "NO",
        "NEW",
        "HOT",
        "COLD",
        "FREE",
        "CAFE",
        "BAR",
        "SHOP",
        "HOTEL",
        "EXIT",
        "ENTER",
        "PUSH",
        "PULL",
        "ART",
        "MUSIC",
        "HOME",
        "WELCOME",
        "THANKS",
        "PARTY",
        "HAPPY",
        "GOOD",
        "DREAM",
        "SMILE",
        "PEACE",
        "SUN",
        "MOON",
        "STAR",
        "CAT",
        "DOG",
        "FISH",
        "BIRD",
        "TREE",
        "ROSE",
        "KING",
        "QUEEN",
        "HERO",
        "MAGIC",
        "WOW",
        "OK",
        "Hello",
        "Love",
        "Open",
        "Cafe",
        "Thanks",
        "Smile",
        "Dream",
        "Peace",
        "Happy",
        "hello",
        "love",
        "smile",
        "dream",
        "peace",
    ],
    "hangul": [
        "안녕",
        "사랑",
        "환영",
        "축하",
        "감사",
        "고마워",
        "행복",
        "카페",
        "커피",
        "서울",
        "한국",
        "친구",
        "희망",
        "꿈",
        "봄",
        "여름",
        "가을",
        "겨울",
        "하늘",
        "바다",
        "나무",
        "고양이",
        "강아지",
        "열림",
        "닫힘",
        "세일",
        "출구",
        "입구",
        "생일",
        "파티",
        "음악",
        "미술",
        "학교",
        "병원",
        "약국",
        "맛집",
        "최고",
        "힘내",
        "좋아",
        "미안",
        "안녕하세요",
        "감사합니다",
        "사랑해",
        "축하해",
        "어서오세요",
    ],
    "kana": [
        "こんにちは",
        "ありがとう",
        "さくら",
        "ねこ",
        "いぬ",
        "すし",
        "らーめん",
        "カフェ",
        "コーヒー",
        "セール",
        "オープン",
        "ようこそ",
        "おめでとう",
        "はる",
        "なつ",
        "あき",
        "ふゆ",
        "うみ",
        "そら",
        "はな",
        "ほし",
        "ゆめ",
        "すき",
        "だいすき",
        "おはよう",
        "さよなら",
        "がんばれ",
        "パーティー",
        "ハッピー",
        "ハロー",
        "ラブ",
        "パン",
        "ケーキ",
        "トイレ",
        "ホテル",
        "ゲーム",
        "アート",
        "ロボット",
    ],
}
_LETTERS: Final[dict[Script, str]] = {
    "latin": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "hangul": "가나다라마바사아자차카타파하고노도로모보소오조초코토포호구누두루무부수우주추쿠투푸후기니디리미비시이지",
    "kana": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわん"
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン",
}


@dataclass(frozen=True)
class Lettering:
    """Words and how they look.

    Attributes:
        words: what is written, [n].
        scripts: in which script, [n].
        judge: bool [n], whether the font is one that never trains.
        masks: uint8 [n, 32, 128], 255 where there is ink, the word in the middle.
    """

    words: np.ndarray
    scripts: np.ndarray
    judge: np.ndarray
    masks: np.ndarray

    def training(self) -> np.ndarray:
        """The numbers of the words that may train."""
        return np.flatnonzero(~self.judge)


def make_lettering(folder: Path = FOLDER) -> int:
    """Unpack the fonts and draw the words unless that was done; how many there are.

    Raises:
        ArtError: a font cannot be had.
    """
    kept = folder / "lettering.npz"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for package in dict.fromkeys(font.package for font in FONTS):
            unpack(package, [font.path() for font in FONTS if font.package == package])
        partial = kept.with_suffix(".partial.npz")
        drawn = _draw()
        np.savez_compressed(partial, words=drawn.words, scripts=drawn.scripts, judge=drawn.judge, masks=drawn.masks)
        partial.replace(kept)
    return len(open_lettering(folder).words)


def open_lettering(folder: Path = FOLDER) -> Lettering:
    """What `make_lettering` drew.

    Raises:
        ArtError: it has not drawn anything yet.
    """
    kept = folder / "lettering.npz"
    if not kept.exists():
        raise ArtError(f"there is no {kept}: run python -m training.art")
    with np.load(kept) as held:
        return Lettering(held["words"], held["scripts"], held["judge"], held["masks"])


def random_word(script: Script, rng: np.random.Generator) -> str:
    """A word of the language, letters at random, or (in Latin lettering) a number."""
    chance = rng.random()
    if chance < 0.35:
        return str(rng.choice(list(_WORDS[script])))
    if script == "latin" and chance < 0.55:
        return str(rng.integers(0, 10 ** int(rng.integers(1, 5))))
    longest = 6 if script == "latin" else 4
    word = "".join(rng.choice(list(_LETTERS[script]), int(rng.integers(2, longest + 1))))
    return word.capitalize() if script == "latin" and rng.random() < 0.15 else word


def _draw() -> Lettering:
    rng = np.random.default_rng(_SEED)
    scripts = [script for script, count in _COUNTS.items() for _ in range(count)]
    words, judges = [], []
    masks = np.zeros((len(scripts), HEIGHT, WIDTH), np.uint8)
    for row, script in enumerate(track(scripts, "drawing words")):
        fonts = [font for font in FONTS if script in font.scripts]
        font = fonts[int(rng.integers(len(fonts)))]
        word = random_word(script, rng)
        masks[row] = _mask(word, font)
        words.append(word)
        judges.append(font.judge)
    return Lettering(np.array(words), np.array(scripts), np.array(judges), masks)


@cache
def _font(file: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONTS / file, 2 * HEIGHT)


def _mask(word: str, font: Font) -> np.ndarray:
    """The word, as big as fits, in the middle."""
    left, top, right, bottom = _font(font.file).getbbox(word)
    large = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(large).text((-left, -top), word, fill=255, font=_font(font.file))
    scale = min((HEIGHT - 4) / large.height, (WIDTH - 4) / large.width)
    small = large.resize(
        (max(1, round(large.width * scale)), max(1, round(large.height * scale))), Image.Resampling.LANCZOS
    )
    whole = Image.new("L", (WIDTH, HEIGHT))
    whole.paste(small, ((WIDTH - small.width) // 2, (HEIGHT - small.height) // 2))
    return np.asarray(whole)
