"""Checks of mirrored pairs: distances, segments, and slower or failing copies."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.merging import MOST
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.bounded import LEVELS
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.paired_latency import bucket_for
from crossfade.stats.pairs import Measured, Pair, Pairs

from .counting import CONTEXT, cell, check, evidence

PASS, FAIL, UNDECIDED, VOID = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED, Verdict.VOID
DISTANCE = check("distance", max=0.05)
SEGMENTS = check("segment_divergence", max="5%")
SLOWER = check("shadow_latency", quantile="p90", max_ratio=1.25)
ERRORS = check("shadow_errors", max="1%")
CHANCE = 0.25


def copies(*pairs: Pair, n: int = 0, version: int = 2, keyed: bool = False) -> Cell:
    made = cell("v3", n or len(pairs), times=(), role="shadow", version=version)
    for pair in pairs:
        if keyed:
            made.keyed_pairs.append(pair)
        else:
            made.pairs.add(*pair[1:])
    return made


def paired(*cells: Cell, share: float = 0.0, checks=()) -> Evidence:
    return evidence(*cells, share=share, checks=checks)


def distant(n: int, level: int, noise: int | None, seed: int = 1) -> Iterator[Pair]:
    """`noise` None: the champion is never asked twice."""
    rng = random.Random(seed)
    for _ in range(n):
        again = noise if noise is not None and rng.random() < CHANCE else None
        yield Pair(None, False, None, 0.0 if noise is None else CHANCE, None, measured=Measured(level, again))


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize(
    ("n", "level", "noise", "verdict"),
    [
        (0, 0, 0, UNDECIDED),
        (99, 0, 0, UNDECIDED),
        (200, 2, 0, PASS),
        (200, 16, None, UNDECIDED),  # the champion's noise is not measured
        (400, 16, 0, FAIL),
        (400, 16, 14, PASS),
        (60, 6, 0, UNDECIDED),
    ],
)
def test_distance(n, level, noise, verdict, share):
    made = paired(copies(*distant(n, level, noise), n=max(n, 1)), share=share)
    assert evaluate_check(DISTANCE, made, CONTEXT).verdict is verdict


def test_the_reason_and_interval_of_a_distance():
    finding = evaluate_check(DISTANCE, paired(copies(*distant(400, 16, 8))), CONTEXT)
    assert finding.reason.startswith("the answers of 400 pairs are 0.25 apart on average, 0.125 over ")
    assert " that asked the champion twice; allowed is 0.05 more" in finding.reason
    assert finding.interval is not None
    assert finding.interval[0] < (finding.estimate or 0) == 0.125 < finding.interval[1]


def test_a_distance_does_not_need_decisions():
    pairs = [pair._replace(measured=Measured(32, 0, decided=False)) for pair in distant(200, 0, 0)]
    made = paired(copies(*pairs))
    assert evaluate_check(DISTANCE, made, CONTEXT).verdict is FAIL
    assert made.strata[0].challenger.pairs.n == 0


def segmented(n: int, changed: dict[str, float], noise: float = 0.0, seed: int = 1) -> Iterator[Pair]:
    """`changed`: by country, the probability of a changed decision; countries take turns."""
    rng = random.Random(seed)
    for k in range(n):
        country, share = list(changed.items())[k % len(changed)]
        again = rng.random() < noise if rng.random() < CHANCE else None
        segments = (("country", country), ("plan", "basic"))
        yield Pair(None, rng.random() < share, None, CHANCE, again, measured=Measured(0, None, segments))


@pytest.mark.parametrize(
    ("n", "changed", "noise", "verdict"),
    [
        (0, {"de": 0.0}, 0.0, UNDECIDED),
        (90, {"de": 0.0}, 0.0, UNDECIDED),
        (800, {"de": 0.0, "fr": 0.02, "nl": 0.01}, 0.0, PASS),
        (3000, {"de": 0.0, "fr": 0.25, "nl": 0.0}, 0.0, FAIL),
        (3000, {"de": 0.2, "fr": 0.2, "nl": 0.2}, 0.2, PASS),
        (350, {"de": 0.0, "fr": 0.10, "nl": 0.0}, 0.0, UNDECIDED),  # beyond the limit, not proven
    ],
)
def test_segments(n, changed, noise, verdict):
    made = paired(copies(*segmented(n, changed, noise), n=max(n, 1)))
    assert evaluate_check(SEGMENTS, made, CONTEXT).verdict is verdict


def test_the_reason_names_the_segment():
    bad = evaluate_check(SEGMENTS, paired(copies(*segmented(3000, {"de": 0.0, "fr": 0.25}))), CONTEXT)
    assert bad.reason.startswith("decisions change in country = fr (2")
    assert " beyond noise, 1500 pairs)" in bad.reason
    good = evaluate_check(SEGMENTS, paired(copies(*segmented(900, {"": 0.0, "fr": 0.02}))), CONTEXT)
    assert good.reason.startswith("of 3 segments with enough pairs, the furthest is country = fr (")
    few = evaluate_check(SEGMENTS, paired(copies(*segmented(101, {"de": 0.0, "fr": 0.0}))), CONTEXT)
    assert few.verdict is PASS  # of its plan there are enough


def spread(n: int, countries: int, changed: float) -> Iterator[Pair]:
    """Segments of one source, each of a few pairs."""
    rng = random.Random(countries)
    for k in range(n):
        measured = Measured(0, None, (("country", str(k % countries)),))
        again = False if rng.random() < CHANCE else None
        yield Pair(None, rng.random() < changed, None, CHANCE, again, measured=measured)


@pytest.mark.parametrize(("changed", "verdict"), [(0.4, UNDECIDED), (0.0, PASS)])
def test_segments_that_have_few_pairs_each_pass_together_only(changed, verdict):
    finding = evaluate_check(SEGMENTS, paired(copies(*spread(120, 3, changed))), CONTEXT)
    assert finding.verdict is verdict
    assert finding.reason.startswith(
        "none of 3 segments has enough pairs; the furthest is country, small segments together ("
    )
    assert " beyond noise, 120 pairs); allowed is 5% more" in finding.reason


def test_small_segments_beside_a_known_one_pass_together_only():
    pairs = [*spread(150, 1, 0.0), *spread(300, 4, 0.4)]  # the first country has 225 of them
    finding = evaluate_check(SEGMENTS, paired(copies(*pairs)), CONTEXT)
    assert finding.verdict is UNDECIDED
    assert (
        "of 1 segments with enough pairs, the furthest is country, small segments together ("
        in finding.reason
    )


def test_one_bad_segment_is_found_where_the_mean_keeps_the_limit():
    made = paired(copies(*segmented(12_000, {str(n): 0.3 * (n == 7) for n in range(12)})))
    assert evaluate_check(check("disagreement", max="5%"), made, CONTEXT).verdict is PASS
    finding = evaluate_check(SEGMENTS, made, CONTEXT)
    assert finding.verdict is FAIL
    assert "country = 7 (" in finding.reason
    assert "and" not in finding.reason.partition(";")[0]


def test_without_declared_segments_there_is_no_verdict():
    made = paired(copies(*distant(200, 0, 0)))
    assert evaluate_check(SEGMENTS, made, CONTEXT).verdict is VOID


@pytest.mark.parametrize("question", [DISTANCE, SEGMENTS, SLOWER])
def test_lost_answers_of_one_side_are_no_gap(question):
    made = copies(*segmented(200, {"de": 0.0}))
    for _ in range(60):
        made.pairs.add(*Pair(None, False, None, 0.0, None, lost=True)[1:])
    finding = evaluate_check(question, paired(made), CONTEXT)
    assert finding.verdict is (UNDECIDED if question is SLOWER else VOID)


def timed(n: int, ours: float, theirs: float = 0.1, seed: int = 1, start: int = 0) -> Iterator[Pair]:
    """All pairs have asked twice; a pair each tenth of a second."""
    rng = random.Random(seed)
    for k in range(start, start + n):
        slow, second = (bucket_for(mean * rng.lognormvariate(0, 0.3)) for mean in (ours, theirs))
        measured = Measured(0, 0, durations=(k // 10, slow, second))
        yield Pair(None, False, None, 1.0, False, measured=measured)


def slower(ours: float, n: int = 2000, checks=(SLOWER,), burst: bool = False) -> Evidence:
    made = paired(checks=checks)
    found = list(timed(n, ours))
    if burst:
        measured = [pair.measured for pair in found]
        found = [
            pair._replace(measured=m._replace(durations=(1, *m.durations[1:])))
            for pair, m in zip(found, measured, strict=True)
            if m is not None and m.durations is not None
        ]
    for start in range(0, n, 100):
        gather(made, [copies(*found[start : start + 100])], checks)
    return made


@pytest.mark.parametrize(
    ("ours", "n", "verdict"),
    [(0.1, 2000, PASS), (0.11, 2000, PASS), (0.2, 2000, FAIL), (0.2, 100, UNDECIDED), (0.1, 120, UNDECIDED)],
)
def test_shadow_latency(ours, n, verdict):
    assert evaluate_check(SLOWER, slower(ours, n), CONTEXT).verdict is verdict


def test_slow_answers_in_one_burst_prove_nothing():
    finding = evaluate_check(SLOWER, slower(0.2, burst=True), CONTEXT)
    assert finding.verdict is UNDECIDED
    assert "they came in bursts" in finding.reason


def test_the_limit_is_fixed_before_the_answers_that_it_is_applied_to():
    made = slower(0.2, n=100)
    assert made.again.durations.count == 100
    assert set(made.again.limits) == {SLOWER.title}
    assert made.strata[0].copies.slow == {}
    assert made.strata[0].challenger.pairs.latency.both == []
    gather(made, [copies(*timed(40, 0.5))], (SLOWER,))
    assert made.strata[0].copies.slow[SLOWER.title].n == 40
    finding = evaluate_check(SLOWER, slower(0.1, n=100), CONTEXT)
    assert (
        finding.reason
        == "the limit is fixed by 100 second answers of the champion; pairs from now on are compared"
    )
    finding = evaluate_check(SLOWER, paired(copies(*timed(9, 0.1)), checks=(SLOWER,)), CONTEXT)
    assert finding.reason == (
        "nothing to compare yet: the champion gave 9 of 50 second answers that are needed (see `noise`)"
    )


def test_the_reason_of_slower_copies():
    reason = evaluate_check(SLOWER, slower(0.2), CONTEXT).reason
    assert reason.startswith("p90 shadow_latency is 2")
    assert (
        " over the copies of 1900 requests that asked the champion twice, against its second answers' 1"
        in reason
    )
    assert "times; allowed is 1.25 times; in " in reason


def test_durations_count_of_all_pairs_of_a_key_and_decisions_of_the_first():
    pairs = [pair._replace(key=7) for pair in timed(60, 0.1)]
    made = paired(copies(*pairs, keyed=True), checks=(SLOWER,))
    assert made.again.durations.count == 60
    assert made.strata[0].challenger.pairs.n == 1


def failing(n: int, errors: int, keys: int = 0, role: str = "shadow") -> Cell:
    made = cell("v3", n, errors, role=role)
    if keys:
        made.events = {ERROR: Events(keyed=errors, keys=[k % keys + 1 for k in range(errors)])}
    return made


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize(
    ("n", "errors", "verdict"),
    [(0, 0, UNDECIDED), (50, 0, UNDECIDED), (200, 1, PASS), (400, 40, FAIL), (200, 4, UNDECIDED)],
)
def test_shadow_errors(n, errors, verdict, share):
    made = paired(failing(n, errors), cell("v2", 3000, 3), share=share)
    finding = evaluate_check(ERRORS, made, CONTEXT)
    assert finding.verdict is verdict
    if n:
        assert finding.reason.startswith(f"{errors} of {n} copies (")


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_failures_that_the_champion_has_too_are_a_common_cause(share):
    made = paired(failing(400, 40), cell("v2", 3000, 300), share=share)
    assert evaluate_check(ERRORS, made, CONTEXT).verdict is VOID


def test_a_key_that_fails_again_counts_once_beside_live_traffic():
    made = paired(failing(400, 40, keys=2), cell("v2", 3000, 3), share=0.1)
    assert made.strata[0].copies.first == 2
    assert evaluate_check(ERRORS, made, CONTEXT).verdict is UNDECIDED


def test_live_traffic_is_not_counted_with_the_copies():
    made = paired(failing(400, 40, role="challenger"), failing(200, 0), cell("v2", 3000, 3), share=0.1)
    assert evaluate_check(ERRORS, made, CONTEXT).verdict is PASS


@pytest.mark.parametrize(
    ("question", "made"),
    [
        (DISTANCE, copies(*distant(400, 16, 0))),
        (SEGMENTS, copies(*segmented(3000, {"de": 0.0, "fr": 0.25}))),
        (ERRORS, failing(200, 1)),
    ],
)
def test_without_copies_in_a_step_those_of_the_step_before_count(question, made):
    found = paired(made)
    before = evaluate_check(question, found, CONTEXT)
    found.open("r", 3, 1, 0.1)
    gather(found, [cell("v3", 50, version=3), cell("v2", 450, version=3)], ())
    assert evaluate_check(question, found, CONTEXT._replace(step=1)) == before


def split_up(question, make, share: float = 0.0) -> tuple[Finding, Finding]:
    """The finding with all in one stratum, and over many strata, of which old ones are merged."""
    one, many = (paired(share=share, checks=(question,)) for _ in range(2))
    for k in range(2 * MOST):
        gather(one, [make(k, 2)], (question,))
        gather(many, [make(k, k + 2)], (question,))
        many.open("r", k + 3, 0, share)
    assert len(many.strata) <= MOST
    return evaluate_check(question, one, CONTEXT), evaluate_check(question, many, CONTEXT)


@pytest.mark.parametrize(
    ("question", "pairs"),
    [
        (DISTANCE, lambda k: distant(20, 16, 0, k)),
        (SEGMENTS, lambda k: segmented(60, {"de": 0.0, "fr": 0.25}, 0.0, k)),
        (SLOWER, lambda k: timed(60, 0.15, seed=k, start=60 * k)),
    ],
)
def test_merged_strata_say_the_same(question, pairs):
    one, many = split_up(question, lambda k, version: copies(*pairs(k), version=version))
    assert (many.verdict, many.n) == (one.verdict, one.n)
    assert many.evidence == pytest.approx(one.evidence)


def test_the_order_of_segments_outlives_the_journal():
    made = paired(copies(*segmented(3000, {"zz": 0.25, "aa": 0.0, "mm": 0.1})))
    before = evaluate_check(SEGMENTS, made, CONTEXT)
    plain = msgspec.to_builtins(made.strata[0].challenger.pairs, str_keys=True)
    stored = msgspec.json.encode(plain, order="sorted")
    made.strata[0].challenger.pairs = msgspec.json.decode(stored, type=Pairs)
    assert evaluate_check(SEGMENTS, made, CONTEXT) == before


def test_a_level_is_a_share_of_all_levels():
    finding = evaluate_check(DISTANCE, paired(copies(*distant(200, LEVELS, 0))), CONTEXT)
    assert finding.estimate == 1
