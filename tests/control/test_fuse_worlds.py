"""The fuse in worlds in which a healthy challenger used to be aborted, and in which a bad one must be, in simulated time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from crossfade.config.model import RolloutConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.rollout.evaluation import evaluate
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.fuse import FUSE
from crossfade.rollout.inputs import decode_inputs, encode_inputs
from crossfade.rollout.machine import RolloutState
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import Cell, outcome_of

TICK = 0.25
START = 1000.0  # of the monotonic clock


@dataclass
class Request:
    """Times in seconds. `first_byte`: when it stops waiting, which is not before its end if it is an error."""

    backend: str
    routed: float
    first_byte: float
    ended: float
    outcome: int


@dataclass
class World:
    """`answer`: (backend, key, time of routing) → (seconds to the first byte, seconds to the end, is an error)."""

    answer: Callable[[str, int, float], tuple[float, float, bool]]
    rate: float = 60.0
    share: float = 0.3
    customers: int = 0  # without, no request has a key
    running: list[Request] = field(default_factory=list)

    def tick(self, rng: random.Random, now: float) -> tuple[list[Cell], dict[str, dict[int, int]]]:
        """What a report at `now` has of the tick before it."""
        for _ in range(int(self.rate * TICK + rng.random())):
            key = rng.randrange(self.customers) if self.customers else None
            toss = rng.random() if key is None else (key * 0.6180339887) % 1
            backend = "v3" if toss < self.share else "v2"
            at = now - TICK * rng.random()
            wait, lasts, bad = self.answer(backend, key or 0, at)
            outcome = outcome_of(None if key is None else (key + 1) << 32, bad)
            self.running.append(Request(backend, at, at + wait, at + lasts, outcome))
        ended = [r for r in self.running if r.ended <= now]
        self.running = [r for r in self.running if r.ended > now]
        waiting: dict[str, Counter[int]] = {"v2": Counter(), "v3": Counter()}
        for request in self.running:
            if request.first_byte > now:
                waiting[request.backend][int(request.routed)] += 1
        cells: dict[tuple[str, int], Cell] = {}
        for r in sorted(ended, key=lambda r: r.ended):
            second = int(r.routed)
            role = "challenger" if r.backend == "v3" else "champion"
            cell = cells.setdefault((r.backend, second), Cell("r", r.backend, role, 2, second=second))
            cell.requests += 1
            cell.errors += r.outcome & 1
            cell.duration.add(r.ended - r.routed)
            cell.recent.append(r.outcome)
        return list(cells.values()), {name: dict(by) for name, by in waiting.items()}


def rollout_with_fuse(share: float, **fuse: float) -> RolloutRuntime:
    config = RolloutConfig.model_validate(
        {
            "strategy": "canary",
            "champion": "v2",
            "challenger": "v3",
            "steps": ({"weight": round(share * 10_000), "hold": 3600},),
            "checks": ({"metric": "requests", "min": 1},),
            "fuse": {"consecutive_errors": 5} | fuse,
        }
    )
    evidence = Evidence("v2", "v3")
    evidence.open("r", 2, 0, share)
    runtime = RolloutRuntime()
    state = RolloutState("r", "canary", "v2", "v3", "i", (), 0.0, 0.0, 0.0, 0.0, begun=True)
    runtime.update(config, expand(config), state, evidence, True, {})
    runtime.state = state
    return runtime


def tripped_after(world: World, seed: int, seconds: float = 60.0, **fuse: float) -> float | None:
    """The seconds after which the fuse says FAIL, None if it does not. Each of its findings is the same in a replay."""
    rng, rollout = random.Random(seed), rollout_with_fuse(world.share, **fuse)
    for tick in range(1, int(seconds / TICK) + 1):
        cells, waiting = world.tick(rng, START + tick * TICK)
        rollout.gather(cells, tick * TICK, waiting)
        found = [finding for finding in rollout.verdicts if finding.check == FUSE]
        if found:
            assert evaluate(decode_inputs(encode_inputs(rollout.evaluation_input))) == rollout.verdicts
        if any(finding.verdict is Verdict.FAIL for finding in found):
            return tick * TICK
    return None


BEGAN = START + 10.4  # of an outage


def outage_with_lag(
    lag: float, lasts: float, usual: float, backend: str, key: int, at: float
) -> tuple[float, float, bool]:
    """The challenger's requests fail at once, and the champion's after `lag` seconds."""
    if not BEGAN <= at < BEGAN + lasts:
        return usual, usual, False
    late = lag if backend == "v2" else 0.01
    return late, late, True


def gross_failure(
    first_byte: float, lasts: float, backend: str, key: int, at: float
) -> tuple[float, float, bool]:
    """From BEGAN on the challenger fails at once; the champion answers as always."""
    if backend == "v3" and at >= BEGAN:
        return 0.01, 0.01, True
    return first_byte, lasts, False


def poison_customer(number: int, backend: str, key: int, at: float) -> tuple[float, float, bool]:
    """Whatever this customer asks fails on either model. It asks more often than the others."""
    return 0.02, 0.02, key % number == 0


def test_a_shared_outage_in_which_the_champions_failures_come_later_trips_nothing():
    for lag, usual, share in ((5.0, 0.05, 0.3), (20.0, 0.05, 0.05), (5.0, 1.0, 0.3)):
        world = partial(outage_with_lag, lag, 20.0, usual)
        assert [tripped_after(World(world, share=share), seed, 40.0) for seed in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("first_byte", "lasts", "within"),
    [
        (0.05, 0.05, 1.0),
        (
            0.05,
            30.0,
            5.0,
        ),  # requests with a first byte are not waiting, but nothing of the champion has ended
        (1.0, 1.0, 3.0),
    ],
)
def test_a_gross_failure_beside_a_healthy_champion_trips_at_once(first_byte, lasts, within):
    world = partial(gross_failure, first_byte, lasts)
    for seed in range(4):
        after = tripped_after(World(world), seed, 30.0)
        assert after is not None
        assert 0 < after - (BEGAN - START) <= within


def test_a_champion_that_never_answers_is_waited_for_until_the_horizon():
    def world(backend: str, key: int, at: float) -> tuple[float, float, bool]:
        return gross_failure(0.05, 0.05, backend, key, at) if backend == "v3" else (999.0, 999.0, False)

    after = tripped_after(World(world), 1, 90.0)
    assert after is not None
    assert 60.0 <= after - (BEGAN - START) <= 62.0


def test_a_customer_whose_requests_fail_on_either_model_trips_nothing():
    for customers, of_last in ((5, 20), (30, 20), (30, 4)):
        world = partial(poison_customer, customers)
        assert tripped_after(World(world, customers=customers), 1, 30.0, of_last=of_last) is None


def test_a_challenger_that_fails_for_all_of_its_many_customers_trips():
    after = tripped_after(World(partial(gross_failure, 0.05, 0.05), customers=100), 1, 30.0)
    assert after is not None
    assert after < 12.5
