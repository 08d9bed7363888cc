"""The worlds of the simulated rollouts: in HEALTHY ones the challenger is as good as the champion, in FAULTY ones it is not.

Rule: limits are those that an operator would write for the usual values of the world, not for its accidents. The name
seeds the random generator, so another name gives other runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loadtests.traffic import (
    P99,
    EffectOf,
    World,
    bad_endpoint,
    cold_start,
    episodes,
    errors,
    errors_in_watch,
    late_errors,
    of_day,
    pauses,
    poison,
    slower,
    without_score,
)

HOUR = 3600.0


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def plan(holds: tuple[str, str, str], *checks: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A ramp 5 → 25 → 50 % with these holds and checks."""
    weights = ("5%", "25%", "50%")
    steps = [{"weight": w, "hold": hold} for w, hold in zip(weights, holds, strict=True)]
    return {"steps": steps, "checks": list(checks)} | keys


def error_max(limit: str) -> dict[str, Any]:
    return {"metric": "error_rate", "max": limit}


def error_increase(limit: str) -> dict[str, Any]:
    return {"metric": "error_rate", "max_increase": limit}


def p99_max(times: float) -> dict[str, Any]:
    return {"metric": "latency", "quantile": 0.99, "max": ms(times * P99)}


def p99_ratio(limit: float) -> dict[str, Any]:
    return {"metric": "latency", "quantile": 0.99, "max_ratio": limit}


SHORT = ("10m", "10m", "20m")
TWENTY, FORTY = ("20m", "20m", "20m"), ("40m", "40m", "40m")
ERRORS = (error_max("2%"), error_increase("0.5%"))
ALL = (*ERRORS, p99_max(1.5), p99_ratio(1.25))


def with_pauses(an_hour: float, ours: int, theirs: int) -> World:
    return World(
        f"pauses of 1 s, {an_hour:.0f} an hour, {ours} v {theirs}",
        (errors(0.005), pauses(an_hour, 1.0, (ours, theirs))),
        plan(TWENTY, p99_ratio(1.1)),
        endpoints=(ours, theirs),
    )


def outage(lag: float) -> World:
    """A look each second, since the order in which outcomes become known is what matters."""
    return World(
        f"shared outage of 20 s, champion's failures {lag:.0f} s later",
        (errors(0.005), episodes(HOUR / 3, 20, fails=1.0, lag=lag)),
        plan(("5m", "5m", "10m"), error_max("5%"), error_increase("0.5%")),
        rate=50.0,
        look=1,
        runs=0.25,
    )


def at_rate(name: str, rate: float, **keys: Any) -> World:
    return World(name, (errors(0.005),), rate=rate, **keys)


DAY = World(
    "a day: load curve, blips, pauses",
    (
        errors(0.004),
        episodes(3 * HOUR, (2, 20), fails=(0.05, 0.5)),
        episodes(4 * HOUR, (10, 60), factor=(1.3, 2.0)),
        pauses(6.0, (0.2, 3.0), (2, 2)),
    ),
    plan(("4h", "8h", "12h"), *ERRORS, p99_max(1.5), p99_ratio(1.1)),
    rate=of_day(20.0, 0.6),
    endpoints=(2, 2),
    look=20,
    runs=0.25,
)


def watched(name: str, watch: Any, *effects: EffectOf) -> World:
    """The watch is the world: the step before it is short."""
    checks = [error_max("5%"), error_increase("0.5%")]
    settings = {"steps": [{"weight": "50%", "hold": "10m"}], "checks": checks, "watch": watch}
    return World(name, effects, settings, rate=50.0, look=20, onset=600.0, runs=0.5)


HOLDBACK = {"for": "4h", "holdback": "2%"}
HEALTHY = (
    World("errors 0.5 %, independent", (errors(0.005),)),
    World("errors 0.1 %", (errors(0.001),), plan(SHORT, error_max("0.5%"), error_increase("0.1%"))),
    World(
        "errors 1 %, at the limits",
        (errors(0.01),),
        plan(SHORT, error_max("1%"), error_increase("0%")),
    ),
    DAY,
    World(
        "`max: 1%`, one hour at 1.5 % on both",
        (errors(0.005), episodes(2 * HOUR, HOUR, fails=0.015)),
        plan(FORTY, error_max("1%")),
        rate=50.0,
        look=20,
        runs=0.5,
    ),
    World(
        "`max: 5%`, 60 s at 20 % on both in two hours",
        (errors(0.01), episodes(2 * HOUR, 60, fails=0.2)),
        plan(FORTY, error_max("5%")),
        rate=50.0,
        runs=0.5,
    ),
    World(
        "p99 `max` 1.25 × usual, both 1.8 × slower for 60 s twice an hour",
        (errors(0.005), episodes(HOUR / 2, 60, factor=1.8)),
        plan(TWENTY, p99_max(1.25)),
    ),
    *(with_pauses(10, *sides) for sides in ((1, 1), (3, 1), (3, 3))),
    *(with_pauses(1, *sides) for sides in ((1, 1), (3, 1), (3, 3), (1, 6), (6, 1))),
    World(
        "one sticky customer, 17 % of the traffic, fails on either",
        (errors(0.005), poison(1.0, first=1)),
        plan(SHORT, error_increase("0.5%")),
        customers=200,
        skew=1.0,
    ),
    World(
        "one sticky customer of 200 fails on either",
        (errors(0.001), poison(1.0, first=1)),
        plan(SHORT, *ERRORS),
        customers=200,
    ),
    World(
        "five sticky customers of 500, 10 % of the traffic, fail on either",
        (errors(0.001), poison(1.0, first=5)),
        plan(SHORT, error_increase("0.5%")),
        customers=500,
        skew=0.5,
    ),
    outage(5),
    outage(20),
    World(
        "scores alike",
        (errors(0.005),),
        plan(
            SHORT,
            {"metric": "score_divergence", "max": 0.1},
            {"metric": "score_divergence", "max_ratio": 1.5},
        ),
        scored=5.0,
        rate=20.0,
    ),
    World(
        "40 % of the challenger's answers without a score",
        (errors(0.005), without_score(0.4)),
        plan(SHORT, {"metric": "score_divergence", "max_ratio": 1.5}),
        scored=5.0,
        rate=20.0,
    ),
    World(
        "cold start: 10 % errors for 20 s of added traffic, `warm_up: 60s`",
        (errors(0.005), cold_start(0.1, 20)),
        plan(SHORT, *ERRORS, warm_up="60s"),
        look=5,
    ),
    World(
        "heavy-tailed durations (Pareto 1.5)",
        (errors(0.005),),
        plan(SHORT, *ERRORS, p99_ratio(1.25)),
        tail=1.5,
    ),
    World("50 customers", (errors(0.005), poison(0.05, every=10)), customers=50, skew=0.5),
    World("20 000 customers", (errors(0.002), poison(0.5, every=100)), customers=20_000, skew=0.5),
    watched(
        "watch of 4 h, `holdback: 2%`, 60 s at 20 % on both each hour",
        HOLDBACK,
        errors(0.01),
        episodes(HOUR, 60, fails=0.2),
    ),
    watched(
        "watch of 4 h without a holdback, 60 s at 20 % on both each hour",
        "4h",
        errors(0.01),
        episodes(HOUR, 60, fails=0.2),
    ),
    World(
        "one of the challenger's 4 endpoints fails 10 %",
        (errors(0.005), bad_endpoint(0.1)),
        plan(SHORT, error_increase("0.5%")),
        endpoints=(4, 4),
    ),
    at_rate(
        "5 requests a minute",
        5 / 60,
        settings=plan(("1h", "1h", "2h"), *ALL),
        look=60,
        horizon=24 * HOUR,
    ),
    at_rate("10 requests a second", 10.0),
    at_rate("1 000 requests a second", 1000.0, runs=0.1),
)

_FAULTY = (
    World("1→2 %", (errors(0.01, 0.02),)),
    World("1→5 %", (errors(0.01, 0.05),)),
    World("1→2 %, 10 a second", (errors(0.01, 0.02),), rate=10.0),
    World(
        "1→5 %, 5 requests a minute",
        (errors(0.01, 0.05),),
        plan(("1h", "1h", "2h"), *ALL),
        rate=5 / 60,
        look=60,
        horizon=24 * HOUR,
    ),
    World("1→5 %, 1 000 customers", (errors(0.01, 0.05),), customers=1000),
    World("twice `max: 2%`, champion at 1 %", (errors(0.01, 0.04),), plan(TWENTY, error_max("2%"))),
    World("p99 × 1.5", (errors(0.005), slower(1.5, above=P99 * 0.6))),
    World(
        "scores 0.17 apart",
        (errors(0.005),),
        plan(SHORT, {"metric": "score_divergence", "max": 0.1}),
        scored=3.5,
        rate=20.0,
    ),
    *(
        World(
            f"1→{percent} % in the last 10 min of 4 h at 5 %",
            (errors(0.01), late_errors(percent / 100, 600)),
            {"steps": [{"weight": "5%", "hold": "4h"}], "checks": list(ERRORS)},
            rate=20.0,
            look=20,
            onset=-600.0,
        )
        for percent in (5, 10)
    ),
    World(
        "1→2 %, 1 point allowed, 10 a second: promoted early by `advance_early: 5%`",
        (errors(0.01, 0.02),),
        plan(("2h", "2h", "2h"), error_increase("1%"), advance_early="5%"),
        rate=10.0,
        look=30,
        horizon=5.9 * HOUR,
    ),
    World(
        "1→2.2 %, 1 point allowed, 500 customers: promoted early by `advance_early: 5%`",
        (errors(0.01, 0.022),),
        plan(("2h", "2h", "2h"), error_increase("1%"), advance_early="5%"),
        rate=10.0,
        customers=500,
        look=30,
        horizon=5.9 * HOUR,
    ),
    watched(
        "1→4 % after the promote, watch of 4 h, `holdback: 2%`", HOLDBACK, errors(0.01), errors_in_watch(0.04)
    ),
    watched(
        "1→4 % after the promote, watch of 4 h without a holdback", "4h", errors(0.01), errors_in_watch(0.04)
    ),
)
FAULTY = tuple(replace(world, runs=world.runs / 4) for world in _FAULTY)
