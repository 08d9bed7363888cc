"""The encoded inputs of a decision give the same findings and the same move as the original inputs."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from crossfade.config.model import RolloutConfig
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.fuse import Came, next_reached
from crossfade.rollout.inputs import decode_inputs, encode_inputs
from crossfade.rollout.machine import Phase, RolloutState
from crossfade.rollout.plan import OF_COPIES, Plan
from crossfade.rollout.recent import RecentOutcomes
from crossfade.rollout.ripe import Ripe
from crossfade.rollout.strategy import expand
from crossfade.stats.counts import is_bad, outcome_of
from crossfade.stats.histogram import Histogram
from crossfade.stats.pairs import Measured, Pairs

from .counting import cell, check, gather, ripened

CHECKS = (
    check("error_rate", max="1%"),
    check("error_rate", max_increase="1%"),
    check("latency", quantile="p90", max="200ms"),
    check("latency", quantile="p99", max_ratio=1.25),
    check("requests", min=50),
    check("kpi", name="conversion", min_increase=0),
    check("kpi", name="conversion", kind="event", min_increase=0),
    check("kpi", name="conversion", range=[0, 2], min=0.05),
    check("score_divergence", max=0.1),
    check("disagreement", max="5%"),
    check("distance", max=0.05),
    check("segment_divergence", max="5%"),
    check("shadow_latency", quantile="p50", max_ratio=1.25),
    check("shadow_errors", max="1%"),
)


def plan(checks=CHECKS, **fuse: float) -> Plan:
    steps = ({"weight": 500, "hold": 3.5}, {"weight": 5000, "hold": 7})
    given = {"strategy": "canary", "champion": "v2", "challenger": "v3", "steps": steps}
    made = expand(RolloutConfig.model_validate(given | ({"fuse": fuse} if fuse else {})))
    return msgspec.structs.replace(made, checks=tuple(checks))


def random_pairs(n: int, rng: random.Random, tick: int) -> Pairs:
    made = Pairs(n, n // 5, n // 9, n / 20, n // 20, 1, 1)
    for _ in range(n):
        again = rng.randint(0, 9) if rng.random() < 0.25 else None
        durations = None if again is None else (tick, rng.randint(500, 520), rng.randint(500, 520))
        segments = (("plan", rng.choice("zxcvb")), ("country", rng.choice("qwert")))
        made.add(
            rng.random() < 0.2,
            None,
            0.25,
            None if again is None else again > 7,
            measured=Measured(rng.randint(0, 20), again, segments, durations),
        )
    return made


def random_input(rng: random.Random, plan_used: Plan) -> EvaluationInput:
    """Counts of every kind in two steps and the watch, at a random point of the rollout."""
    evidence, recents, other = (
        Evidence("v2", "v3", baseline=Histogram()),
        (RecentOutcomes(), RecentOutcomes()),
        random.Random(1),
    )
    for step, share in enumerate((0.05, 0.5, 1.0)):
        evidence.open("r", step, step, share)
        for tick in range(rng.randint(0, 12)):
            cells, rows = [], []
            for recent, name, n in zip(
                recents, ("v3", "v2"), (int(200 * share), int(200 * (1 - share))), strict=True
            ):
                times = [rng.lognormvariate(-3, 0.5) for _ in range(n)]
                made = cell(name, n, sum(rng.random() < 0.02 for _ in range(n)), step, times)
                made.codes, made.fell_back, made.unkeyed = {200: n}, n // 9, n // 2
                made.pairs = random_pairs(n, other, tick)
                for _ in range(n):
                    made.scores.add(other.random())
                    value = float(other.random() < 0.1)
                    row = Ripe(
                        0, step, name, other.getrandbits(6), other.random() < 0.5, {"conversion": value}
                    )
                    rows.append(row)
                keys = [None if rng.random() < 0.5 else rng.getrandbits(6) << 50 for _ in range(n)]
                made.recent = [outcome_of(key, rng.random() < 0.4) for key in keys]
                recent.add(made.recent, 1000.0 * step + tick, 5000 * (step + 1) + tick)
                cells.append(made)
            gather(evidence, cells, plan_used.checks)
            ripened(evidence, rows, checks=plan_used.checks)
    phase = rng.choice([Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTED])
    state = RolloutState(
        "r", "canary", "v2", "v3", "i", plan_used.steps, 60.0, 0.0, 0.0, 0.0, phase, begun=True
    )
    state = msgspec.structs.replace(state, step=rng.randint(0, 1), watch_until=9e9)
    came = Came((), dict.fromkeys(range(4990, 15020), 9) if rng.random() < 0.5 else {}, 0.0)
    return EvaluationInput(
        plan_used,
        state,
        evidence,
        *recents,
        rng.random() < 0.5,
        rng.choice([0.0, 0.3]),
        True,
        warming=rng.random() < 0.2,
        reached=next_reached(None, plan_used.fuse, recents, came) if plan_used.fuse else None,
    )


@pytest.mark.parametrize("seed", range(40))
def test_decoded_inputs_give_the_same_findings_and_move(seed):
    rng = random.Random(seed)
    fuse = {"consecutive_errors": rng.randint(1, 40), "error_share": 0.5, "of_last": rng.randint(2, 60)}
    given = random_input(rng, plan(**(fuse if seed % 2 else {})))
    again = decode_inputs(json.loads(json.dumps(encode_inputs(given), sort_keys=True, allow_nan=False)))
    assert again.plan == given.plan and again.state == given.state
    findings = evaluate(given)
    assert evaluate(again) == findings
    assert choose_move(again, findings, 5.0) == choose_move(given, findings, 5.0)
    assert encode_inputs(again) == encode_inputs(given)


def test_fields_that_change_no_verdict_are_left_out():
    given = random_input(random.Random(3), plan(checks=CHECKS[:2]))
    kept = decode_inputs(encode_inputs(given))
    assert all(not s.challenger.duration.buckets and not s.champion.recent for s in kept.evidence.strata)
    pairs = [s.challenger.pairs for s in kept.evidence.strata]
    assert all(not p.distances.counts and not p.segments and not p.latency.copies for p in pairs)
    assert kept.evidence.again.durations.count and not kept.evidence.again.durations.buckets
    assert len(kept.challenger.last(99).units) == 20
    since = max(kept.challenger.ticks[0].at, kept.champion.ticks[0].at)
    assert since > given.champion.ticks[0].at
    assert bad_by_second(kept.champion, since) == bad_by_second(given.champion, since)
    assert sum(len(tick.outcomes) for tick in given.champion.ticks) > 20
    assert (
        max(one for recent in (kept.challenger, kept.champion) for t in recent.ticks for one in t.outcomes)
        < 200
    )


def bad_by_second(recent: RecentOutcomes, since: float = 0.0) -> dict[int, list[bool]]:
    return {tick.second: list(map(is_bad, tick.outcomes)) for tick in recent.ticks if tick.at >= since}


def test_earlier_steps_are_kept_if_the_present_step_has_no_comparable_stratum():
    given = random_input(random.Random(3), plan([c for c in CHECKS if c.metric not in OF_COPIES]))
    for phase, step, kept in ((Phase.PROGRESSING, 1, [1]), (Phase.PROMOTED, 1, [0, 1, 2])):
        state = msgspec.structs.replace(given.state, phase=phase, step=step)
        again = decode_inputs(encode_inputs(msgspec.structs.replace(given, state=state)))
        assert [s.step for s in again.evidence.strata] == kept


def at_the_second_step(checks) -> EvaluationInput:
    """Inputs of a running rollout in its second step, with counts of both steps."""
    given = random_input(random.Random(3), plan(checks))
    state = msgspec.structs.replace(given.state, phase=Phase.PROGRESSING, step=1)
    return msgspec.structs.replace(given, state=state)


@pytest.mark.parametrize("only", CHECKS, ids=lambda only: only.title)
def test_for_a_single_check_the_strata_that_it_counts_are_kept(only):
    """Checks of copies may count those of an earlier step; no other check does from strata."""
    given = at_the_second_step([only])
    again = decode_inputs(encode_inputs(given))
    kept = [0, 1, 2] if only.metric in OF_COPIES else [1]
    assert [s.step for s in again.evidence.strata] == kept
    assert evaluate(again) == evaluate(given)


def test_earlier_steps_are_left_out_if_a_stratum_of_the_present_step_is_comparable():
    """Another rollout of the route may have taken the champion's traffic for a part of the step."""
    given = at_the_second_step(CHECKS[:2])
    given.evidence.open("r", 9, 1, 1.0)
    assert [s.version for s in decode_inputs(encode_inputs(given)).evidence.strata] == [1, 9]


@pytest.mark.parametrize("value", [{}, {"plan": 1}])
def test_invalid_inputs_are_refused(value):
    with pytest.raises(msgspec.ValidationError):
        decode_inputs(value)


def test_customers_are_no_part_of_a_record():
    """Feedback of many customers does not make a decision longer."""
    given = at_the_second_step(CHECKS)
    assert all(found.customers or found.first.units for found in given.evidence.kpis.values())
    kept = decode_inputs(encode_inputs(given)).evidence.kpis
    assert len(kept) == 3
    assert not any(found.customers or found.first.units for found in kept.values())
