"""Counts by key, added in place: the one way in which workers, ticks and strata are summed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def add_up(mine: dict[K, int], more: Mapping[K, int]) -> None:
    if not mine:  # nothing to look up, as mostly in the first of a tick
        mine.update(more)
        return
    held = mine.get
    for key, n in more.items():
        mine[key] = held(key, 0) + n
