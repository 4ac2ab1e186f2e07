"""The words of the world of things: grounds, styles, and what people add to a prompt, in three languages."""

from __future__ import annotations

from typing import Final

from training.captions import Language
from training.composer.grounds import Painted

IN_GROUND: Final[dict[Language, dict[Painted, tuple[str, ...]]]] = {
    "en": {
        "space": ("in space", "in outer space", "among the stars", "floating in space", "in the starry universe"),
        "sea": ("on the sea", "on the ocean", "at sea", "by the sea", "over the water"),
        "beach": ("on the beach", "at the beach", "on a sandy beach", "on a beach"),
        "meadow": ("in a meadow", "on the grass", "in a green field", "on a meadow", "in a grassy field"),
        "mountains": ("in the mountains", "in front of mountains", "with mountains behind", "before snowy mountains"),
        "sunset": ("at sunset", "in the sunset", "at dusk", "during sunset", "with a sunset behind"),
        "sunrise": ("at sunrise", "at dawn", "during sunrise", "in the morning sun", "with a sunrise behind"),
        "snow": ("in the snow", "in a snowy landscape", "in winter", "on the snow"),
        "city at night": (
            "in the city at night",
            "in a city at night",
            "in front of a night city",
            "in a night street",
        ),
        "room": ("in a room", "at home", "in a living room", "inside a room", "indoors"),
        "forest": ("in the forest", "in a forest", "in the woods", "among trees"),
        "sky": ("in the sky", "in the blue sky", "among clouds", "in a cloudy sky", "in the clouds"),
        "desert": ("in the desert", "in a desert", "on sand dunes"),
        "underwater": ("under water", "underwater", "under the sea", "in the deep sea", "at the bottom of the sea"),
        "sunset sea": (
            "by the sea at sunset",
            "on the sea at sunset",
            "at sunset over the sea",
            "on the ocean at sunset",
        ),
        "sunrise mountains": ("in the mountains at sunrise", "before mountains at sunrise", "in the mountains at dawn"),
    },
    "ko": {
        "space": ("우주에", "우주 공간에", "별이 가득한 우주에", "별들 사이에"),
        "sea": ("바다에", "바다 위에", "푸른 바다에"),
        "beach": ("해변에", "바닷가에", "모래사장에"),
        "meadow": ("풀밭에", "초원에", "들판에", "잔디밭에"),
        "mountains": ("산에", "산 앞에", "눈 덮인 산 앞에"),
        "sunset": ("노을에", "해 질 녘에", "저녁노을 속에", "석양에"),
        "sunrise": ("해 뜰 때", "새벽에", "아침 해 앞에", "일출에"),
        "snow": ("눈 속에", "눈밭에", "눈 내리는 곳에", "겨울에"),
        "city at night": ("밤 도시에", "도시의 밤에", "밤거리에", "야경 속에"),
        "room": ("방에", "방 안에", "집에", "거실에"),
        "forest": ("숲에", "숲 속에", "나무들 사이에"),
        "sky": ("하늘에", "파란 하늘에", "구름 사이에"),
        "desert": ("사막에", "사막 한가운데에"),
        "underwater": ("물속에", "바닷속에", "깊은 바닷속에"),
        "sunset sea": ("노을 진 바다에", "해 질 녘 바다에", "석양의 바다에"),
        "sunrise mountains": ("해 뜨는 산에", "일출의 산에", "새벽 산에"),
    },
    "ja": {
        "space": ("宇宙に", "宇宙空間に", "星空に", "星の中に"),
        "sea": ("海に", "海の上に", "青い海に"),
        "beach": ("ビーチに", "砂浜に", "海辺に", "浜辺に"),
        "meadow": ("草原に", "野原に", "芝生に", "草の上に"),
        "mountains": ("山に", "山の前に", "雪山の前に"),
        "sunset": ("夕焼けに", "夕日の中に", "夕暮れに"),
        "sunrise": ("日の出に", "朝日の中に", "夜明けに"),
        "snow": ("雪の中に", "雪の上に", "雪原に", "冬の景色に"),
        "city at night": ("夜の街に", "夜の都市に", "夜景の中に"),
        "room": ("部屋に", "部屋の中に", "家の中に", "リビングに"),
        "forest": ("森に", "森の中に", "木々の間に"),
        "sky": ("空に", "青空に", "雲の間に"),
        "desert": ("砂漠に", "砂漠の中に"),
        "underwater": ("水中に", "海の中に", "海底に"),
        "sunset sea": ("夕焼けの海に", "夕日の海に", "夕暮れの海に"),
        "sunrise mountains": ("日の出の山に", "朝日の山に", "夜明けの山に"),
    },
}
"""Where something is, as an adverb."""

GROUND_NAMES: Final[dict[Language, dict[Painted, tuple[str, ...]]]] = {
    "en": {
        "space": ("space", "outer space", "a starry universe", "a galaxy"),
        "sea": ("the sea", "the ocean", "a blue sea"),
        "beach": ("a beach", "a sandy beach", "the seaside"),
        "meadow": ("a meadow", "a green meadow", "a grassy field"),
        "mountains": ("mountains", "snowy mountains", "a mountain landscape"),
        "sunset": ("a sunset", "a sunset over hills", "an evening sky"),
        "sunrise": ("a sunrise", "a sunrise over hills", "a dawn"),
        "snow": ("a snowy landscape", "a winter landscape", "snow"),
        "city at night": ("a city at night", "a night city", "a night cityscape"),
        "room": ("a room", "a living room", "an empty room"),
        "forest": ("a forest", "a green forest", "the woods"),
        "sky": ("a blue sky", "the sky with clouds", "clouds"),
        "desert": ("a desert", "sand dunes"),
        "underwater": ("an underwater world", "the deep sea", "the bottom of the sea"),
        "sunset sea": ("a sunset over the sea", "a sunset over the ocean", "the sea at sunset"),
        "sunrise mountains": ("a sunrise over mountains", "mountains at sunrise", "mountains at dawn"),
    },
    "ko": {
        "space": ("우주", "별이 가득한 우주", "은하수"),
        "sea": ("바다", "푸른 바다"),
        "beach": ("해변", "바닷가"),
        "meadow": ("초원", "풀밭", "들판"),
        "mountains": ("산", "눈 덮인 산", "산 풍경"),
        "sunset": ("노을", "일몰", "석양"),
        "sunrise": ("일출", "해돋이"),
        "snow": ("눈 풍경", "설경", "겨울 풍경"),
        "city at night": ("밤 도시", "도시 야경", "야경"),
        "room": ("방", "거실"),
        "forest": ("숲", "푸른 숲"),
        "sky": ("파란 하늘", "하늘", "구름 낀 하늘"),
        "desert": ("사막",),
        "underwater": ("바닷속", "물속"),
        "sunset sea": ("노을 진 바다", "바다의 일몰"),
        "sunrise mountains": ("산 위의 일출", "해 뜨는 산"),
    },
    "ja": {
        "space": ("宇宙", "星空", "銀河"),
        "sea": ("海", "青い海"),
        "beach": ("ビーチ", "砂浜", "海辺"),
        "meadow": ("草原", "野原"),
        "mountains": ("山", "雪山", "山の風景"),
        "sunset": ("夕焼け", "夕日", "夕暮れ"),
        "sunrise": ("日の出", "朝日", "夜明け"),
        "snow": ("雪景色", "冬の景色"),
        "city at night": ("夜の街", "夜景"),
        "room": ("部屋", "リビング"),
        "forest": ("森", "緑の森"),
        "sky": ("青空", "空", "雲"),
        "desert": ("砂漠",),
        "underwater": ("海の中", "水中"),
        "sunset sea": ("夕焼けの海", "海に沈む夕日"),
        "sunrise mountains": ("山の日の出", "日の出の山"),
    },
}
"""The ground by its own name, as a subject or a background."""

STYLES: Final[dict[str, dict[Language, tuple[str, ...]]]] = {
    "noto": {
        "en": (
            "illustration",
            "cartoon",
            "drawing",
            "digital art",
            "colorful illustration",
            "children's book illustration",
            "flat design",
            "flat illustration",
            "vector art",
            "minimalist",
            "sticker",
        ),
        "ko": ("일러스트", "만화", "삽화", "그림", "플랫 디자인", "벡터 아트", "미니멀", "스티커"),
        "ja": ("イラスト", "漫画風", "挿絵", "絵", "フラットデザイン", "ベクターアート", "ミニマル", "ステッカー"),
    },
    "fluent-3d": {
        "en": ("3d render", "3d", "3D style", "clay render", "rendered in 3d", "octane render"),
        "ko": ("3D", "3D 렌더링", "입체", "3D 스타일"),
        "ja": ("3D", "3Dレンダリング", "立体", "3D風"),
    },
}
"""What a design is called. The first needs no word; the others are always asked for."""
PLAIN_STYLE: Final = "noto"
"""The design of a prompt that names no style."""

FILLERS: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("cute", "cute", "beautiful", "lovely", "adorable", "pretty", "funny", "nice", "fluffy", "majestic", "happy",
           "colorful", "amazing", "simple", "sweet"),
    "ko": ("귀여운", "귀여운", "예쁜", "아름다운", "멋진", "사랑스러운", "재미있는", "행복한", "화려한"),
    "ja": ("かわいい", "かわいい", "可愛い", "美しい", "きれいな", "素敵な", "楽しい", "すてきな", "カラフルな"),
}  # fmt: skip
"""Words that say nothing that can be seen."""
QUALITY: Final[dict[Language, tuple[str, ...]]] = {
    "en": ("high quality", "4k", "masterpiece", "highly detailed", "best quality", "soft lighting", "trending", "8k",
           "vivid colors", "cinematic"),
    "ko": ("고화질", "고퀄리티", "선명한 색감", "4k", "디테일한"),
    "ja": ("高画質", "高品質", "鮮やか", "4k", "最高品質"),
}  # fmt: skip
"""What people put at the end of a prompt, and means nothing here."""
