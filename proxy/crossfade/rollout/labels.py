"""Checks of labels: accuracy, Brier score, log loss, absolute error and AUC of the answers whose truth is known.

Rule: with live traffic on both sides each side is judged by its own ripe predictions, as a KPI is (`kpis`); AUC by ranked answers
(`differences`). In steps that only mirror, both models are judged on the same requests. These are two tests of one check, so each
has half of its alpha; both go over all steps of the rollout. `max` and `min` are broken only where the challenger is also proven
worse than the champion.
"""

from __future__ import annotations

from crossfade.rollout.coverage import coverage_fault
from crossfade.rollout.differences import Differences, log_e_less, log_e_more
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.kpis import kpi_increase, kpi_limit
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Finding, Verdict
from crossfade.rollout.verdict_rule import CheckContext, TestResult, Wording, decide, incomparable
from crossfade.stats.bounded import log_e_level_above
from crossfade.stats.sequential import bound


def label_increase(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the challenger's mean less the champion's keeps the limit. `min_increase` passes only if it is proven."""
    context = _half(context)
    if check.metric != "auc" and _is_live(evidence, context):
        return kpi_increase(check, evidence, context)
    found = _differences(check, evidence, context)
    if isinstance(found, Finding):
        return found
    width = check.width
    margin, gains = check.limit / width, check.bound == "min_increase"
    more, less = log_e_more(found.levels, margin), log_e_less(found.levels, margin)
    difference = found.mean * width
    log_e, proof = (less, more) if gains else (more, less)
    within = more >= bound(context.alpha) if gains else difference <= check.limit
    sign = "at least" if gains else "at most"
    text = f"{_means(check, found, evidence, context)}, {difference:+.4g}; the limit is {sign} {check.limit:+.4g}{_counts(check, found)}"
    is_proven = log_e >= bound(context.alpha)
    excuse = coverage_fault(check, evidence, is_proven) if _is_live(evidence, context) else ""
    result = TestResult(found.n, log_e, max(log_e, 0.0) / found.n, within, excuse, proof)
    return decide(check, context, result, Wording(text, found.n, difference, None))


def label_limit(check: Check, evidence: Evidence, context: CheckContext) -> Finding:
    """H0 of a FAIL: the challenger's mean keeps the limit, or it is no worse than the champion's."""
    context = _half(context)
    if check.metric != "auc" and _is_live(evidence, context):
        return kpi_limit(check, evidence, context)
    found = _differences(check, evidence, context)
    if isinstance(found, Finding):
        return found
    upper = check.bound == "max"
    limit = (check.limit - check.lowest) / check.width
    above, below = log_e_level_above(found.own, limit), log_e_level_above(found.own[::-1], 1 - limit)
    log_e, proof = (above, below) if upper else (below, above)
    worse = log_e_more(found.levels, 0.0) if upper else log_e_less(found.levels, 0.0)
    is_proven = log_e >= bound(context.alpha)
    excuse = coverage_fault(check, evidence, is_proven) if _is_live(evidence, context) else ""
    if not excuse and log_e >= bound(context.alpha) > worse:
        excuse = (
            "the limit is broken, but the challenger is not proven worse than the champion: a common cause"
        )
    mean = check.lowest + found.here.value * check.width
    within = mean <= check.limit if upper else mean >= check.limit
    text = f"{_means(check, found, evidence, context)}; the limit is {check.limit:.4g}{_counts(check, found)}"
    result = TestResult(found.n, log_e, max(log_e, 0.0) / found.n, within, excuse, proof)
    return decide(check, context, result, Wording(text, found.n, mean, None))


def _half(context: CheckContext) -> CheckContext:
    return context._replace(alpha=context.whole / 2, whole=context.whole / 2)


def _is_live(evidence: Evidence, context: CheckContext) -> bool:
    """Whether both sides have had live traffic by this step."""
    return any(s.compares and s.step <= context.step for s in evidence.strata)


def _differences(check: Check, evidence: Evidence, context: CheckContext) -> Differences | Finding:
    """Those of the kind that this step is judged by, or why there is nothing to test."""
    is_live = _is_live(evidence, context)
    if not is_live and all(s.share for s in evidence.of_step(context.step)):
        return incomparable(check, evidence, context)
    found = (evidence.ranked if is_live else evidence.label_pairs).get(check.title, Differences())
    if found.unusable is not None:
        reason = f"{check.label} has the value {found.unusable} in the feedback; {check.metric} needs {check.wanted}"
        return Finding(check.title, Verdict.VOID, reason)
    if found.n:
        return found
    what = "ranked answers of both sides" if is_live else "mirrored pairs with a ripe label"
    return Finding(check.title, Verdict.UNDECIDED, f"no {what} yet; {context.min_requests} are needed")


def _means(check: Check, found: Differences, evidence: Evidence, context: CheckContext) -> str:
    here, rest = (check.lowest + side.value * check.width for side in (found.here, found.rest))
    if _is_live(evidence, context):
        return f"{check.named} is {here:.4g} over {found.n} groups of ranked answers against the champion's {rest:.4g}"
    kind = "groups of ranked" if check.metric == "auc" else "labelled"
    return f"{check.named} is {here:.4g} over {found.n} {kind} mirrored pairs against the champion's {rest:.4g} on the same requests"


def _counts(check: Check, found: Differences) -> str:
    if check.metric != "accuracy":
        return ""
    return f"; only the challenger was right in {found.better} pairs, only the champion in {found.worse}"
