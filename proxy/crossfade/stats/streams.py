"""Streamed answers: sums of what streams took and said, and the values of each stream that tests need.

Rule: a stream is the unit. One gap, drawn by the request's id, stands for the gaps of its stream in tests; the sums
have all gaps.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from crossfade.stats.histogram import Histogram
from crossfade.stats.sums import add_up

FIRST_TOKEN: Final = "first_token"  # measures of streams, as checks name them
TOKEN_GAP: Final = "token_gap"
TOKENS_PER_SECOND: Final = "tokens_per_second"
OUTPUT_LENGTH: Final = "output_length"
STREAM_BROKEN: Final = "stream_broken"
STREAM: Final = "stream"  # begins the names of all kinds of events of streams
MEASURES: Final = (FIRST_TOKEN, TOKEN_GAP, TOKENS_PER_SECOND, OUTPUT_LENGTH)


class StreamValues(NamedTuple):
    """Of one stream; None where it has no such value. `key`: the sticky key's hash. Seconds, tokens a second, and tokens."""

    key: int | None
    broken: bool
    first_token: float | None = None
    token_gap: float | None = None
    tokens_per_second: float | None = None
    output_length: float | None = None

    def value(self, measure: str) -> float | None:
        found: float | None = getattr(self, measure)
        return found


class Streams(msgspec.Struct):
    """Sums over streams; merging is addition. `finish`: why they ended, as the model says. `tokens`: of outputs, and of prompts."""

    n: int = 0
    broken: int = 0
    stalls: int = 0
    first_token: Histogram = msgspec.field(default_factory=Histogram)
    token_gap: Histogram = msgspec.field(default_factory=Histogram)
    tokens_per_second: Histogram = msgspec.field(default_factory=Histogram)
    output_length: Histogram = msgspec.field(default_factory=Histogram)
    finish: dict[str, int] = msgspec.field(default_factory=dict)
    tokens: int = 0
    prompt_tokens: int = 0

    def merge(self, other: Streams) -> None:
        self.n += other.n
        self.broken += other.broken
        self.stalls += other.stalls
        for measure in MEASURES:
            self.values(measure).merge(other.values(measure))
        add_up(self.finish, other.finish)
        self.tokens += other.tokens
        self.prompt_tokens += other.prompt_tokens

    def values(self, measure: str) -> Histogram:
        found: Histogram = getattr(self, measure)
        return found

    def add(self, values: StreamValues) -> None:
        """All but the gaps, of which a stream has many."""
        self.n += 1
        self.broken += values.broken
        for measure in (FIRST_TOKEN, TOKENS_PER_SECOND, OUTPUT_LENGTH):
            value = values.value(measure)
            if value is not None:
                self.values(measure).add(value)
