"""Pairs: two answers to the same request, that of the champion and that of a mirrored copy."""

from __future__ import annotations

import msgspec


class Pairs(msgspec.Struct):
    """Pairs of decisions; merging is addition.

    `discordant`: the challenger decided otherwise than the champion; `raised`: of these, those in which it
    said yes to the champion's no. `noise_n`, `noise_discordant`: the champion asked twice.
    """

    n: int = 0
    discordant: int = 0
    raised: int = 0
    noise_n: int = 0
    noise_discordant: int = 0

    def merge(self, other: Pairs) -> None:
        self.n += other.n
        self.discordant += other.discordant
        self.raised += other.raised
        self.noise_n += other.noise_n
        self.noise_discordant += other.noise_discordant
