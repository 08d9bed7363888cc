"""The answer to a check: numbers and words → a verdict, by the rule of `checks`."""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

from crossfade.config.model import CheckConfig
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.sequential import bound, wilson


class Terms(NamedTuple):
    """`alpha`: this check's share of the rollout's, for this step; `whole`: for all of them, if it has one test only.

    `prove`: whether somebody wants to know if the limit is proven to be kept.
    """

    step: int
    min_requests: int
    alpha: float
    whole: float
    prove: bool = False


class Tested(NamedTuple):
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


class Words(NamedTuple):
    """The sentence and the numbers shown; `n` on the challenger."""

    said: str
    n: int
    estimate: float | None
    interval: tuple[float, float] | None


def verdict(check: CheckConfig, terms: Terms, tested: Tested, words: Words) -> Verdict:
    """The rule of `checks`, applied."""
    limit = bound(terms.alpha)
    missing = max(terms.min_requests - tested.n, 0)
    finding, why = Finding.PASS, ""
    if tested.excuse:
        finding, why = Finding.VOID, f"; {tested.excuse}"
    elif tested.evidence >= limit:
        finding = Finding.FAIL
    elif missing:
        finding, why = Finding.UNDECIDED, f"; {missing} more requests are needed"
    elif not tested.within:
        finding, why = Finding.UNDECIDED, "; not yet beyond chance"
    proof = ceil((limit - tested.evidence) / tested.gain) if tested.gain > 0 else 0
    eta = min(filter(None, (missing, proof)), default=None) if finding is Finding.UNDECIDED else None
    known = words.n > 0
    return Verdict(
        check=check.title,
        verdict=finding,
        reason=words.said + why if known else f"no requests yet; {terms.min_requests} are needed",
        n=words.n,
        estimate=words.estimate if known else None,
        interval=words.interval if known else None,
        evidence=tested.evidence,
        bound=limit,
        proof=tested.proof,
        eta_requests=eta,
    )


def incomparable(check: CheckConfig, evidence: Evidence, terms: Terms) -> Verdict:
    if not evidence.of_step(terms.step):
        return Verdict(check.title, Finding.UNDECIDED, f"no requests yet; {terms.min_requests} are needed")
    reason = "champion and challenger have not had live traffic at the same time: nothing to compare"
    return Verdict(check.title, Finding.VOID, reason)


class Share(NamedTuple):
    x: int
    n: int

    @property
    def value(self) -> float:
        return share(self.x, self.n)


def share(x: int, n: int) -> float:
    return x / n if n else 0.0


def difference(here: Share, rest: Share) -> tuple[float, float]:
    """Newcombe's interval of a difference of shares, from Wilson's of each."""
    p, q = here.value, rest.value
    (low, high), (other_low, other_high) = wilson(here.x, here.n), wilson(rest.x, rest.n)
    down = sqrt((p - low) ** 2 + (other_high - q) ** 2)
    up = sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return p - q - down, p - q + up
