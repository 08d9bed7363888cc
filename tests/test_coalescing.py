"""Periods end at the same instants, whoever waits and since when."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossfade.coalescing import LEAST, end_of, until_next

PERIODS = st.sampled_from([0.05, 0.25, 0.5, 1.0])
TIMES = st.integers(0, 10**9).map(lambda ms: ms / 1000)  # as the clock of an event loop


@given(TIMES, PERIODS)
def test_it_ends_at_a_multiple_of_the_period(now: float, period: float) -> None:
    pause = until_next(now, period)
    assert LEAST * period <= pause <= (1 + LEAST) * period
    assert round((now + pause) * 1000) % round(period * 1000) == 0


@given(TIMES, PERIODS, st.floats(0, 0.001))
def test_a_timer_that_fires_early_does_not_fire_twice_for_one_end(
    now: float, period: float, early: float
) -> None:
    end = now + until_next(now, period)
    assert until_next(end - early, period) > period / 2


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while it waits; `woken`: when it was."""

    def __init__(self) -> None:
        self.now, self.woken = 1000.0, list[float]()
        super().__init__(Passing(self))

    def time(self) -> float:
        return self.now


class Passing(selectors.SelectSelector):
    def __init__(self, loop: Clock) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.loop.now = round(self.loop.now + timeout, 6)
            self.loop.woken.append(self.loop.now)
        return super().select(0)


def test_tasks_of_several_periods_wake_the_process_once() -> None:
    async def work(begin: float, period: float, after: float = 0.0) -> None:
        await asyncio.sleep(begin)
        while True:
            await end_of(period, after)

    async def all_of_it() -> None:
        tasks = [
            asyncio.ensure_future(task)
            for task in (work(0.013, 0.25), work(0.087, 0.25), work(0.21, 0.5), work(0.111, 1.0))
        ]
        tasks.append(asyncio.ensure_future(work(0.3, 0.25, after=0.005)))
        await asyncio.sleep(3.01)
        for task in tasks:
            task.cancel()

    with asyncio.Runner(loop_factory=Clock) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Clock)
        runner.run(all_of_it())
        woken = [at for at in loop.woken if 1001 <= at <= 1003]
    assert woken == [round(1001 + n / 4 + after, 3) for n in range(8) for after in (0, 0.005)] + [1003.0]
