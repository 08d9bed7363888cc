"""Bounded caches from bytes to what was parsed from them.

Rule: clients and models repeat their messages, and a look-up costs a tenth of parsing. Long keys are not
kept. A full cache is emptied: entries still in use are added again.
"""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")


def remember(known: dict[bytes, V], key: bytes, value: V, most: int, longest: int) -> None:
    """Keeps the value if the key has at most `longest` bytes; the cache holds at most `most` values."""
    if len(key) > longest:
        return
    if len(known) >= most:
        known.clear()
    known[key] = value
