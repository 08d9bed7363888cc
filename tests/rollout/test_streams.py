"""Checks of streamed answers: a stream counts where it is beyond a limit that was fixed before, or where it broke."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, gather
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.stats.streams import Streams, StreamValues

from .counting import CONTEXT, check

N = 1000
RATIO = {"max_ratio": "1.25"}


def streamed(backend: str, values: Sequence[StreamValues]) -> Cell:
    role = "champion" if backend == "v2" else "challenger"
    cell = Cell("r", backend, role, 2, requests=len(values), read=len(values), streams=Streams())
    assert cell.streams is not None
    for each in values:
        cell.streams.add(each)
        if each.token_gap is not None:
            cell.streams.token_gap.add(each.token_gap)
    cell.stream_values = list(values)
    return cell


def drawn(seed: int, factor: float = 1.0, broken: float = 0.0, n: int = N) -> list[StreamValues]:
    """Streams whose times are `factor` times as long, and whose speed and length are that much less."""
    random = Random(seed)
    out = []
    for _ in range(n):
        first, gap, speed, length = (random.lognormvariate(0, 0.3) for _ in range(4))
        out.append(
            StreamValues(
                None, random.random() < broken, 0.2 * first * factor, 0.02 * gap * factor,
                50 * speed / factor, 200 * length / factor,
            )
        )  # fmt: skip
    return out


def judged(question: Check, ours: list[StreamValues], theirs: list[StreamValues] | None = None) -> Finding:
    """Two ticks: the champion's streams of the first one fix the limits."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    gather(made, [streamed("v2", drawn(1))], (question,))
    gather(made, [streamed("v2", theirs or drawn(2)), streamed("v3", ours)], (question,))
    return evaluate_check(question, made, CONTEXT)


RATIOS = [
    check("first_token", quantile="p90", max_ratio="1.25"),
    check("token_gap", quantile="p90", max_ratio="1.25"),
    check("tokens_per_second", quantile="p10", min_ratio="0.8"),
    check("output_length", quantile="p10", min_ratio="0.8"),
]
LIMITS = [
    check("first_token", quantile="p90", max="400ms"),
    check("token_gap", quantile="p90", max="40ms"),
    check("tokens_per_second", quantile="p10", min="25"),
    check("output_length", quantile="p10", min="100"),
]


@pytest.mark.parametrize("question", RATIOS + LIMITS, ids=lambda question: question.title)
def test_slower_or_shorter_streams_fail_and_equal_ones_pass(question: Check) -> None:
    assert judged(question, drawn(3)).verdict is Verdict.PASS
    bad = judged(question, drawn(3, 2.5))
    assert bad.verdict is Verdict.FAIL
    assert "streams" in bad.reason and bad.estimate is not None


def test_a_longer_output_fails_its_maximum() -> None:
    question = check("output_length", quantile="p90", max_ratio="1.25")
    assert judged(question, drawn(3, 0.4)).verdict is Verdict.FAIL
    assert judged(question, drawn(3, 2.0)).verdict is Verdict.PASS


@pytest.mark.parametrize("bound", [{"max": "2%"}, {"max_increase": "2%"}])
def test_streams_that_break_fail(bound: dict[str, str]) -> None:
    question = check("stream_broken", **bound)
    assert judged(question, drawn(3, broken=0.2)).verdict is Verdict.FAIL
    assert judged(question, drawn(3)).verdict is Verdict.PASS


def test_where_both_sides_break_nobody_blames_the_challenger() -> None:
    question = check("stream_broken", max="2%")
    assert judged(question, drawn(3, broken=0.2), drawn(4, broken=0.2)).verdict is Verdict.VOID


@pytest.mark.parametrize("question", [RATIOS[0], LIMITS[0], check("stream_broken", max="2%")])
def test_no_streams_decide_nothing(question: Check) -> None:
    """Requests without a stream are no streams in time."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    cells = [
        Cell("r", name, role, 2, requests=N) for name, role in (("v2", "champion"), ("v3", "challenger"))
    ]
    for cell in cells:
        for _ in range(N):
            cell.duration.add(0.1)
    gather(made, cells, (question,))
    assert evaluate_check(question, made, CONTEXT).verdict is Verdict.UNDECIDED


def test_one_customer_with_slow_streams_is_one_event() -> None:
    question = RATIOS[0]
    slow = [values._replace(key=7) for values in drawn(3, 2.5, n=100)]
    assert judged(question, drawn(3) + slow).verdict is not Verdict.FAIL


def test_equal_streams_seldom_fail_by_chance() -> None:
    """A false FAIL at the bound of alpha, however often the loop looks."""
    question, failed = RATIOS[0], 0
    for seed in range(60):
        made = Evidence("v2", "v3")
        made.open("r", 2, 0, 0.5)
        gather(made, [streamed("v2", drawn(seed, n=250))], (question,))
        for tick in range(20):
            cells = [
                streamed(name, drawn(1000 * seed + 10 * tick + i, n=30)) for i, name in ((1, "v2"), (2, "v3"))
            ]
            gather(made, cells, (question,))
            failed += evaluate_check(question, made, CONTEXT).verdict is Verdict.FAIL
    assert failed == 0


def test_sums_of_streams_merge_in_any_order() -> None:
    parts = [streamed("v2", drawn(seed, broken=0.1, n=20)) for seed in range(3)]
    sums = []
    for order in (parts, parts[::-1]):
        table = CountsTable()
        for part in order:
            table.add(Counts([part]))
        (cell,) = table.cells.values()
        assert cell.streams is not None
        sums.append((cell.streams.n, cell.streams.broken, cell.streams.first_token.buckets))
    assert sums[0] == sums[1]
