"""The rule of `checks` on the results of tests that are made up: which verdict, why, and how many more requests."""

from __future__ import annotations

from math import log

import pytest

from crossfade.rollout.evidence import Evidence
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import (
    CheckContext,
    Share,
    Wording,
    decide,
    incomparable,
    newcombe_interval,
    share,
)
from crossfade.rollout.verdict_rule import (
    TestResult as Result,
)

from .counting import check, evidence

CHECK = check("error_rate", max="1%")
CONTEXT = CheckContext(step=0, min_requests=100, alpha=0.01, whole=0.05)
LIMIT = log(100)
WORDING = Wording("2% of 150 requests failed", 150, 0.02, (0.01, 0.05))


def result(n=150, evidence=1.0, gain=0.0, within=True, excuse="", proof=None) -> Result:
    return Result(n, evidence, gain, within, excuse, proof)


@pytest.mark.parametrize(
    ("given", "verdict", "cause", "eta"),
    [
        (result(), Verdict.PASS, "", None),
        (result(n=100), Verdict.PASS, "", None),
        (result(n=99), Verdict.UNDECIDED, "; 1 more requests are needed", 1),
        (result(within=False), Verdict.UNDECIDED, "; not proven yet (1 in 3 so far; a FAIL needs 1 in 100)", None),
        (result(evidence=LIMIT, within=False), Verdict.FAIL, "; proven at 1 in 100; the limit is 1 in 100", None),
        (result(evidence=LIMIT - 1e-9, within=False, gain=1.0), Verdict.UNDECIDED, "; not proven yet (1 in 100 so far; a FAIL needs 1 in 100)", 1),
        (result(evidence=LIMIT + 9, n=3, within=False), Verdict.FAIL, "; proven at 1 in 810 000; the limit is 1 in 100", None),
        (result(evidence=LIMIT + 9, excuse="a common cause"), Verdict.VOID, "; a common cause", None),
        (result(n=3, within=False, excuse="a common cause"), Verdict.VOID, "; a common cause", None),
    ],
)  # fmt: skip
def test_the_verdict(given, verdict, cause, eta):
    finding = decide(CHECK, CONTEXT, given, WORDING)
    assert (finding.verdict, finding.reason) == (verdict, WORDING.text + cause)
    assert finding.eta_requests == eta
    assert (finding.check, finding.n, finding.estimate, finding.interval) == (
        "error_rate <= 1%", 150, 0.02, (0.01, 0.05),
    )  # fmt: skip
    assert finding.evidence == given.evidence
    assert finding.bound == pytest.approx(LIMIT)


def test_a_fail_whose_estimate_keeps_the_limit_is_explained():
    """Never "1.5% failed; the limit is 2%" as the reason of an abort."""
    finding = decide(CHECK, CONTEXT, result(evidence=LIMIT), WORDING)
    assert finding.verdict is Verdict.FAIL
    assert "; the estimate keeps the limit, but not by the weights" in finding.reason
    explained = decide(CHECK, CONTEXT, result(evidence=LIMIT), WORDING._replace(explained=True))
    assert "the estimate" not in explained.reason


@pytest.mark.parametrize(
    ("n", "gain", "eta"),
    [
        (40, 0.0, 60),  # until there are enough
        (40, 0.1, 37),  # until the evidence FAILs at this rate, rounded up: (4.605 - 1) / 0.1
        (70, 0.1, 30),  # what comes first
        (40, -0.1, 60),  # it grows no more
    ],
)
def test_how_many_more_requests(n, gain, eta):
    assert decide(CHECK, CONTEXT, result(n=n, gain=gain), WORDING).eta_requests == eta


def test_without_requests_there_are_no_numbers():
    finding = decide(CHECK, CONTEXT, result(n=0), Wording("0% of 0 requests failed", 0, 0.0, (0.0, 1.0)))
    assert (finding.verdict, finding.reason) == (Verdict.UNDECIDED, "no requests yet; 100 are needed")
    assert (finding.n, finding.estimate, finding.interval, finding.eta_requests) == (0, None, None, 100)


def test_a_proof_is_handed_on():
    assert decide(CHECK, CONTEXT, result(proof=3.5), WORDING).proof == 3.5
    assert decide(CHECK, CONTEXT, result(), WORDING).proof is None


def test_what_cannot_be_compared_is_void_once_the_step_has_begun():
    before = incomparable(CHECK, Evidence("v2", "v3"), CONTEXT)
    assert (before.verdict, before.reason) == (Verdict.UNDECIDED, "no requests yet; 100 are needed")
    begun = incomparable(CHECK, evidence(share=0.0), CONTEXT)
    assert begun.verdict is Verdict.VOID
    assert begun.reason.startswith("nothing to compare: champion and challenger")


def test_a_share_of_nothing_is_nothing():
    assert (share(0, 0), share(1, 4), Share(3, 4).value, Share(0, 0).value) == (0.0, 0.25, 0.75, 0.0)


@pytest.mark.parametrize(
    ("here", "rest", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        (Share(56, 70), Share(48, 80), 0.0524, 0.3339),
        (Share(9, 10), Share(3, 10), 0.1705, 0.8090),
        (Share(10, 10), Share(0, 10), 0.6075, 1.0),
        (Share(0, 10), Share(0, 10), -0.2775, 0.2775),
    ],
)
def test_the_interval_of_a_difference(here, rest, low, high):
    assert newcombe_interval(here, rest) == pytest.approx((low, high), abs=2e-4)
