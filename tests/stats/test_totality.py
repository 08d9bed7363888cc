"""Every public function of the statistics is total: no finite input within its stated bounds raises or gives NaN."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from enum import Enum
from math import isnan
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crossfade.stats
from crossfade.stats.alike import Member
from crossfade.stats.auc import ByScore
from crossfade.stats.blocks import BlockSums, Drift
from crossfade.stats.bounded import LEVELS as LEVELS_OF_BOUNDED
from crossfade.stats.bounded import SplitLevels
from crossfade.stats.differences import Cut
from crossfade.stats.distances import Distances
from crossfade.stats.divergence import SplitBins
from crossfade.stats.histogram import Histogram
from crossfade.stats.keyed import KeyedEvents, KeyedSplit, Sizes
from crossfade.stats.lift import Levels, LiftTests, log_e_less_levels, log_e_more_levels
from crossfade.stats.means import LARGEST, MeanSums
from crossfade.stats.off_policy import FINE, Moments, Scale
from crossfade.stats.pairs import Pairs
from crossfade.stats.restarts import SLOTS
from crossfade.stats.scores import Scores
from crossfade.stats.segments import SegmentPairs
from crossfade.stats.sequential import SplitCounts
from crossfade.stats.unit_means import UnitSums
from tests.tries import tries

MODULES = [
    importlib.import_module(f"crossfade.stats.{found.name}")
    for found in pkgutil.iter_modules(crossfade.stats.__path__)
]
FUNCTIONS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if inspect.isroutine(inspect.unwrap(value))
    and value.__module__ == module.__name__
    and not name.startswith("_")
}

TINY = 5e-324
COUNT = st.sampled_from([0, 1, 2, 1000, 2**31, 2**53, 2**62]) | st.integers(0, 2**62)
SOME = st.integers(0, 1000)
OPEN = st.sampled_from([1e-300, 1e-17, 1e-9, 0.05, 0.5, 1 - 1e-9, 1 - 2**-53]) | st.floats(1e-300, 1 - 2**-53)
CLOSED = st.sampled_from([0.0, 1.0]) | OPEN
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBER = st.sampled_from([0.0, TINY, -TINY, LARGEST, -LARGEST]) | st.floats(-LARGEST, LARGEST)
SECONDS = st.sampled_from([0.0, TINY, 1e-6, 1e308]) | st.floats(0, 1e308)
MARGIN = st.sampled_from([0.0, TINY, 1e-17, 1.0]) | st.floats(0, 1)
SIGNED = MARGIN | MARGIN.map(lambda m: -m)
RATIO = st.sampled_from([1e-6, 1.0, 1e6]) | st.floats(1e-6, 1e6)
ALPHA = st.sampled_from([1e-300, 1e-12, 0.01, 0.49]) | st.floats(1e-300, 0.49)
RHO = st.sampled_from([1e-100, 1.0, 1e200]) | st.floats(1e-100, 1e200)
SQUARES = st.sampled_from([0.0, TINY, 1e240]) | st.floats(0, 1e240)


@st.composite
def split_counts(draw: Any) -> SplitCounts:
    n, m = draw(COUNT), draw(COUNT)
    return SplitCounts(draw(CLOSED), min(draw(COUNT), n), min(draw(COUNT), m), n, m)


SPLITS = st.lists(split_counts(), max_size=4) | st.lists(split_counts(), min_size=100, max_size=120)
X_OF_N = st.tuples(COUNT, COUNT).map(sorted)


@st.composite
def marked(draw: Any) -> tuple[list[SplitCounts], list[tuple[SplitCounts, ...]], int]:
    """Strata with all marks that a step may have, or with more, and with marks that were given up."""
    strata = draw(st.lists(split_counts(), max_size=3))
    some = st.lists(split_counts(), max_size=3).map(tuple)
    full = split_counts().map(lambda counts: (counts,) * SLOTS)
    return strata, [draw(some | full) for _ in strata], draw(st.sampled_from([0, 1, SLOTS, 5 * SLOTS]))


LEVELS = st.sampled_from([2, 5, 65])


@st.composite
def levels(draw: Any, n: int | None = None) -> Any:
    size = n or draw(LEVELS)
    return draw(st.lists(COUNT, min_size=size, max_size=size))


@st.composite
def split_levels(draw: Any, kind: Any = SplitLevels, shares: Any = OPEN, n: int | None = None) -> list[Any]:
    size = n or draw(LEVELS)
    return [
        kind(draw(shares), draw(levels(size)), draw(levels(size))) for _ in range(draw(st.integers(0, 3)))
    ]


@st.composite
def cuts(draw: Any) -> tuple[list[SplitBins], list[float], float]:
    return draw(split_levels(SplitBins, n=4)), draw(st.lists(OPEN, min_size=3, max_size=3)), draw(MARGIN)


@st.composite
def pairs(draw: Any) -> Pairs:
    n = draw(COUNT)
    changed, twice = min(draw(COUNT), n), min(draw(COUNT), n)
    noise = min(draw(COUNT), twice)
    raised = min(draw(COUNT), changed)
    both = max(min(draw(COUNT), noise, changed), noise + changed - n)
    chances = draw(st.sampled_from([0.0, 0.05 * n, float(n)]))
    return Pairs(n, changed, raised, chances, twice, noise, both, changed - raised)


@st.composite
def distances(draw: Any) -> Distances:
    """The champion is asked twice with any chance, and may be far from itself where it was."""
    code = st.integers(0, LEVELS_OF_BOUNDED).map(lambda level: level * (LEVELS_OF_BOUNDED + 1))
    counts = draw(st.dictionaries(code, st.integers(1, 2**62), max_size=4))
    n, chance = sum(counts.values()), draw(st.sampled_from([0.0, 1e-4, 0.05, 1.0]))
    twice = (
        draw(st.dictionaries(st.integers(1, LEVELS_OF_BOUNDED), st.integers(1, 2**30), max_size=3))
        if chance
        else {}
    )
    more = sum(twice.values())
    return Distances(counts | twice, chance * (n + more), more)


SEGMENT = st.builds(SegmentPairs, SOME, SOME, st.floats(0, 1000), SOME, SOME, SOME, SOME)
SEGMENTS = st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from("cd"), SEGMENT), max_size=2)
LOGS = st.lists(st.floats(-1e300, 1e300), max_size=30)


@st.composite
def block_sums(draw: Any) -> BlockSums:
    out = BlockSums()
    for _ in range(draw(st.integers(0, 4))):
        n, w = draw(COUNT), draw(CLOSED)
        x = min(draw(COUNT), n)
        out.add(draw(st.sampled_from([(1 - w) * x, -w * x])), n, x)
    return out


@st.composite
def keyed(draw: Any) -> KeyedSplit:
    """Sums over customers of one size; their numbers may be huge."""
    sides = []
    for _ in range(2):
        k, n = draw(st.sampled_from([0, 1, 1000, 2**31])), draw(st.sampled_from([0, 1, 2**31]))
        x = min(draw(COUNT), n)
        sides.append((Sizes(k, k * n, k * n * n), KeyedEvents(k * x, k * x * x, k * x * n)))
    (here, ours), (rest, theirs) = sides
    return KeyedSplit(draw(CLOSED), here, rest, ours, theirs)


KEYED = st.lists(keyed(), max_size=3)
DRIFTS = st.lists(st.builds(Drift, block_sums(), SIGNED, SQUARES), max_size=3)
SUMS = st.builds(MeanSums, NUMBER, SQUARES, SQUARES, st.floats(0, 2.0**62))
MEMBERS = st.dictionaries(st.sampled_from("abc"), st.builds(Member, COUNT, COUNT), max_size=3)
SCORES = st.dictionaries(st.integers(-(2**62), 2**62), st.integers(1, 2**62), max_size=4).map(
    lambda buckets: Scores(buckets, sum(buckets.values()))
)
TABLE = st.dictionaries(st.sampled_from("ab"), COUNT)
SHARES_OF = st.sampled_from([[0.5, 0.5], [1e-300, 1 - 2**-53], [1e-9, 1 - 1e-9], [0.25, 0.25, 0.5], [1.0]])
FACTOR = st.sampled_from([0.0, 1e-9, 1.0, 1000.0]) | st.floats(0, 1000)
MOMENT_ROWS = st.lists(st.tuples(st.floats(0, 1e6), NUMBER, NUMBER, st.integers(1, 2**62)), max_size=4)


@st.composite
def ranges(draw: Any) -> Levels:
    """The ends of a range, and centres in it."""
    low, width = draw(NUMBER), draw(st.sampled_from([1e-9, 1.0, LARGEST]))
    high = low + max(width, abs(low) * 1e-9)
    return Levels(
        low, high, tuple(low + (high - low) * part for part in draw(st.sampled_from([(0.5,), (0, 0.5, 1)])))
    )


@st.composite
def lift_tests(draw: Any) -> tuple[LiftTests, float, float]:
    strata, levels = draw(split_levels()), draw(ranges())
    tests = LiftTests(
        lambda factor: log_e_more_levels(strata, levels, factor),
        lambda factor: log_e_less_levels(strata, levels, factor),
        levels.high,
    )
    return tests, draw(st.floats(-1, 1e6)), draw(ALPHA)


@st.composite
def moments(draw: Any) -> Moments:
    out = Moments()
    for row in draw(MOMENT_ROWS):
        out.add(*row)
    return out


@st.composite
def unit_sums(draw: Any) -> UnitSums:
    """Of units that are alike, of two kinds."""
    out = UnitSums()
    for _ in range(draw(st.integers(0, 2))):
        k, n, x = draw(COUNT), draw(st.integers(0, 2**31)), draw(NUMBER)
        out = UnitSums(
            out.units + k,
            out.n + k * n,
            out.x + k * x,
            out.xx + k * x * x,
            out.xn + k * x * n,
            out.nn + k * n * n,
        )
    return out


KEY = st.none() | st.integers(0, 2**64 - 1)

CASES: dict[str, tuple[st.SearchStrategy[Any], ...] | st.SearchStrategy[Any]] = {
    "alike.block_logs": (MEMBERS,),
    "auc.auc_of": (st.lists(st.builds(ByScore, FINITE, COUNT, COUNT), max_size=4),),
    "blocks.log_e_blocks": (DRIFTS, ALPHA),
    "blocks.log_e_blocks_restarted": (DRIFTS, st.lists(DRIFTS, max_size=3) | st.just([[]] * 3 * SLOTS), ALPHA),
    "blocks.of_difference": (block_sums(), CLOSED, SIGNED),
    "blocks.of_share": (block_sums(), CLOSED),
    "bounded.flipped": (split_levels(),),
    "bounded.level_above_logs": (levels(), FINITE),
    "bounded.level_of": (FINITE, st.floats(-LARGEST, 0), st.floats(1e-100, LARGEST), st.floats(0, 1)),
    "bounded.log_e_level_above": (levels(), FINITE),
    "bounded.log_e_level_increase": (split_levels(), st.floats(0, 1), FINITE),
    "bounded.toss_of": (st.integers(0, 2**64 - 1), COUNT),
    "exact.chance_of_share": SOME.flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), OPEN)),
    "exact.chance_of_split": st.tuples(SOME, SOME).flatmap(
        lambda n: st.tuples(st.integers(0, n[0]), st.just(n[0]), st.integers(0, n[1]), st.just(n[1]))
    ),
    "counts.is_bad": (st.integers(0, 2**64 - 1),),
    "counts.key_of": (st.integers(0, 2**64 - 1),),
    "counts.sum_of_waiting": (st.lists(st.dictionaries(st.just("r"), st.dictionaries(st.sampled_from("ab"), TABLE)), max_size=3),),
    "counts.outcome_of": (KEY, st.booleans()),
    "differences.gain_increase": (CLOSED, CLOSED, CLOSED, MARGIN),
    "differences.increase_logs": (split_counts(), MARGIN),
    "differences.log_e_increase": (SPLITS, MARGIN),
    "differences.log_e_within": (SPLITS, MARGIN),
    "differences.shift_logs": (st.builds(Cut, OPEN, COUNT, COUNT, COUNT, COUNT), OPEN, MARGIN),
    "distances.distance_interval": (distances(), ALPHA),
    "distances.distance_level": (CLOSED, st.floats(0, 1)),
    "distances.gain_distance": (distances(), MARGIN),
    "distances.log_e_distance": (distances(), MARGIN),
    "distances.mixed_interval": (distances(), ALPHA),
    "divergence.distance_logs": cuts(),
    "divergence.ks_distance": st.integers(0, 12).flatmap(lambda n: st.tuples(levels(n), levels(n)) if n else st.just(([], []))),
    "divergence.log_e_band": (split_levels(SplitBins), st.floats(1, 1e6)),
    "divergence.log_e_differ": (split_levels(SplitBins),),
    "divergence.stability_index": st.integers(1, 12).flatmap(lambda n: st.tuples(levels(n), levels(n))),
    "drift.away_logs": st.tuples(X_OF_N, CLOSED, CLOSED).map(lambda a: (*a[0], *a[1:])),
    "drift.chi_square_exceeds": (st.sampled_from([0.0, TINY]) | st.floats(0, 1e300), st.integers(1, 10_000)),
    "drift.chi_square_quantile": (OPEN, st.integers(1, 1000)),
    "drift.detector_limit": (st.floats(0, 1e300), COUNT),
    "drift.e_bh": (LOGS, ALPHA),
    "drift.index_quantile": (COUNT, COUNT, st.integers(0, 200)),
    "drift.log_e_away": st.tuples(X_OF_N, CLOSED, CLOSED).map(lambda a: (*a[0], *a[1:])),
    "drift.log_e_categories": st.integers(0, 12).flatmap(
        lambda n: st.tuples(st.lists(COUNT, min_size=n, max_size=n), st.lists(CLOSED, min_size=n, max_size=n), CLOSED)
    ),
    "drift.log_e_share": st.tuples(X_OF_N, CLOSED, CLOSED).map(lambda a: (*a[0], *a[1:])),
    "drift.log_e_shift": st.integers(0, 12).flatmap(
        lambda n: st.tuples(st.lists(COUNT, min_size=n + 1, max_size=n + 1), st.lists(CLOSED, min_size=n, max_size=n), CLOSED)
    ),
    "drift.next_detector": (st.floats(-1e300, 1e300) | st.just(-float("inf")), st.floats(-1e300, 1e300)),
    "drift.sampling_error": (COUNT, ALPHA),
    "drift.two_sample_chi_square": st.integers(0, 12).flatmap(
        lambda n: st.tuples(*[st.lists(COUNT, min_size=n, max_size=n)] * 2)
    ),
    "drift.wasserstein": st.lists(NUMBER, unique=True, max_size=12).map(sorted).flatmap(
        lambda cuts: st.tuples(st.just(cuts), *[st.lists(COUNT, min_size=len(cuts) + 1, max_size=len(cuts) + 1)] * 2)
    ),
    "histogram.bucket_of": (SECONDS,),
    "histogram.high_quantile": (st.lists(st.builds(Histogram.of, st.lists(st.floats(0, 1e300))), max_size=4), CLOSED),
    "histogram.upper_edge": (st.integers(0, 36_000),),
    "keyed.log_e_keys_above": (KEYED, OPEN, ALPHA),
    "keyed.log_e_keys_below": (KEYED, OPEN, ALPHA),
    "keyed.log_e_keys_increase": (KEYED, MARGIN, ALPHA),
    "keyed.log_e_keys_within": (KEYED, MARGIN, ALPHA),
    "keyed.pooled_rate": (KEYED,),
    "keyed.sums_of": (KEYED, MARGIN, CLOSED),
    "latest.log_e_above_latest": st.tuples(marked(), OPEN).map(lambda a: (a[0][0], a[1], a[0][1])),
    "latest.log_e_increase_latest": st.tuples(marked(), MARGIN).map(lambda a: (a[0][0], a[1], a[0][1])),
    "latest.log_e_worse_latest": st.tuples(marked(), RATIO).map(lambda a: (a[0][0], a[1], a[0][1])),
    "lift.drift_of_levels": (split_levels(), ranges(), FACTOR, NUMBER),
    "lift.drift_of_means": (SUMS, NUMBER, FACTOR),
    "lift.growth": (SUMS, COUNT),
    "lift.lift_interval": lift_tests(),
    "lift.log_e_less_levels": (split_levels(), ranges(), FACTOR),
    "lift.log_e_less_means": (SUMS, NUMBER, FACTOR, RHO),
    "lift.log_e_more_levels": (split_levels(), ranges(), FACTOR),
    "lift.log_e_more_means": (SUMS, NUMBER, FACTOR, RHO),
    "means.gain_mean": (SUMS, NUMBER, COUNT),
    "means.log_e_drift": (NUMBER, SQUARES, RHO),
    "means.log_e_drift_scaled": (NUMBER, SQUARES, RHO, ALPHA),
    "means.log_e_mean_above": (SUMS, NUMBER, RHO),
    "means.log_e_mean_below": (SUMS, NUMBER, RHO),
    "means.log_phi": (st.floats(-1e150, 1e150),),
    "means.mean_interval": (SUMS, RHO, ALPHA),
    "means.mixture_boundary": (SQUARES, RHO, ALPHA),
    "means.mixture_rho": (SQUARES, ALPHA),
    "off_policy.asymptotic_interval": (moments(), ALPHA),
    "off_policy.bounded_interval": (
        st.dictionaries(st.integers(0, FINE), st.floats(1e-9, 1e18), max_size=4),
        st.tuples(NUMBER, st.floats(1e-9, LARGEST)).map(lambda a: Scale(a[0], a[0] + max(a[1], abs(a[0]) * 1e-9))),
        ALPHA,
    ),
    "off_policy.phi_of": (NUMBER, st.floats(0, 1e100), NUMBER, NUMBER),
    "paired_latency.bucket_for": (SECONDS | st.just(float("inf")),),
    "paired_latency.is_slow": (st.integers(0, 36_000), SECONDS),
    "pairs.gain_excess": (pairs(), MARGIN),
    "pairs.log_e_direction": (pairs(),),
    "pairs.log_e_excess": (pairs(), MARGIN),
    "restarts.is_mark_due": (COUNT, COUNT, COUNT),
    "restarts.log_e_above_restarted": st.tuples(marked(), OPEN).map(lambda a: (a[0][0], a[1], *a[0][1:])),
    "restarts.log_e_increase_restarted": st.tuples(marked(), MARGIN).map(lambda a: (a[0][0], a[1], *a[0][1:])),
    "restarts.log_e_worse_restarted": st.tuples(marked(), RATIO).map(lambda a: (a[0][0], a[1], *a[0][1:])),
    "restarts.log_add_exp": (st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)),
    "scores.add_bins": st.integers(1, 12).flatmap(lambda n: st.tuples(levels(n), levels(n))),
    "scores.bucket_of_score": (FINITE,),
    "scores.levels_of": (SCORES, st.integers(1, 100)),
    "segments.add_segment": (SEGMENTS, st.text(), st.text(), SEGMENT),
    "segments.flagged": (LOGS, ALPHA),
    "segments.in_order": (SEGMENTS,),
    "segments.log_e_segments": (LOGS,),
    "segments.merge_segments": (SEGMENTS, SEGMENTS),
    "segments.weighted": (st.floats(-1e300, 1e300), st.integers(1, 808)),
    "sequential.above_logs": st.tuples(X_OF_N, OPEN).map(lambda a: (*a[0], a[1])),
    "sequential.bound": (ALPHA,),
    "sequential.gain_above": (CLOSED, OPEN),
    "sequential.gain_worse": (CLOSED, CLOSED, CLOSED, RATIO),
    "sequential.log_e_above": st.tuples(X_OF_N, OPEN).map(lambda a: (*a[0], a[1])),
    "sequential.log_e_above_all": (SPLITS, OPEN),
    "sequential.log_e_below": st.tuples(X_OF_N, OPEN).map(lambda a: (*a[0], a[1])),
    "sequential.log_e_better": (SPLITS, RATIO),
    "sequential.log_e_worse": (SPLITS, RATIO),
    "sequential.log_mean_exp": (st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30),),
    "sequential.ratio_interval": (st.lists(split_counts(), max_size=2), ALPHA),
    "sequential.ratio_logs": (split_counts(), RATIO, st.sampled_from([-1, 1])),
    "sequential.sum_logs": (st.lists(st.lists(st.floats(-1e300, 1e300), min_size=24, max_size=24), max_size=3),),
    "sequential.wilson": st.tuples(X_OF_N, st.sampled_from([0.0, 1.96, 2.576, 1e3])).map(lambda a: (*a[0], a[1])),
    "shares.log_e_shares": SHARES_OF.flatmap(
        lambda shares: st.tuples(st.lists(COUNT, min_size=len(shares), max_size=len(shares)), st.just(shares))
    ),
    "sums.add_up": (TABLE, TABLE),
    "unit_means.around": (NUMBER, SQUARES, COUNT),
    "unit_means.interval_of": (unit_sums(),),
}  # fmt: skip


def floats_in(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from floats_in(msgspec.structs.astuple(value))
    elif isinstance(value, dict):
        yield from floats_in([*value, *value.values()])
    elif isinstance(value, list | tuple | set) and not isinstance(value, Enum):
        for part in value:
            yield from floats_in(part)


def test_every_public_function_has_a_case():
    assert set(CASES) == set(FUNCTIONS)


@pytest.mark.parametrize("name", CASES)
def test_no_finite_input_raises_or_gives_nan(name: str):
    case = CASES[name]
    arguments = st.tuples(*case) if isinstance(case, tuple) else case

    @settings(max_examples=tries(25), deadline=None, suppress_health_check=list(HealthCheck))
    @given(arguments)
    def check(given_arguments: Any) -> None:
        found = FUNCTIONS[name](*given_arguments)
        assert not any(isnan(number) for number in floats_in(found))

    check()
