"""Which of many names have counts of their own; all others are counted together.

Rule: the names whose hash is lowest are kept, not those that came first. A name that is kept of all of them is kept of
any part of them, so its counts are whole, and parts give the same sum in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

REST: Final = "\0"  # the name of all names that are not kept; no model gives it
_CACHED: Final = 8192


@lru_cache(_CACHED)
def rank_of(name: str) -> int:
    """Looks random, and is the same everywhere. Below 2⁵⁶, so that JSON readers keep it exact."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big")


def to_let_go(names: Iterable[str], most: int) -> list[str]:
    """The names that are not kept when at most so many are, beside REST."""
    own = [name for name in names if name != REST]
    return sorted(own, key=lambda name: (rank_of(name), name))[most:] if len(own) > most else []
