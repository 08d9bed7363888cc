"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.rollout.verdict import duration, percent

__all__ = ["counted", "duration", "joined", "number", "percent", "points", "span", "whole"]


def whole(n: float) -> str:
    """With a thin space between thousands."""
    return f"{round(n):,}".replace(",", "\u202f")


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 or abs(value) >= 1e6 else whole(value)


def points(share: float) -> str:
    """A difference of shares, with its sign."""
    return f"{'+' if share > 0 else '−' if share < 0 else ''}{percent(abs(share))}"


def span(interval: Sequence[float]) -> str:
    """Of differences of shares."""
    return f"{points(interval[0])} to {points(interval[1])}"


def counted(n: int, one: str, many: str = "") -> str:
    return f"{whole(n)} {one if n == 1 else many or one + 's'}"


def joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
