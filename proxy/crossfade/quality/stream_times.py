"""When the content of a stream came: from the times of its bytes to the times of its tokens.

Rule: a piece of content came when the last byte of its event did. Pieces that came together have a gap of 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from crossfade.quality.answer import StreamTimes

STALL: Final = 1.0  # seconds without content, after the first piece


class Arrivals:
    """`ends` and `seconds`: the bytes up to `ends[i]` were there at `seconds[i]`. `otherwise`: of bytes behind the last one."""

    def __init__(self, ends: Sequence[int], seconds: Sequence[float], otherwise: float) -> None:
        self.ends = ends
        self.seconds = seconds
        self.otherwise = otherwise

    def at(self, end: int) -> float:
        index = bisect_left(self.ends, end)
        return self.seconds[index] if index < len(self.seconds) else self.otherwise


def times_of(moments: Sequence[float], tokens: int | None, broken: bool) -> StreamTimes:
    """`moments`: of each piece of content. `tokens`: as the model counts them; None: a piece counts as one."""
    if not moments:
        return StreamTimes(None)
    gaps = tuple([max(0.0, later - earlier) for earlier, later in pairwise(moments)])
    lasted = moments[-1] - moments[0]
    count = (len(moments) if tokens is None else tokens) - 1  # the first token is where the time begins
    rate = count / lasted if lasted > 0 and count > 0 else None
    return StreamTimes(moments[0], gaps, sum(gap >= STALL for gap in gaps), rate, broken)
