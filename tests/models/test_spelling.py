"""How a word is read from the letters of its columns."""

from __future__ import annotations

import torch

from models.spelling import read_together, spelt


def test_a_letter_stands_once_for_all_columns_that_say_it_in_a_row() -> None:
    columns = torch.tensor([[0, 1, 1, 0, 1, 3, 3, 4], [0] * 8, [4, 3, 2, 1, 4, 3, 2, 1]])
    words = spelt(torch.nn.functional.one_hot(columns, 5).float(), 3)
    assert words.tolist() == [[1, 1, 3], [0, 0, 0], [4, 3, 2]]


def test_a_word_is_what_all_readings_together_make_likeliest() -> None:
    readings = torch.zeros(3, 4, 5)
    readings[:, 0, 1] = readings[:, 2:, 0] = 9.0  # all read a 1 first, and nothing in the end
    readings[0, 1, 3], readings[0, 1, 2] = 2.0, 1.9
    readings[1, 1, 4], readings[1, 1, 2] = 2.0, 1.9
    readings[2, 1, 2] = 0.5
    assert [spelt(each[None], 3).tolist() for each in readings] == [[[1, 3, 0]], [[1, 4, 0]], [[1, 2, 0]]]
    assert read_together(readings, 3).tolist() == [[1, 2, 0]]


def test_readings_may_find_no_letter() -> None:
    nothing, one = torch.zeros(2, 4, 5), torch.zeros(1, 4, 5)
    nothing[..., 0] = 9.0
    one[0, 0, 1], one[0, 1:, 0] = 1.0, 9.0
    assert read_together(torch.cat([nothing, one]), 3).tolist() == [[0, 0, 0]]
    assert read_together(one, 3).tolist() == [[1, 0, 0]]
