"""What the guard finds, which findings excuse a FAIL, and the next move of the rollout."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from crossfade.config.model import RolloutConfig
from crossfade.rollout.evaluation import EvaluationInput, choose_move, evaluate
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.guard import (
    CHAMPION,
    FALLBACKS,
    PROXY,
    RATIO,
    UNKEYED,
    WARMING_UP,
    GuardInput,
    evaluate_guard,
    is_failing,
)
from crossfade.rollout.machine import Event, RolloutState
from crossfade.rollout.recent import RecentOutcomes
from crossfade.rollout.strategy import expand
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import Cell

from .counting import cell, check, evidence

NO_FAULT = GuardInput(0.0, True, RecentOutcomes(), RecentOutcomes())


def counted(backend: str, requests: int, errors: int = 0, **fields: int) -> Cell:
    made = cell(backend, requests, errors)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def recent_outcomes(
    challenger: str, champion: str, at: float = 100.0, then: float = 100.0
) -> tuple[RecentOutcomes, RecentOutcomes]:
    """`x` is an error; times of the challenger's outcomes and of the champion's."""
    out = RecentOutcomes(), RecentOutcomes()
    for recent, outcomes, tick in zip(out, (challenger, champion), (at, then), strict=True):
        recent.add([int(c == "x") for c in outcomes], tick)
    return out


def found(made: Evidence, guard_input: GuardInput = NO_FAULT) -> list[tuple[str, bool]]:
    findings = evaluate_guard(made, 0, guard_input)
    assert all(g.finding.verdict is Verdict.VOID and g.finding.reason for g in findings)
    return [(g.finding.check, g.excuses) for g in findings]


@pytest.mark.parametrize(
    ("ours", "rest", "expected"),
    [
        ((0, 0), (0, 0), []),
        ((500, 500), (4500, 4500), []),
        ((500, 0), (100, 0), []),  # requests with a key are not tested
        ((800, 800), (4200, 4200), [(RATIO, True)]),  # records of the champion are missing
        ((200, 200), (4500, 4500), [(RATIO, False)]),  # records of the challenger are missing: it may hang
    ],
)
def test_a_wrong_sample_ratio_is_found(ours, rest, expected):
    sides = [counted(name, n, unkeyed=unkeyed) for name, (n, unkeyed) in (("v3", ours), ("v2", rest))]
    assert found(evidence(*sides), NO_FAULT._replace(sticky=False)) == expected


def test_the_sample_ratio_uses_the_share_of_each_stratum():
    made = evidence(counted("v3", 100, unkeyed=100), counted("v2", 900, unkeyed=900))
    made.open("r", 3, 0, 0.5)
    made.strata[1].challenger.unkeyed = made.strata[1].champion.unkeyed = 1000
    made.open("r", 4, 0, 1.0)
    made.strata[2].challenger.unkeyed = 5000  # no champion to compare with
    assert found(made, NO_FAULT._replace(sticky=False)) == []


def test_a_right_sample_ratio_is_not_reported_at_continuous_looks():
    rng, wrong = random.Random(5), 0
    for _ in range(200):
        made, here = evidence(), 0
        for look in range(1, 60):
            here += sum(rng.random() < 0.1 for _ in range(50))
            made.strata[0].challenger.unkeyed, made.strata[0].champion.unkeyed = here, 50 * look - here
            if found(made, NO_FAULT._replace(sticky=False)):
                wrong += 1
                break
    assert wrong <= 2


@pytest.mark.parametrize(
    ("ours", "rest", "expected"),
    [
        ((49, 49), (900, 0), []),
        ((100, 10), (900, 90), []),
        ((100, 11), (900, 0), [(FALLBACKS, False)]),
        ((100, 0), (900, 91), [(FALLBACKS, False)]),
        ((100, 50), (900, 500), [(FALLBACKS, False), (FALLBACKS, False)]),
    ],
)
def test_fallbacks_over_10_percent_of_a_side_are_found(ours, rest, expected):
    sides = [counted(name, n, fell_back=fell_back) for name, (n, fell_back) in (("v3", ours), ("v2", rest))]
    assert found(evidence(*sides)) == expected


@pytest.mark.parametrize(
    ("n", "x", "sticky", "expected"),
    [(40, 40, True, []), (450, 225, True, []), (450, 226, True, [(UNKEYED, False)]), (450, 450, False, [])],
)
def test_unkeyed_requests_over_50_percent_on_a_sticky_route_are_found(n, x, sticky, expected):
    sides = [counted("v3", n // 10, unkeyed=x // 10), counted("v2", n - n // 10, unkeyed=x - x // 10)]
    assert found(evidence(*sides), NO_FAULT._replace(sticky=sticky)) == expected


@pytest.mark.parametrize(("lag", "expected"), [(0.19, []), (0.2, [(PROXY, True)])])
def test_a_saturated_proxy_is_found(lag, expected):
    assert found(evidence(), NO_FAULT._replace(lag=lag)) == expected


@pytest.mark.parametrize(
    ("challenger", "champion", "then", "expected"),
    [
        ("", "x" * 20, 100.0, [(CHAMPION, True)]),  # even without requests of the challenger
        ("x", "x" * 19, 100.0, []),
        ("x", "x" * 10 + "." * 10, 95.0, [(CHAMPION, True)]),
        (".", "x" * 9 + "." * 11, 95.0, []),
        ("x", "x" * 20, 89.0, []),  # too long ago
    ],
)
def test_a_failing_champion_is_found(challenger, champion, then, expected):
    ours, rest = recent_outcomes(challenger, champion, then=then)
    assert found(evidence(), NO_FAULT._replace(challenger=ours, champion=rest)) == expected


EXPANDED = expand(
    RolloutConfig.model_validate(
        {
            "strategy": "canary",
            "champion": "v2",
            "challenger": "v3",
            "steps": ({"weight": 1000, "hold": 0},),
            "fuse": {"consecutive_errors": 5, "error_share": 0.5, "of_last": 20},
        }
    )
)
CHECKS = (check("error_rate", max="1%"), check("error_rate", max_increase="1%"))
PLAN = replace(EXPANDED, checks=CHECKS)
STATE = RolloutState("r", "canary", "v2", "v3", "i", PLAN.steps, 0.0, 0.0, 0.0, 0.0, begun=True)


def evaluation_input(
    made: Evidence, outcomes: tuple[str, str] = ("", ""), lag: float = 0.0
) -> EvaluationInput:
    return EvaluationInput(PLAN, STATE, made, *recent_outcomes(*outcomes), sticky=True, lag=lag, ready=True)


def event(given: EvaluationInput) -> Event | None:
    return choose_move(given, evaluate(given), 1000.0).event


def bad(**fields: int) -> Evidence:
    return evidence(counted("v3", 400, 60, **fields), cell("v2", 3600, 4))


def test_a_warm_up_is_found_and_excuses_no_failure():
    assert found(evidence(), NO_FAULT._replace(warming=True)) == [(WARMING_UP, False)]


@pytest.mark.parametrize(
    ("outcomes", "later", "failing"),
    [
        ("x" * 20, 0, True),
        ("x" * 20, 11, False),
        ("." * 20 + "x." * 10, 0, True),
        ("x" * 19, 0, False),
        ("x..." * 5, 0, False),
    ],
)
def test_is_failing_looks_at_the_champions_last_20_outcomes_within_10_seconds(outcomes, later, failing):
    _, champion = recent_outcomes("", outcomes)
    assert is_failing(champion, 100.0 + later) is failing


def test_without_guard_findings_a_bad_challenger_fails_and_a_good_one_passes():
    assert event(evaluation_input(bad())) is Event.FAIL
    assert event(evaluation_input(evidence(cell("v3", 400), cell("v2", 3600)))) is Event.PASS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (evaluation_input(bad(), lag=0.5), None),
        (evaluation_input(bad(), (".", "x" * 20)), None),
        (evaluation_input(bad(unkeyed=400)), None),  # the champion has no unkeyed requests
        (evaluation_input(bad(fell_back=60)), Event.FAIL),  # errors count against the assigned backend
        (evaluation_input(bad(), ("x" * 5, "." * 20)), Event.FAIL),
        (evaluation_input(evidence(), ("x" * 5, "." * 20), lag=0.5), None),
    ],
)
def test_a_fail_acts_unless_the_guard_excuses_it(given, expected):
    assert event(given) is expected
    findings = [v.verdict for v in evaluate(given)]
    assert Verdict.VOID in findings or expected is Event.FAIL
    assert (Verdict.FAIL in findings) == (expected is Event.FAIL)


def test_an_excused_fail_gives_the_cause_and_keeps_its_numbers():
    failed, excused = evaluate(evaluation_input(bad()))[0], evaluate(evaluation_input(bad(), lag=0.5))[1]
    assert excused.reason == (
        f"{failed.reason}; not counted against the challenger because the proxy is saturated: "
        "a worker's event loop lags by 500ms; the limit is 200ms"
    )
    assert (excused.evidence, excused.bound, excused.n) == (failed.evidence, failed.bound, failed.n)


@pytest.mark.parametrize("counts", [{"fell_back": 41}, {"unkeyed": 400}])
def test_a_guard_finding_alone_holds_a_good_challenger(counts):
    made = evidence(counted("v3", 400, **counts), counted("v2", 3600, unkeyed=counts.get("unkeyed", 0) * 9))
    given = evaluation_input(made)
    move = choose_move(given, evaluate(given), 1000.0)
    assert move.event is None
    assert "VOID" in move.waiting_for
