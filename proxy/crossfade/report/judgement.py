"""The verdict of a report in a sentence, and the sentences that support it.

Rule: what the rollout has decided comes first, then what is proven, then what the estimates say. A difference is called too much
only where a limit is declared.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.report.comparison_plots import excess_of, in_units, label_of, measured, range_in_units
from crossfade.report.inputs import Report, Rollout
from crossfade.report.words import counted, joined, percent, whole

Tone = Literal["good", "bad", "wait"]
_NAMED = 3  # segments
_SLOWER = 1.1  # ratio of latencies from which on it is said


class Judgement(msgspec.Struct):
    tone: Tone
    sentence: str
    support: list[str]


def judged(report: Report) -> Judgement:
    found, rollout = report.comparison, report.rollout
    support = [] if rollout is None else _of_checks(rollout)
    by_rollout = None if rollout is None else _by_phase(report, rollout)
    if found is None:
        return by_rollout or Judgement("wait", _waits(rollout), support)
    tone, sentence = _by_pairs(found)
    support += _of_pairs(found)
    if by_rollout is not None:
        return Judgement(by_rollout.tone, by_rollout.sentence, [sentence, *by_rollout.support, *support])
    if rollout is not None and (tone == "good" and _all_verdicts(rollout) != {"PASS"}):
        tone = "wait"
    return Judgement(tone, sentence, support)


def _all_verdicts(rollout: Rollout) -> set[str]:
    return {verdict.verdict for verdict in rollout.verdicts}


def _waits(rollout: Rollout | None) -> str:
    if rollout is None:
        return "No rollout and no mirror of this route: there is nothing to compare."
    step = f"step {rollout.step + 1} of {len(rollout.steps)}"
    return f"{rollout.challenger} is at {percent(rollout.weight)} of the traffic, in {step}: not decided yet."


def _by_phase(report: Report, rollout: Rollout) -> Judgement | None:
    """What has been decided, or is proven."""
    last = next((decision.reason for decision in reversed(report.decisions) if "phase" in decision.to), "")
    why = [f"The last decision: {last}"] if last else []
    failed = [verdict for verdict in rollout.verdicts if verdict.verdict == "FAIL"]
    if rollout.phase == "aborted":
        return Judgement(
            "bad", f"{rollout.challenger} was taken out; {rollout.champion} has the traffic.", why
        )
    if rollout.phase == "rolled_back":
        return Judgement(
            "bad",
            f"{rollout.challenger} was the champion and was taken back; {rollout.champion} has the traffic again.",
            why,
        )
    if failed:
        return Judgement(
            "bad",
            f"{rollout.challenger} fails {joined([verdict.check for verdict in failed])}.",
            [v.reason for v in failed],
        )
    if rollout.phase == "promoted":
        return Judgement("good", f"{rollout.challenger} is the champion in place of {rollout.champion}.", why)
    return None


def _by_pairs(found: ComparisonSummary) -> tuple[Tone, str]:
    excess, what = excess_of(found), measured(found)
    if excess is None:
        return (
            "wait",
            f"No answers of {found.challenger} have been compared with those of {found.champion} yet.",
        )
    low, high = excess.interval
    flagged = [segment for segment in found.segments if segment.flagged]
    if flagged:
        some = [f"{label_of(s)} ({in_units(found, s.excess or 0.0)})" for s in flagged[:_NAMED]]
        if len(flagged) > _NAMED:
            some.append(f"{len(flagged) - _NAMED} more")
        tone: Tone = "bad" if found.segment_limit else "wait"
        return tone, f"{found.challenger} answers differently from {found.champion} in {joined(some)}."
    if found.limit is None:
        if low > 0:
            return (
                "wait",
                f"{found.challenger} answers differently from {found.champion}, beyond chance and noise; nobody has said how much is too much.",
            )
        return (
            "wait",
            f"No difference between {found.challenger} and {found.champion} is proven; it is at most {in_units(found, high)} of {what}.",
        )
    limit = in_units(found, found.limit).lstrip("+")
    if low > found.limit:
        return (
            "bad",
            f"{found.challenger} differs from {found.champion} by more than the limit of {limit} allows.",
        )
    if high <= found.limit:
        return (
            "good",
            f"{found.challenger} answers as {found.champion} does: its excess of {what} is below the limit of {limit}.",
        )
    return "wait", f"Not decided yet: the excess of {what} may be below or above the limit of {limit}."


def _of_pairs(found: ComparisonSummary) -> list[str]:
    excess = excess_of(found)
    if excess is None:
        return []
    share = found.decisions.changed
    seen = "" if share is None else f" ({percent(share)} differ, {_noise_of(found)})"
    out = [
        f"Excess of {measured(found)} beyond the noise of {found.champion}: {in_units(found, excess.estimate)}, "
        f"95% interval {range_in_units(found, excess.interval)}{seen}."
    ]
    again, theirs = found.latency.champion_again.quantiles, found.latency.challenger.quantiles
    if again and theirs and not 1 / _SLOWER < theirs["p99"] / again["p99"] < _SLOWER:
        out.append(
            f"Its p99 latency is {theirs['p99'] / again['p99']:.2f} times that of {found.champion}, asked alike."
        )
    if found.copy_errors:
        out.append(
            f"It answered {whole(found.copy_errors)} of {counted(found.pairs, 'copy', 'copies')} with an error ({percent(found.copy_errors / found.pairs)})."
        )
    return out


def _noise_of(found: ComparisonSummary) -> str:
    noise = found.decisions.noise
    return (
        "its own noise is not measured"
        if noise is None
        else f"{percent(noise)} of {found.champion}'s own second answers do"
    )


def _of_checks(rollout: Rollout) -> list[str]:
    verdicts = [verdict.verdict for verdict in rollout.verdicts]
    if not verdicts:
        return []
    parts = [
        f"{verdicts.count(name)} {name}" for name in ("PASS", "FAIL", "UNDECIDED", "VOID") if name in verdicts
    ]
    return [
        f"Checks of the {rollout.strategy} rollout, which is {rollout.phase.replace('_', ' ')}: {joined(parts)}."
    ]
