"""Means of numbers that come back later (a KPI), compared while weights change."""

from __future__ import annotations

import msgspec


class Moments(msgspec.Struct):
    """Numbers of one side: how many, their sum and the sum of their squares; merging is addition.

    The unit is the customer where routing is sticky: one number for each key.
    `binary`: all of them were 0 or 1.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    binary: bool = True

    def add(self, value: float) -> None:
        self.n += 1
        self.total += value
        self.squares += value * value
        self.binary = self.binary and value in (0, 1)

    def merge(self, other: Moments) -> None:
        self.n += other.n
        self.total += other.total
        self.squares += other.squares
        self.binary = self.binary and other.binary
