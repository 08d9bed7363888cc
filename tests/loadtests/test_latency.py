"""A load test passes by the class of latency that its route names."""

from __future__ import annotations

import pytest

from crossfade.scale import LATENCY_TARGETS
from loadtests.latency import LEAST, judge_latency


@pytest.mark.parametrize(("slo", "target"), LATENCY_TARGETS.items())
def test_each_class_passes_up_to_its_target_and_fails_above_it(slo: str, target: float) -> None:
    view = {"slo": slo, "latency_target": target}
    assert judge_latency(view, LEAST, target).held is True
    above = judge_latency(view, LEAST, target + 0.001)
    assert above.held is False
    assert (
        above.reason
        == f"p99 {target * 1000 + 1:.0f} ms of {LEAST} requests; {slo} allows {target * 1000:.0f} ms"
    )


def test_nothing_is_judged_without_a_class_or_with_too_few_requests() -> None:
    assert judge_latency({"slo": None, "latency_target": None}, 10_000, 9.0).held is None
    assert judge_latency({"slo": "batch", "latency_target": 5.0}, LEAST - 1, 9.0).held is None
