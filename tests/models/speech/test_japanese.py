"""Japanese as it is spoken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.speech.japanese import kana


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("今日は東京へ行きました。", "キョウワ トウキョウエ イキマシタ。"),
        ("水を飲む", "ミズオ ノム"),
        ("私のお母さんと彼のお父さん", "ワタシノ オカアサント カレノ オトウサン"),
        ("2024年3月5日", "2024ネン サンガツ イツカ"),
        ("赤い円の左に青い四角形があります", "アカイ エンノ ヒダリニ アオイ シカクケイガ アリマス"),
        ("「星」と書く。", "「ホシ」ト カク。"),
        ("ありがとう", "アリガトウ"),
        ("ハロー ワールド", "ハロー ワールド"),
        ("xyzzyと言う", "エックスワイゼットゼットワイト ユウ"),
        ("", ""),
    ],
)
def test_kanji_become_kana_and_particles_their_sound(text: str, read: str) -> None:
    assert kana(text) == read


def test_threads_may_read_at_once() -> None:
    texts = ["今日は東京へ行きました。", "水を飲む"] * 200
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(kana, texts)) == [kana(text) for text in texts]
