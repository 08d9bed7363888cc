"""How answers to mirrored copies are counted: usual ones together, which must make no difference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.dataplane.outcome import CopyOutcome
from crossfade.dataplane.recorder import Recorder
from crossfade.errors import Stage
from crossfade.routing.router import CompiledRoute
from crossfade.routing.snapshot import Mirror
from crossfade.stats.counts import Counts, Keys, MirrorCount
from tests.dataplane.plane import route

QUARTERS = st.integers(0, 12).map(lambda n: 100 + n / 4)
ENDS = [
    (200, None),
    (200, None),
    (200, None),
    (404, None),
    (500, None),
    (502, Stage.CONNECT),
    (504, Stage.FIRST_BYTE),
]
Facts = tuple[int | None, float, float, tuple[int, Stage | None], str | None]
FACTS = st.tuples(
    st.one_of(st.none(), st.integers(1, 5)),
    QUARTERS,
    st.integers(0, 8).map(lambda n: n / 4),
    st.sampled_from(ENDS),
    st.sampled_from([None, "a:1", "b:1"]),
)  # fmt: skip


def shadowed(**options: Any) -> CompiledRoute:
    return CompiledRoute(route("v2", mirrors=(Mirror("v3", 10_000),), **options))


def counted(route: CompiledRoute, made: list[Facts], together: bool) -> Counts:
    recorder = Recorder()
    for n, (key, routed_at, seconds, (status, failed), endpoint) in enumerate(made):
        copy = CopyOutcome(route, route.shadows["v3"], key, routed_at, seconds)
        copy.status, copy.failed, copy.endpoint = status, failed, endpoint
        if together and copy.is_usual:
            recorder.usual_copy(copy)
        else:
            recorder.shadow(copy)
            recorder.mirrored("churn", "v3", "failed" if failed else "sent")
        if n % 5 == 4:
            recorder.flush()
    counts = recorder.take()
    for cell in counts.cells:
        cell.keys = Keys(sorted(cell.keys.hashes), cell.keys.halvings)
        cell.duration.total = round(cell.duration.total, 6)
    counts.cells.sort(key=lambda cell: cell.second)
    counts.mirrors.sort(key=lambda mirror: mirror.outcome)
    return counts


@given(st.lists(FACTS, max_size=20), st.booleans(), st.booleans())
def test_copies_counted_together_are_counted_as_one_by_one(
    made: list[Facts], guarded: bool, timed: bool
) -> None:
    limits: dict[str, Any] = {"limits": {"v3": (("p50", 0.5), ("p99", 1.0))}} if timed else {}
    together, alone = (counted(shadowed(guarded=guarded, **limits), made, how) for how in (True, False))
    assert together == alone


def test_a_usual_copy_is_counted_with_its_keys_and_its_endpoint() -> None:
    counts = counted(shadowed(guarded=True), [(4, 100.5, 0.25, (200, None), "a:1")] * 3, together=True)
    (cell,) = counts.cells
    assert cell.key == ("churn", "v3", "shadow", 1, 100)
    assert (cell.requests, cell.codes, cell.duration.count) == (3, {200: 3}, 3)
    assert (cell.keys.hashes, cell.by_endpoint) == ([4, 4, 4], {"a:1": {"requests": 3}})
    assert (cell.recent, cell.responses, cell.first_byte.count, cell.unkeyed) == ([], {}, 0, 0)
    assert counts.mirrors == [MirrorCount("churn", "v3", "sent", 3)]


@pytest.mark.parametrize(
    ("seconds", "status", "usual"),
    [(0.5, 200, True), (0.51, 200, False), (0.1, 201, False), (0.1, 500, False)],
)
def test_a_usual_copy_has_200_within_the_first_limit(seconds: float, status: int, usual: bool) -> None:
    compiled = shadowed(limits={"v3": (("p50", 0.5),)})
    copy = CopyOutcome(compiled, compiled.shadows["v3"], None, 100.0, seconds)
    copy.status = status
    assert copy.is_usual is usual
