"""Coverage: does one side get labels, or judged answers, more often than the other?

Rule: feedback that comes for one side only says nothing about both. Of each side the ripe predictions are counted, and those that gave a
number; the first of each key. If the two sides do not differ, whether a prediction gives a number does not depend on the coin
that chose its side. So the test is that of an event (`kpi_evidence`), in both directions. A difference holds the rollout
(VOID) and aborts nothing. So does a side with more predictions than its share. Not counted where `missing` says what no feedback means.
"""

from __future__ import annotations

from math import fsum

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpi_evidence import KpiEvidence
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import percent
from crossfade.stats.differences import log_e_increase
from crossfade.stats.sequential import SplitCounts, bound, log_mean_exp
from crossfade.stats.shares import log_e_shares

ALPHA = 0.001  # false alarms, over all looks
SUSPICION = (
    0.05  # from which a proven FAIL is held back: what looks like a bad model may be labels of one side only
)
COVERED = Check("coverage", "max_increase", 0.0, "coverage", kind="event")  # the event that is counted


def coverage_fault(check: Check, evidence: Evidence, is_proven: bool) -> str:
    """Why the numbers are no valid sample; empty if they are. `is_proven`: by them the check would FAIL."""
    alpha = SUSPICION if is_proven else ALPHA
    found = evidence.coverage.get(check.title, KpiEvidence())
    if not found.coins:
        return ""
    sizes = [(c.share, sum(c.here), sum(c.rest)) for c in found.coins]
    if fsum(log_e_shares((n, m), (w, 1 - w)) for w, n, m in sizes) >= bound(alpha):
        n, every = sum(n for _, n, _ in sizes), sum(n + m for _, n, m in sizes)
        expected = fsum(w * (n + m) for w, n, m in sizes) / every
        return f"{percent(n / every)} of the ripe predictions are the challenger's, but its weight is {percent(expected)}"
    counts = [SplitCounts(c.share, c.here[1], c.rest[1], sum(c.here), sum(c.rest)) for c in found.coins]
    other = [SplitCounts(1 - w, y, x, m, n) for w, x, y, n, m in counts]
    # Where most predictions give a number, the two sides differ most in the share that gives none.
    without = [SplitCounts(w, n - x, m - y, n, m) for w, x, y, n, m in counts]
    of_others = [SplitCounts(1 - w, y, x, m, n) for w, x, y, n, m in without]
    logs = [log_e_increase(each, 0.0) for each in (counts, other, without, of_others)]
    if log_mean_exp(logs) < bound(alpha):
        return ""
    here, rest = found.here, found.rest
    what = "feedback" if check.metric == "kpi" else "a label and an answer to judge"
    return (
        f"{percent(here.mean)} of the challenger's {here.n} ripe predictions have {what}, and {percent(rest.mean)} of the champion's "
        f"{rest.n}: the sides are not comparable"
    )
