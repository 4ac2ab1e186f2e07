"""Sets of labels, a bit for each number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


class LabelSet(MutableSet[int]):
    """Labels from 0 on, iterated in order. It takes an eighth of a byte for each number up to the largest.

    A Python set takes some 70 bytes for each label, which is much beside a vector of 2 kB, a million times.
    """

    def __init__(self, labels: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        self._count = 0
        self.update(np.fromiter(labels, np.int64))

    def __contains__(self, label: object) -> bool:
        assert isinstance(label, int)
        byte = label >> 3
        return 0 <= byte < len(self._bits) and bool(self._bits[byte] & 1 << (label & 7))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(self.array().tolist())

    def array(self) -> Labels:
        """The labels in order, int64 [n]."""
        return np.flatnonzero(self._unpacked()).astype(np.int64, copy=False)

    def has(self, labels: Labels) -> NDArray[np.bool_]:
        """Which of many labels, int64 [n], are in the set."""
        bits = self._unpacked()
        found = np.zeros(len(labels), bool)
        within = labels < len(bits)
        found[within] = bits[labels[within]]
        return found

    def add(self, value: int) -> None:
        """Take a label in; one that is there already is not an error."""
        if value not in self:
            byte = value >> 3
            if byte >= len(self._bits):
                self._bits.extend(bytes(byte + 1 - len(self._bits)))
            self._bits[byte] |= 1 << (value & 7)
            self._count += 1

    def discard(self, value: int) -> None:
        """Take a label out; one that is not there is no error."""
        if value in self:
            self._bits[value >> 3] &= ~(1 << (value & 7))
            self._count -= 1

    def update(self, labels: Labels) -> None:
        """Take many labels in, int64 [n]."""
        if not len(labels):
            return
        bits = self._unpacked()
        more = int(labels.max()) + 1 - len(bits)
        if more > 0:
            bits = np.append(bits, np.zeros(more, np.uint8))
        bits[labels] = 1
        self._bits = bytearray(np.packbits(bits, bitorder="little"))
        self._count = int(np.count_nonzero(bits))

    def _unpacked(self) -> NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(bytes(self._bits), np.uint8), bitorder="little")
