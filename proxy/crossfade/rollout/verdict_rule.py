"""The answer to a check: numbers and words → a verdict, by the rule of `checks`."""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.sequential import bound, wilson


class CheckContext(NamedTuple):
    """`alpha`: this check's share of the rollout's, for this step; `whole`: for all of them, if it has one test only.

    `prove`: whether somebody wants to know if the limit is proven to be kept.
    """

    step: int
    min_requests: int
    alpha: float
    whole: float
    prove: bool = False


class TestResult(NamedTuple):
    """`n`: requests, of the smaller side where two are compared; `gain`: of evidence, expected per request.

    `within`: whether the estimate keeps the limit; `excuse`: why the evidence blames nobody, if so;
    `proof`: log e-value that the limit is kept, where there is a test of that.
    """

    n: int
    evidence: float
    gain: float
    within: bool
    excuse: str = ""
    proof: float | None = None


class Wording(NamedTuple):
    """The sentence and the numbers shown; `n` on the challenger."""

    said: str
    n: int
    estimate: float | None
    interval: tuple[float, float] | None


def verdict(check: Check, context: CheckContext, result: TestResult, wording: Wording) -> Finding:
    """The rule of `checks`, applied."""
    limit = bound(context.alpha)
    missing = max(context.min_requests - result.n, 0)
    finding, why = Verdict.PASS, ""
    if result.excuse:
        finding, why = Verdict.VOID, f"; {result.excuse}"
    elif result.evidence >= limit:
        finding = Verdict.FAIL
    elif missing:
        finding, why = Verdict.UNDECIDED, f"; {missing} more requests are needed"
    elif not result.within:
        finding, why = Verdict.UNDECIDED, "; not yet beyond chance"
    proof = ceil((limit - result.evidence) / result.gain) if result.gain > 0 else 0
    eta = min(filter(None, (missing, proof)), default=None) if finding is Verdict.UNDECIDED else None
    known = wording.n > 0
    return Finding(
        check=check.title,
        verdict=finding,
        reason=wording.said + why if known else f"no requests yet; {context.min_requests} are needed",
        n=wording.n,
        estimate=wording.estimate if known else None,
        interval=wording.interval if known else None,
        evidence=result.evidence,
        bound=limit,
        proof=result.proof,
        eta_requests=eta,
    )


def incomparable(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    if not evidence.of_step(context.step):
        return Finding(check.title, Verdict.UNDECIDED, f"no requests yet; {context.min_requests} are needed")
    reason = "champion and challenger have not had live traffic at the same time: nothing to compare"
    return Finding(check.title, Verdict.VOID, reason)


class Share(NamedTuple):
    x: int
    n: int

    @property
    def value(self) -> float:
        return share(self.x, self.n)


def share(x: int, n: int) -> float:
    return x / n if n else 0.0


def newcombe_interval(here: Share, rest: Share) -> tuple[float, float]:
    """Newcombe's interval of a difference of shares, from Wilson's of each."""
    p, q = here.value, rest.value
    (low, high), (other_low, other_high) = wilson(here.x, here.n), wilson(rest.x, rest.n)
    down = sqrt((p - low) ** 2 + (other_high - q) ** 2)
    up = sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return p - q - down, p - q + up
