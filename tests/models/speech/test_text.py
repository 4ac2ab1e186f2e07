"""What is said and in which language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.speech.text import detect_language, literal_text, normalise_language, sentences, spoken_text

ALLOWED = ("en", "ko", "ja", "zh", "pt")


@pytest.mark.parametrize(
    ("given_language", "tag"),
    [
        ("English", "en"),
        ("korean", "ko"),
        ("한국어", "ko"),
        ("日本語", "ja"),
        ("中文", "zh"),
        ("Português", "pt"),
        ("en", "en"),
        ("EN-gb", "en-GB"),
        ("en_US", "en-US"),
        ("zh-Hans", "zh"),
        ("zh-Hant-TW", "zh-TW"),
        ("es-419", None),
        ("jpn", "ja"),
        ("auto", "auto"),
        ("Auto", "auto"),
        ("", "auto"),
        (None, "auto"),
    ],
)
def test_names_and_tags_of_a_language_become_one_tag(given_language: str | None, tag: str | None) -> None:
    if tag is None:
        with pytest.raises(InvalidInput):
            normalise_language(given_language, ALLOWED)
    else:
        assert normalise_language(given_language, ALLOWED) == tag


@pytest.mark.parametrize("unknown", ["Klingon", "xx", "en-", "english please", "de"])
def test_an_unknown_language_is_refused_with_what_is_allowed(unknown: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        normalise_language(unknown, ALLOWED)
    assert caught.value.param == "language"
    assert unknown in str(caught.value)
    assert "ko (Korean)" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Hello there", "en"),
        ("Grüße, 2024!", "en"),
        ("안녕하세요", "ko"),
        ("AI 서버 漢字", "ko"),
        ("こんにちは", "ja"),
        ("漢字とテスト", "ja"),
        ("ﾊﾛｰ", "ja"),
        ("你好，世界", "zh"),
        ("你好・世界", "zh"),
        ("Привет", "ru"),
        ("12345", "en"),
    ],
)
def test_the_script_tells_the_language(text: str, tag: str) -> None:
    assert detect_language(text) == tag


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello (laughs) world", "Hello world"),
        ("[sighs] Well {quietly} yes", "Well yes"),
        ("안녕（웃음）하세요［박수］", "안녕 하세요"),
        ("こんにちは【笑】。", "こんにちは。"),
        ("mixed （half) widths", "mixed widths"),
        ("a (b (c) d) e", "a e"),
        ("a [b (c] d) e", "a d) e"),
        ("「今日は」と言った", "「今日は」と言った"),
        ("Hello (waves), you", "Hello, you"),
        ("one\n\n  two\t three ", "one\ntwo three"),
        ("an (unclosed bracket", "an (unclosed bracket"),
        ("zero\u200bwidth\x07", "zerowidth"),
    ],
)
def test_stage_directions_are_not_spoken(text: str, spoken: str) -> None:
    assert spoken_text(text) == spoken


@pytest.mark.parametrize("text", ["", "   ", "(laughs)", "[a] (b) {c} （d）", "…!?", "((nested) only)", "\n\t"])
def test_a_text_of_which_nothing_is_left_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        spoken_text(text, "input")
    assert caught.value.param == "input"
    assert "brackets" in str(caught.value)


def test_a_text_is_cut_at_its_sentence_ends() -> None:
    text = "This is the first sentence. Is this the second one? 「これは三番目の文ですから、少し長く書いておきます。」"
    assert sentences(text) == [
        "This is the first sentence.",
        "Is this the second one?",
        "「これは三番目の文ですから、少し長く書いておきます。」",
    ]


def test_short_pieces_join_the_next_one() -> None:
    assert sentences("Dr. Kim went home. Yes.") == ["Dr. Kim went home. Yes."]
    assert sentences("Pi is 3.14 and a bit more of it, I think. It is.") == [
        "Pi is 3.14 and a bit more of it, I think. It is."
    ]


def test_long_sentences_are_cut_at_commas_then_spaces_then_anywhere() -> None:
    with_commas = ", ".join(["some ten words that stand between two commas here"] * 12)
    assert all(piece.endswith(("here,", "here")) for piece in sentences(with_commas))
    with_spaces = " ".join(["word"] * 200)
    assert all(len(piece) <= 300 and piece.startswith("word") for piece in sentences(with_spaces))
    assert [len(piece) for piece in sentences("가" * 700)] == [120, 300, 280]


def test_the_first_piece_is_short_however_long_its_sentence() -> None:
    clause = "a clause of a sentence that does not come to its end"
    pieces = sentences(", ".join([clause] * 9) + ".")
    assert pieces[0] == f"{clause}, {clause},"
    assert len(pieces[1]) > 200


@given(st.text(max_size=400), st.integers(1, 40))
def test_no_letter_is_lost_in_cutting(text: str, at_most: int) -> None:
    pieces = sentences(text, at_least=5, at_most=at_most)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.text("ab([{（［【)]}）］】 \n", max_size=60))
def test_nothing_inside_a_pair_of_brackets_survives_a_second_cleaning(text: str) -> None:
    try:
        once = spoken_text(text)
    except InvalidInput:
        return
    assert spoken_text(once) == once


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Call  (415) 555-0199", "Call (415) 555-0199"),
        ("[waves] Hello ,\n\nyou", "[waves] Hello,\nyou"),
        ("...", ""),
        ("😊 (—)", ""),
        ("", ""),
    ],
)
def test_a_literal_text_keeps_its_brackets_and_is_empty_without_a_word(text: str, spoken: str) -> None:
    assert literal_text(text) == spoken
