"""The rule of `checks`: the result of a test → a verdict with its reason and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from typing import NamedTuple

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.faults import evidence_in_words
from crossfade.rollout.gates import Gate
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.stats.sequential import bound, wilson

# A test takes the challenger's share from its weight, an estimate from the requests that came.
_BY_WEIGHT = (
    "; the estimate keeps the limit, but not by the weights: the challenger had other traffic than its share"
)


class CheckContext(NamedTuple):
    """`alpha`: this check's part of the rollout's alpha in one step; `whole`: its part in all steps together.

    `prove`: whether to test also that the limit is kept (`advance_early`). `steps`: of the plan.
    """

    step: int
    min_requests: int
    alpha: float
    whole: float
    prove: bool = False
    steps: int = 1


class TestResult(NamedTuple):
    """`n`: requests, of the smaller side in a comparison; `evidence`: log e-value; `gain`: its expected growth per request.

    `within`: whether the estimate keeps the limit; `excuse`: why the evidence is VOID, empty if it is valid;
    `proof`: log e-value that the limit is kept, None if there is no such test. `gates`: what must hold besides, computed
    when the test is proven.
    `late`: what the latest part says against a PASS, in words, empty if it says nothing; asked if the verdict would be a PASS.
    """

    n: int
    evidence: float
    gain: float
    within: bool
    excuse: str = ""
    proof: float | None = None
    gates: Callable[[], Sequence[Gate]] | None = None
    late: Callable[[], str] | None = None


class Wording(NamedTuple):
    """The sentence and the numbers shown to people; `n`: requests of the challenger.

    `explained`: the text has the numbers of a FAIL even where the estimate keeps the limit.
    """

    text: str
    n: int
    estimate: float | None
    interval: tuple[float, float] | None
    explained: bool = False


def decide(check: Check, context: CheckContext, result: TestResult, wording: Wording) -> Finding:
    """Apply the rule of `checks`."""
    limit = bound(context.alpha)
    missing = max(context.min_requests - result.n, 0)
    verdict, cause = Verdict.PASS, ""
    if result.excuse:
        verdict, cause = Verdict.VOID, f"; {result.excuse}"
    elif result.evidence >= limit:
        verdict, cause = _proven(result, limit)
        if result.within and not wording.explained:
            cause = _BY_WEIGHT + cause
    elif missing:
        verdict, cause = Verdict.UNDECIDED, f"; {missing} more requests are needed"
    elif not result.within:
        verdict, cause = Verdict.UNDECIDED, f"; not proven yet ({evidence_in_words(result.evidence, limit)})"
    elif result.late and (said := result.late()):
        verdict, cause = Verdict.UNDECIDED, f"; {said}"
    to_proof = max(ceil((limit - result.evidence) / result.gain), 0) if result.gain > 0 else 0
    eta = min(filter(None, (missing, to_proof)), default=None) if verdict is Verdict.UNDECIDED else None
    has_requests = wording.n > 0 or result.excuse != ""
    return Finding(
        check=check.title,
        verdict=verdict,
        reason=wording.text + cause
        if has_requests
        else f"no requests yet; {context.min_requests} are needed",
        n=wording.n,
        estimate=wording.estimate if has_requests else None,
        interval=wording.interval if has_requests else None,
        evidence=result.evidence,
        bound=limit,
        proof=result.proof,
        eta_requests=eta,
    )


def _proven(result: TestResult, limit: float) -> tuple[Verdict, str]:
    """A FAIL, or what holds it back."""
    cause = f"; {evidence_in_words(result.evidence, limit)}"
    shut = [gate for gate in (result.gates() if result.gates else ()) if gate.log_e < limit]
    if not shut:
        return Verdict.FAIL, cause
    held = " and ".join(gate.closed for gate in shut)
    return Verdict.VOID if any(gate.common for gate in shut) else Verdict.UNDECIDED, f"{cause}, but {held}"


def incomparable(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    if not evidence.of_step(context.step):
        return Finding(check.title, Verdict.UNDECIDED, f"no requests yet; {context.min_requests} are needed")
    reason = "nothing to compare: champion and challenger have not had live traffic at the same time"
    return Finding(check.title, Verdict.VOID, reason)


class Share(NamedTuple):
    """x of n requests."""

    x: int
    n: int

    @property
    def value(self) -> float:
        return share(self.x, self.n)


def share(x: int, n: int) -> float:
    return x / n if n else 0.0


def newcombe_interval(here: Share, rest: Share) -> tuple[float, float]:
    """Newcombe's interval of the difference of two shares, from Wilson's interval of each; for display only."""
    p, q = here.value, rest.value
    (low, high), (other_low, other_high) = wilson(here.x, here.n), wilson(rest.x, rest.n)
    down = sqrt((p - low) ** 2 + (other_high - q) ** 2)
    up = sqrt((high - p) ** 2 + (q - other_low) ** 2)
    return p - q - down, p - q + up
