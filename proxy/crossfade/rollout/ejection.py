"""An endpoint is ejected from the evidence, and taken back.

Rule: the name of an ejected endpoint is in the evidence itself, so it is stored with it and ends with it.
"""

from __future__ import annotations

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.instances import BadEndpoint, Side, cell_of
from crossfade.rollout.leaving_out import durations_without, leave_out_of
from crossfade.rollout.panel import Panel


def leave_out(evidence: Evidence, bad: BadEndpoint) -> None:
    """What came from the endpoint, and what comes from now on, does not count."""
    side: Side = "challenger" if bad.backend == evidence.challenger else "champion"
    limits = evidence.limits_of(bad.backend)
    for stratum in evidence.strata:
        counts = cell_of(stratum, side).by_endpoint.get(bad.endpoint)
        if counts:
            leave_out_of(stratum, bad.endpoint, side, limits)
            panel = evidence.panels.get(stratum.version)
            if panel is not None:
                evidence.panels[stratum.version] = Panel(panel.halvings)
            if side == "champion":
                evidence.baseline = durations_without(evidence.baseline, counts, limits)
    _forget(evidence, bad.backend, bad.endpoint)
    evidence.ejected = [*evidence.ejected, bad]


def take_back(evidence: Evidence, backend: str, endpoint: str) -> None:
    """What comes from the endpoint from now on counts."""
    evidence.ejected = [bad for bad in evidence.ejected if (bad.backend, bad.endpoint) != (backend, endpoint)]
    _forget(evidence, backend, endpoint)


def _forget(evidence: Evidence, backend: str, endpoint: str) -> None:
    if backend in evidence.instances:
        evidence.instances[backend].forget(endpoint)
