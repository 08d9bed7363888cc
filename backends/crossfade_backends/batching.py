"""Scores the rows of different requests together: a call of a model costs much, a further row of the call little.

A batch is scored as soon as it has as many rows as are worth waiting for. With a row in a while that is one, and nobody waits.
With rows so often that more are expected within `wait`, it is as many as are expected, so that a burst does not wait to the end.
Whatever is expected, a batch has at most `rows` rows and its first row waits at most `wait`; and rows that came in the same turn
of the event loop, above all those that came while another batch was scored, are scored together without any wait.

Clients that wait for an answer before they ask again come seldom while their rows wait. So a wait in which nobody came is followed
by batches that do not wait: 1, then 3, 7 … 63 of them, until a wait meets another row.

Rule: an error of one request is its own. Where a batch cannot be scored, each of its requests is scored alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from crossfade_backends.data import FloatArray

# Scored in about a millisecond, in which the event loop does nothing else.
MOST_ROWS = 1000
MOST_WAIT = 1.0
# A new gap between requests counts for an eighth (as round trips do in TCP, RFC 6298).
_WEIGHT = 1 / 8
# One gap of 16 waits makes the mean more than a wait, so that after a silence nobody waits; a longer one counts no more, so that
# a burst is noticed after a few requests.
_LONGEST_GAP = 16.0
_LEAST_PATIENT = 6


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """At most `rows` rows in a batch (1: each request alone), whose first row waits at most `wait` seconds."""

    rows: int = 64
    wait: float = 0.0


def mean_gap(before: float, observed: float, wait: float) -> float:
    """The moving mean of seconds between requests."""
    return before + _WEIGHT * (min(observed, _LONGEST_GAP * wait) - before)


def worth_waiting_for(gap: float, limits: BatchLimits) -> int:
    """Rows in a batch: the first one, and those expected within the wait if a request comes every `gap` seconds."""
    if limits.wait <= 0 or gap > limits.wait:
        return 1
    if gap * limits.rows <= limits.wait:
        return limits.rows
    return min(limits.rows, 1 + int(limits.wait / gap))


def patience_after(waits_in_vain: int) -> int:
    """Batches that do not wait after this many waits, one after the other, in which nobody came."""
    return (1 << min(waits_in_vain, _LEAST_PATIENT)) - 1


@dataclass(slots=True, eq=False)
class _Waiting:
    matrix: FloatArray
    scores: asyncio.Future[FloatArray]


@dataclass(slots=True, eq=False)
class _Batch:
    since: float
    requests: list[_Waiting] = field(default_factory=list)
    rows: int = 0
    is_due: bool = False
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Of one event loop. `score`: (n, 5) to (n,). `observe` gets the rows of each call of it, and the wait of the first row."""

    def __init__(
        self,
        limits: BatchLimits,
        score: Callable[[FloatArray], FloatArray],
        observe: Callable[[int, float], None],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._limits = limits
        self._score = score
        self._observe = observe
        self._batch: _Batch | None = None
        self._gap = _LONGEST_GAP * limits.wait
        self._clock = clock
        self._last = clock()
        self._in_vain = 0
        self._hurried = 0  # batches that will not wait

    async def score(self, matrix: FloatArray) -> FloatArray:
        """The scores of these rows, bit for bit as alone. Raises what `score` raises for them alone."""
        now = self._clock()
        self._gap = mean_gap(self._gap, now - self._last, self._limits.wait)
        self._last = now
        if len(matrix) >= self._limits.rows:
            self._observe(len(matrix), 0.0)
            return self._score(matrix)
        waiting = _Waiting(matrix, asyncio.get_running_loop().create_future())
        self._add(waiting, now)
        return await waiting.scores

    def _add(self, waiting: _Waiting, now: float) -> None:
        batch = self._batch
        if batch is not None and batch.rows + len(waiting.matrix) > self._limits.rows:
            self._close(batch)
            batch = None
        if batch is None:
            batch = self._batch = _Batch(now)
        batch.requests.append(waiting)
        batch.rows += len(waiting.matrix)
        if not batch.is_due:
            self._plan(batch)

    def _plan(self, batch: _Batch) -> None:
        loop = asyncio.get_running_loop()
        enough = batch.rows >= worth_waiting_for(self._gap, self._limits)
        if not enough and self._hurried:
            self._hurried -= 1
            enough = True
        if enough:
            batch.is_due = True
            if batch.timer is not None:
                self._in_vain = 0
            # After all that is ready in this turn.
            loop.call_soon(self._close, batch)
        elif batch.timer is None:
            batch.timer = loop.call_later(self._limits.wait, self._end_wait, batch)

    def _end_wait(self, batch: _Batch) -> None:
        self._in_vain = self._in_vain + 1 if len(batch.requests) == 1 else 0
        self._hurried = patience_after(self._in_vain)
        self._close(batch)

    def _close(self, batch: _Batch) -> None:
        """Scores the batch, unless that is done."""
        if batch is not self._batch:
            return
        self._batch = None
        if batch.timer is not None:
            batch.timer.cancel()
        # Without those whose client has gone.
        requests = [each for each in batch.requests if not each.scores.done()]
        if requests:
            self._answer(requests, self._clock() - batch.since)

    def _answer(self, requests: Sequence[_Waiting], waited: float) -> None:
        matrix = requests[0].matrix if len(requests) == 1 else np.vstack([each.matrix for each in requests])
        self._observe(len(matrix), waited)
        try:
            scores = self._score(matrix)
        except Exception as error:
            if len(requests) == 1:
                requests[0].scores.set_exception(error)
                return
            for each in requests:
                self._answer([each], waited)
            return
        start = 0
        for each in requests:
            end = start + len(each.matrix)
            each.scores.set_result(scores[start:end])
            start = end
