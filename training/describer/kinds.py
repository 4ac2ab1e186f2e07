"""What a thing is, and which questions about it have no sure answer."""

from __future__ import annotations

from functools import cache
from typing import Final

from training.art.subjects import subjects
from training.captions import LANGUAGES, SHAPE_NOUNS
from training.composer.grounds import Painted
from training.composer.scene import Figure, Scene
from training.world import Colour

_KINDS: Final = {"fruit and vegetables": "food"}
_OF_NO_KIND: Final = frozenset({
    "seashell", "spider web", "gas station", "traffic light", "stop sign", "anchor", "wheel", "roller skate",
    "satellite", "parachute",
})  # fmt: skip
"""Listed among animals and vehicles, and neither."""
_PERHAPS: Final = {"people": frozenset({"faces and hands"}), "food": frozenset({"drink and table"})}
"""Categories of which one may say that they are of a kind, or that they are not."""
_BIRDS: Final = frozenset({
    "chicken", "rooster", "chick", "penguin", "dove", "eagle", "duck", "swan", "owl", "flamingo", "peacock", "parrot",
    "turkey",
})  # fmt: skip
_FLOWERS: Final = frozenset({"bouquet", "cherry blossom", "rose", "hibiscus", "sunflower", "tulip", "potted plant"})
_WIDER: Final[dict[str, frozenset[str]]] = {
    "bird": _BIRDS,
    "flower": _FLOWERS,
    "chicken": frozenset({"chick", "rooster"}),
    "dog": frozenset({"poodle", "wolf"}),
    "tree": frozenset({"cherry blossom", "christmas tree", "palm tree", "pine tree"}),
    "fish": frozenset({"blowfish", "shark"}),
    "pine tree": frozenset({"christmas tree"}),
    "pig": frozenset({"boar"}),
    "ox": frozenset({"cow"}),
    "car": frozenset({"ambulance", "police car", "racing car", "taxi"}),
    "bread": frozenset({"bagel", "baguette", "croissant"}),
    "ship": frozenset({"canoe", "motorboat", "sailboat"}),
    "motorboat": frozenset({"canoe", "sailboat"}),
    "building": frozenset(
        {
            "bank",
            "castle",
            "church",
            "convenience store",
            "factory",
            "hospital",
            "house",
            "mosque",
            "post office",
            "school",
            "stadium",
        }
    ),
    "mountain": frozenset({"island", "volcano"}),
    "cap": frozenset({"graduation cap", "hat"}),
    "shoe": frozenset({"boot", "high heel", "ice skate", "roller skate", "sandal"}),
    "planet": frozenset({"earth"}),
    "clock": frozenset({"alarm clock", "watch"}),
    "laptop": frozenset({"computer"}),
    "telephone": frozenset({"mobile phone"}),
    "glasses": frozenset({"sunglasses"}),
    "book": frozenset({"books", "open book"}),
    "camera": frozenset({"movie camera", "video camera"}),
    "video camera": frozenset({"movie camera"}),
    "handbag": frozenset({"backpack", "briefcase"}),
    "pencil": frozenset({"crayon", "pen"}),
    "fire": frozenset({"candle"}),
    "cake": frozenset({"birthday cake", "cupcake"}),
    "hamburger": frozenset({"sandwich"}),
    "train": frozenset({"tram"}),
    "bicycle": frozenset({"cyclist"}),
    "full moon": frozenset({"crescent moon"}),
    "gem": frozenset({"diamond", "wedding ring"}),
    "necktie": frozenset({"ribbon"}),
    "noodles": frozenset({"spaghetti"}),
    "rice": frozenset({"curry rice", "rice ball", "sushi"}),
    "comet": frozenset({"shooting star"}),
    "doughnut": frozenset({"ring"}),
    "soccer ball": frozenset({"volleyball"}),
}
"""Things that one may call by another's name, or take for it."""
_ANYBODY: Final = frozenset({"baby", "boy", "girl", "man", "woman", "old man", "old woman"})
"""What a doctor or a swimmer may be too."""
_HELD: Final[dict[Painted, frozenset[str]]] = {
    "space": frozenset({"planet", "earth", "full moon", "crescent moon", "comet", "shooting star", "sun"}),
    "sea": frozenset({"wave", "sun", "cloud", "island", "ship", "sailboat"}),
    "beach": frozenset({"wave", "sun", "cloud", "island", "palm tree", "seashell"}),
    "meadow": frozenset({"sun", "cloud", *_FLOWERS, "flower", "tree", "mountain", "seedling"}),
    "mountains": frozenset({"mountain", "volcano", "cloud", "snowflake", "sun", "tree", "pine tree"}),
    "sunset": frozenset({"sun", "mountain", "cloud", "full moon"}),
    "sunrise": frozenset({"sun", "mountain", "cloud", "full moon"}),
    "snow": frozenset({"snowflake", "snow cloud", "tree", "pine tree", "christmas tree", "mountain", "cloud"}),
    "city at night": frozenset({"building", "house", "full moon", "crescent moon", "window", "bank", "hospital"}),
    "room": frozenset({"window", "door", "picture frame", "sofa", "bed", "chair", "light bulb", "mirror"}),
    "forest": frozenset({"tree", "pine tree", "christmas tree", "palm tree", "mushroom", "flower"}),
    "sky": frozenset({"cloud", "sun", "rain cloud", "snow cloud", "thundercloud", "bird"}),
    "desert": frozenset({"cactus", "sun", "mountain"}),
    "underwater": frozenset({"fish", "water drop", "wave", "seashell", *_FLOWERS, "seedling"}),
    "sunset sea": frozenset({"sun", "wave", "cloud", "island", "full moon"}),
    "sunrise mountains": frozenset({"sun", "mountain", "volcano", "cloud", "full moon"}),
}  # fmt: skip
"""What a painted ground shows by itself, or seems to."""
_NEVER: Final[dict[Painted, tuple[Colour, ...]]] = {
    "space": ("red", "green", "orange", "white", "yellow"), "sea": ("red", "purple", "orange", "black"),
    "beach": ("red", "purple", "black", "green"), "meadow": ("red", "purple", "black"),
    "mountains": ("red", "orange", "black"), "sunset": ("green", "white"), "sunrise": ("green", "black"),
    "snow": ("red", "green", "orange", "black"), "city at night": ("green", "white", "red"),
    "room": ("black", "purple"), "forest": ("red", "purple", "orange", "white"),
    "sky": ("red", "green", "orange", "black"), "desert": ("green", "purple", "black"),
    "underwater": ("red", "orange", "white"), "sunset sea": ("green", "white"), "sunrise mountains": ("green", "black"),
}  # fmt: skip
_LIKE: Final[dict[Painted, frozenset[Painted]]] = {
    "sea": frozenset({"beach", "underwater", "sunset sea"}), "beach": frozenset({"sea", "sunset sea"}),
    "underwater": frozenset({"sea"}), "snow": frozenset({"mountains", "sunrise mountains"}),
    "mountains": frozenset({"snow", "sunrise mountains"}), "sunset": frozenset({"sky", "sunset sea"}),
    "sunrise": frozenset({"sky", "sunrise mountains"}), "sky": frozenset({"sunset", "sunrise"}),
    "meadow": frozenset({"forest"}), "forest": frozenset({"meadow"}),
    "sunset sea": frozenset({"sea", "beach", "sunset", "sky"}),
    "sunrise mountains": frozenset({"mountains", "sunrise", "snow", "sky"}),
}  # fmt: skip
"""Grounds whose names may fit each other."""


def kind_of(figure: Figure) -> str:
    """Its category, with fruit and vegetables as food; "" for a shape and what is listed where it does not belong."""
    if figure.is_shape or figure.name in _OF_NO_KIND:
        return ""
    category = subjects()[figure.name].category
    return _KINDS.get(category, category)


def is_doubtful(scene: Scene, kind: str) -> bool:
    """Whether something may count as of the kind and may not."""
    return any(kind_of(figure) in _PERHAPS.get(kind, ()) for figure in scene.figures)


def is_alive(figure: Figure) -> bool:
    """Whether Japanese says いる of it, and Korean counts it as 마리 or 명."""
    return kind_of(figure) in ("animals", "people")


def is_person(figure: Figure) -> bool:
    """Whether Korean counts it as 명, Japanese as 人."""
    return kind_of(figure) == "people"


def may_be_there(scene: Scene, wanted: str) -> bool:
    """Whether a thing that is none of the scene's figures may be seen in it all the same: a dog in a poodle."""
    if scene.is_painted and wanted in _HELD[scene.ground]:  # type: ignore[index]
        return True
    return any(_are_alike(wanted, figure.name) for figure in scene.figures if figure.name != wanted)


@cache
def _are_alike(one: str, other: str) -> bool:
    if one in _WIDER.get(other, ()) or other in _WIDER.get(one, ()):
        return True
    people = [name in subjects() and subjects()[name].category == "people" for name in (one, other)]
    if all(people) and (one in _ANYBODY) != (other in _ANYBODY):
        return True
    return any(_holds(a, b) or _holds(b, a) for a in _names(one) for b in _names(other))


def _holds(longer: str, shorter: str) -> bool:
    """Whether all of one name stands in another as words: "moon" in "full moon", 月 in 三日月."""
    if longer.isascii():
        return f" {shorter} " in f" {longer} " or f" {shorter}s " in f" {longer} "
    return shorter in longer and len(shorter) > 1


@cache
def _names(name: str) -> tuple[str, ...]:
    if name in subjects():
        return tuple(said for language in LANGUAGES for said in subjects()[name].names[language])
    return tuple(said for language in LANGUAGES for said in SHAPE_NOUNS[language][name])  # type: ignore[index]


def colours_never(ground: Painted) -> tuple[Colour, ...]:
    """Colours that nobody would give a painted ground."""
    return _NEVER[ground]


def is_like(one: Painted, other: Painted) -> bool:
    """Whether a name of one ground may fit the other."""
    return one == other or other in _LIKE.get(one, ()) or one in _LIKE.get(other, ())
