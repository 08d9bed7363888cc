"""Short ways to write cells, checks and evidence."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.config.model import CheckConfig
from proxy.rollout.checks import Terms
from proxy.rollout.evidence import Evidence, gather
from proxy.stats.counts import Cell

TERMS = Terms(step=0, min_requests=100, alpha=0.002)


def check(metric: str, **bounds) -> CheckConfig:
    return CheckConfig.model_validate({"metric": metric, **bounds})


def cell(
    backend: str,
    requests: int,
    errors: int = 0,
    version: int = 2,
    times: Iterable[float] | None = None,
    role: str = "challenger",
) -> Cell:
    made = Cell("r", backend, role, version, requests=requests, errors=errors)
    for seconds in [0.02] * requests if times is None else times:
        made.duration.add(seconds)
    return made


def evidence(*cells: Cell, share: float = 0.1, checks: Iterable[CheckConfig] = ()) -> Evidence:
    """Of one stratum: ledger version 2, step 0."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, share)
    gather(made, cells, checks)
    return made
