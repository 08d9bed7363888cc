"""What a report does not know, said before a reader believes too much."""

from __future__ import annotations

from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.report.inputs import Report, Rollout
from crossfade.report.words import counted, joined, percent, whole

_FEW = 200  # pairs
_FEW_ASKED = 50
_REASONS = {
    "pair_status": "the champion's answer was an error",
    "pair_abandoned": "the client left before the end of the champion's answer",
    "pair_decision": "the champion's answer says nothing that can be compared",
    "pair_body_size": "an answer was too large",
    "pair_encoding": "an answer has a content coding that is not installed",
    "pair_time": "an answer came too late",
    "observer": "the observer lagged",
}


def unknowns(report: Report) -> list[str]:
    out = [] if report.comparison is None else _of_pairs(report.comparison)
    if report.rollout is not None:
        out += _of_rollout(report.rollout)
    return out


def _of_pairs(found: ComparisonSummary) -> list[str]:
    out = [
        "Who is right where both differ. A comparison of answers shows that they differ; only what happens to customers later shows which is better.",
        "How customers would act on other answers: they saw those of the champion alone.",
    ]
    if found.pairs < _FEW:
        out.append(f"Much of it: {counted(found.pairs, 'pair')} are few, and the intervals are wide.")
    if not found.noise_pairs:
        out.append(
            f"How often {found.champion} differs from itself: `noise` of the mirror is 0, so every difference counts against {found.challenger}, and latencies are not asked for under the same conditions."
        )
    elif found.noise_pairs < _FEW_ASKED:
        out.append(
            f"Well, how often {found.champion} differs from itself: it was asked twice {counted(found.noise_pairs, 'time')} only."
        )
    never = found.noise_pairs - found.latency.champion_again.n
    if never > 0:
        asked = counted(never, "second answer")
        out.append(
            f"What {asked} of {found.champion} would have said: those that never came count as {found.champion} differing from itself."
        )
    out += _of_keys(found) + _of_scope(found)
    if found.dropped:
        total = sum(found.dropped.values())
        reasons = [
            f"{_REASONS.get(reason, reason)} ({whole(n)})"
            for reason, n in sorted(found.dropped.items(), key=lambda each: -each[1])
        ]
        out.append(
            f"What {counted(total, 'request')} would have shown that could not be compared: {joined(reasons)}."
        )
    return out


def _of_keys(found: ComparisonSummary) -> list[str]:
    if not found.keys.pairs or found.keys.pairs < 1.2 * found.keys.distinct:
        return []
    return [
        f"How wide the intervals really are: {counted(found.keys.pairs, 'pair')} are of about {counted(found.keys.distinct, 'customer')}, and those of one "
        "customer depend on each other, which the intervals here do not know. The checks of a rollout count each customer once."
    ]


def _of_scope(found: ComparisonSummary) -> list[str]:
    out = []
    if found.rows > found.pairs:
        share = found.rows_changed / found.rows
        out.append(
            f"All of each batch: one row, drawn by chance, stands for a request in the decisions and scores here. Of all {whole(found.rows)} rows, {percent(share)} changed."
        )
    if not found.segments:
        out.append(
            "Whether some customers are treated otherwise than others: the route declares no `segment`."
        )
    unknown = [s for s in found.segments if not s.value and s.pairs]
    some = [f"{s.by} of {counted(s.pairs, 'pair')}" for s in unknown]
    if some:
        out.append(f"The segment of some: {joined(some)}.")
    if found.measure == "distance":
        out.append(
            "Whether a difference matters: the answers say no decision, so only how far apart they are is measured."
        )
    return out


def _of_rollout(rollout: Rollout) -> list[str]:
    return [f"{v.check}: {v.reason}" for v in rollout.verdicts if v.verdict in ("UNDECIDED", "VOID")]
