"""Law 2 for several challengers: a change of one moves no bucket of another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.control.change import home_of, ledger_after
from crossfade.rollout.machine import Event, NotAllowedError, Phase, RolloutState, Step, advance, exposure
from crossfade.rollout.other_rollouts import held_by
from crossfade.routing.ledger import BUCKETS, Ledger, moved, new_ledger, salt_of
from tests.ledgers import backend_of
from tests.tries import tries

SALT = salt_of("churn")
CHALLENGERS = ("v3", "v4", "v5")


def buckets_of(ledger: Ledger, name: str) -> set[int]:
    return {b for b in range(BUCKETS) if backend_of(ledger, b) == name}


@st.composite
def beginnings(draw) -> tuple[Ledger, dict[str, RolloutState]]:
    """A first map, where a challenger may have a share, and for each challenger two steps; v2 is the champion."""
    states = {}
    for name in CHALLENGERS:
        low, high = sorted(draw(st.lists(st.integers(1, 3000), min_size=2, max_size=2, unique=True)))
        steps = (Step(low, 0.0), Step(high, 0.0))
        states[name] = RolloutState("churn", "canary", "v2", name, name, steps, 0.0, 0.0, 0.0, 0.0)
    share = draw(st.sampled_from([0, 0, 700]))
    return new_ledger({"v2": BUCKETS - share, "v3": share}, SALT), states


@settings(max_examples=tries(60), deadline=None)
@given(beginnings(), st.lists(st.tuples(st.sampled_from(CHALLENGERS), st.sampled_from(Event)), max_size=25))
def test_a_change_of_one_challenger_moves_no_bucket_of_another(beginning, events):
    ledger, states = beginning
    home = home_of(ledger, "v2", CHALLENGERS, SALT)
    for name, event in events:
        before = states[name]
        other_phases = {other: state.phase for other, state in states.items() if other != name}
        try:
            after = advance(before, event, 1.0)
        except NotAllowedError:
            continue
        if held_by(before, after, other_phases):
            continue
        was, ledger = ledger, ledger_after(ledger, home, (before, after), other_phases, SALT)
        states[name] = after
        for other in other_phases:
            assert buckets_of(was, other) == buckets_of(ledger, other)
        ours, now = buckets_of(was, name), buckets_of(ledger, name)
        assert ours <= now or now <= ours
        assert moved(was, ledger) == abs(len(ours) - len(now))
        if after.begun or not after.is_running:
            assert len(now) == exposure(after)
        if not now:
            assert all(backend_of(ledger, b) == backend_of(home, b) for b in ours)
        promoted = [s for s in states.values() if s.phase is Phase.PROMOTED]
        assert len(promoted) <= 1
        if promoted:
            assert ledger.weights[promoted[0].challenger] == BUCKETS
    for name, state in states.items():
        if state.phase in (Phase.ABORTED, Phase.ROLLED_BACK):
            continue
        over = replace(state, phase=Phase.ABORTED)
        other_phases = {other: s.phase for other, s in states.items() if other != name}
        ledger = ledger_after(ledger, home, (state, over), other_phases, SALT)
        states[name] = over
    assert (ledger.backends, ledger.slots) == (home.backends, home.slots)
