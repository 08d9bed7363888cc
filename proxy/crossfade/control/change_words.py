"""A change in words, for whoever is asked whether to do it: what it is, who moves, what is in flight, what follows."""

from __future__ import annotations

from collections.abc import Mapping

from crossfade.control.change import Change
from crossfade.rollout.machine import Phase, RolloutState, exposure, mirrored
from crossfade.rollout.verdict import duration, percent
from crossfade.routing.ledger import BUCKETS
from crossfade.scale import WHOLE


def sentence_of(
    change: Change,
    action: str,
    before: RolloutState | None,
    moved: Mapping[str, int],
    in_flight: Mapping[str, int],
) -> str:
    """`before`: the rollout that the command is for; None for a split. `moved`: buckets by `from→to`."""
    after = change.record.rollouts.get(change.challenger)
    if before is None or after is None:
        begins = f"The split of {change.record.name} becomes {_split(change)}."
    else:
        begins = _of_rollout(action, before, after)
    begins_later = after is not None and after.phase is Phase.PROGRESSING and not after.begun
    parts = [
        begins,
        _who_moves(moved, change, begins_later),
        _what_ends(in_flight, _cut_after(change, after)),
    ]
    return " ".join(part for part in parts if part)


def _split(change: Change) -> str:
    weights = change.record.ledger.weights.items()
    return ", ".join(f"{name} {percent(weight / WHOLE)}" for name, weight in weights if weight)


def _of_rollout(action: str, before: RolloutState, after: RolloutState) -> str:
    ours, theirs = after.challenger, after.champion
    match after.phase:
        case Phase.PAUSED:
            kept = f"{ours} keeps {percent(exposure(after) / WHOLE)}" if after.begun else f"{ours} waits"
            return f"The rollout pauses: {kept}, and takes no further step until a resume."
        case Phase.PROMOTED:
            return _promoted(before, after)
        case Phase.ABORTED:
            return (
                f"The rollout of {ours} ends, and {theirs} has the traffic. It begins again by a retry only."
            )
        case Phase.ROLLED_BACK:
            return f"{theirs} is the champion again. {ours} is tried again by a retry only."
        case Phase.PROGRESSING if not after.begun:
            ends = "The present attempt ends, and a" if before.is_guarded and before.begun else "A"
            return f"{ends} new attempt of {ours} begins with {_step(after)} as soon as it is up."
        case Phase.PROGRESSING:
            return f"The rollout goes on with {_step(after)}."


def _promoted(before: RolloutState, after: RolloutState) -> str:
    kept = f" of all but {percent(after.held_back / WHOLE)}" if after.held_back else ""
    skipped = len(before.steps) - before.step - (1 if before.begun else 0)
    steps = f", without the {skipped} steps that are left" if skipped > 1 else ""
    steps = steps or (", without the step that is left" if skipped == 1 else "")
    watch = f" It is watched for {duration(after.watch)}: a FAIL rolls it back." if after.watch else ""
    return f"{after.challenger} becomes the champion{kept}{steps}.{watch}"


def _step(state: RolloutState) -> str:
    step = state.steps[state.step]
    weight = step.weight if state.weight is None else state.weight
    gets = [f"{percent(weight / WHOLE)} of the traffic"] if weight else []
    share = step.mirror if not state.begun else mirrored(state)
    gets += [f"copies of {percent(share / WHOLE)}"] if share else []
    return f"step {state.step + 1} of {len(state.steps)} ({' and '.join(gets) or 'no traffic'})"


def _who_moves(moved: Mapping[str, int], change: Change, begins_later: bool) -> str:
    if not moved:
        return "Nobody moves before." if begins_later else "Nobody moves."
    who = "customers" if change.route.config.sticky else "requests"
    each = []
    for pair, buckets in moved.items():
        before, _, after = pair.partition("→")
        share = percent(buckets / BUCKETS)
        each.append(f"{share} of the {who} ({buckets} of {BUCKETS} buckets) from {before} to {after}")
    return f"{'Moves'} {'; '.join(each)}."


def _what_ends(in_flight: Mapping[str, int], cut_after: float | None) -> str:
    busy = {name: n for name, n in in_flight.items() if n}
    if not busy:
        return ""
    each = " and ".join(f"{n} request{'s' if n != 1 else ''} in flight at {name}" for name, n in busy.items())
    if cut_after is not None:
        return f"{each} may end there; what still runs after {duration(cut_after)} is cut."
    return f"{each} end{'s' if sum(busy.values()) == 1 else ''} there."


def _cut_after(change: Change, after: RolloutState | None) -> float | None:
    """Of a challenger that loses its traffic."""
    if after is None or not after.has_failed:
        return None
    return change.route.rollouts[change.challenger].config.cut_after
