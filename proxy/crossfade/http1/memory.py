"""What was made of bytes, to be known again by them: a look-up costs a tenth of making it anew.

Rule: clients and models repeat themselves, but nobody may fill the memory by not doing so. What is long is
not kept, and what is full is emptied, as what is still in use comes back by itself.
"""

from __future__ import annotations

from typing import TypeVar

V = TypeVar("V")


def remember(known: dict[bytes, V], key: bytes, value: V, most: int, longest: int) -> None:
    """Keep at most so many values, of keys of at most so many bytes."""
    if len(key) > longest:
        return
    if len(known) >= most:
        known.clear()
    known[key] = value
