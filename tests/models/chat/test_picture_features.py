"""What an encoder made of pictures, remembered."""

from __future__ import annotations

import numpy as np

from models.chat.picture_features import PictureFeatures, pictures_of
from models.tasks import ImagePart, Message, TextPart


def test_pictures_are_known_by_their_bytes_and_order() -> None:
    def conversation(*pictures: bytes) -> tuple[bytes, ...]:
        return pictures_of([Message("user", (ImagePart(picture), TextPart("?"))) for picture in pictures])

    assert conversation(b"a", b"b") == conversation(b"a", b"b")
    assert len({conversation(b"a", b"b"), conversation(b"b", b"a"), conversation(b"ab"), conversation()}) == 4


def test_the_encoder_is_asked_again_for_what_it_sees_otherwise() -> None:
    features, asked = PictureFeatures(1000), list[tuple[int, ...]]()

    def encode(pixels: np.ndarray) -> np.ndarray:
        asked.append(pixels.shape)
        return pixels + len(asked)

    look = features.remembered(encode)
    wide, tall = np.zeros((2, 3)), np.zeros((3, 2))
    for pictures in ((b"a",), (b"a",), (b"b",)):
        with features.of(pictures):
            first, second = look(wide), look(wide)  # two pictures of one shape, told apart by their turn
            assert not np.array_equal(first, second)
    assert len(asked) == 4
    with features.of((b"a",)):
        look(tall)
    look(wide)
    look(wide)
    assert len(asked) == 7, "what belongs to no pictures is not remembered"


def test_what_nobody_reads_is_left_out_the_first_time_already() -> None:
    features = PictureFeatures(1000)
    look = features.remembered(
        lambda: {"read": np.zeros(2), "unread": np.zeros(100)}, lambda made: {"read": made["read"]}
    )
    with features.of((b"a",)):
        assert look().keys() == {"read"}
    assert features.nbytes == 16
    assert features.forget()
    assert not features.forget()
    assert features.nbytes == 0
