"""Sets of labels are sets."""

from __future__ import annotations

import random

import numpy as np

from stores.labels import LabelSet


def test_a_set_of_labels_is_a_set() -> None:
    choose = random.Random(5)
    labels, truth = LabelSet([3, 70]), {3, 70}
    for _ in range(3000):
        label = choose.randrange(500)
        if choose.random() < 0.6:
            labels.add(label)
            truth.add(label)
        else:
            labels.discard(label)
            truth.discard(label)
        assert (label in labels) == (label in truth)
    assert list(labels) == sorted(truth)
    assert len(labels) == len(truth)
    assert set(labels) == truth
    several = np.array([900, 3, 900, 12_345])
    labels.update(several)
    truth.update(several.tolist())
    assert list(labels) == sorted(truth)
    asked = np.arange(20_000)
    assert asked[labels.has(asked)].tolist() == sorted(truth)
    assert 12_346 not in labels
    assert 10**9 not in labels


def test_an_empty_set_of_labels_has_none() -> None:
    labels = LabelSet()
    assert not labels
    assert list(labels) == []
    assert not labels.has(np.array([0, 5])).any()
    labels.update(np.array([], np.int64))
    labels.discard(4)
    assert len(labels) == 0
