"""How many examples a law is tried with, where it states a number of its own."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # of Hypothesis, and of the profile of the first Python


def tries(of_usual: int) -> int:
    """The number under the usual profile; under another one as much less or more as of the laws that state none."""
    default = settings.default
    assert default is not None
    return max(2, of_usual * default.max_examples // USUAL)
