"""Counts by key, added in place: workers, ticks and strata are all summed by this function."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def add_up(mine: dict[K, int], more: Mapping[K, int]) -> None:
    if not mine:  # the usual case in the first report of a tick: no look-up is needed
        mine.update(more)
        return
    held = mine.get
    for key, n in more.items():
        mine[key] = held(key, 0) + n
