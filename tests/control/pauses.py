"""The pauses between attempts to tell somebody, of messages and of orders to train."""

from __future__ import annotations

from types import ModuleType

import pytest

from crossfade.rollout.retraining import pause_after


def without_pauses(monkeypatch: pytest.MonkeyPatch, sender: ModuleType) -> list[float]:
    """`sender`: the module that makes them. Returns the pauses that there would have been, in seconds; the list grows with each."""
    found: list[float] = []

    def pause(attempt: int) -> float:
        found.append(pause_after(attempt))
        return 0.0

    monkeypatch.setattr(sender, "pause_after", pause)
    return found
