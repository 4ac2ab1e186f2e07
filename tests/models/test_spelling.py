"""How a word is read from the letters of its columns."""

from __future__ import annotations

import torch

from models.spelling import spelt, surest


def test_a_letter_stands_once_for_all_columns_that_say_it_in_a_row() -> None:
    columns = torch.tensor([[0, 1, 1, 0, 1, 3, 3, 4], [0] * 8, [4, 3, 2, 1, 4, 3, 2, 1]])
    words = spelt(torch.nn.functional.one_hot(columns, 5).float(), 3)
    assert words.tolist() == [[1, 1, 3], [0, 0, 0], [4, 3, 2]]


def test_of_several_readings_the_surest_counts() -> None:
    readings = torch.zeros(3, 4, 5)
    readings[:, 0, 1], readings[0, 1, 3], readings[1, 1, 2], readings[2, 1, 4] = 9.0, 0.5, 4.0, 2.0
    readings[:, 2:, 0] = 9.0
    assert spelt(surest(readings), 3).tolist() == [[1, 2, 0]]
