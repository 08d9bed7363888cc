"""The latest observations of each route, as the control process keeps them."""

from __future__ import annotations

import pytest

from crossfade.control import observations
from crossfade.control.observations import LatestObservations
from crossfade.stats.observation import Observation


def observation(route: str, n: int) -> Observation:
    return Observation(f"request-{n}", float(n), route, "v2", "v2", 1, None, 0.5, None)


def test_the_latest_of_each_route_are_kept_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "KEPT", 2)
    latest = LatestObservations()
    latest.add([observation("churn", n) for n in range(3)])
    latest.add([observation("fraud", 9)])
    assert [o.request_id for o in latest.by_route["churn"]] == ["request-1", "request-2"]
    assert [o.request_id for o in latest.by_route["fraud"]] == ["request-9"]
    assert latest.received == {"churn": 3, "fraud": 1}
