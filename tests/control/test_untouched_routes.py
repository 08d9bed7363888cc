"""Law 13: what the file says of a route as before is neither refused nor done again, wherever its rollout stands."""

from __future__ import annotations

from contextlib import suppress

import pytest

from crossfade.control.refusal import Refused
from crossfade.control.replay import journal, replayed
from crossfade.control.views import Verb

from .harness import CANARY, Harness

OTHER = """
  - name: other
    match: {path: /other}
    split: {v2: 60%, v4: 40%}
"""
OTHER_EDITED = OTHER.replace("60%", "50%").replace("40%", "50%")
STEPS = CANARY[CANARY.index("        - {weight: 5%") : CANARY.index("      min_requests")]


def with_steps(*weights: str) -> str:
    return CANARY.replace(STEPS, "".join(f"        - {{weight: {each}, hold: 1h}}\n" for each in weights))


# Of a challenger at 25%.
IN_PLACE = [
    ("5%", "30%", "50%"),  # its step is raised: none has its weight any more
    ("1%", "5%", "10%", "50%"),
    ("1%", "50%"),
    ("25%", "50%"),
    ("25%",),
]


async def at_25_percent() -> Harness:
    harness = Harness()
    await harness.load(with_steps("5%", "25%", "50%").replace("hold: 1h", "hold: 10s", 1) + OTHER)
    await harness.run(14)
    assert harness.weights == {"v2": 7500, "v3": 2500}
    return harness


@pytest.mark.parametrize("verb", [None, Verb.PAUSE])
@pytest.mark.parametrize("weights", IN_PLACE)
async def test_an_edit_of_steps_in_place_is_followed_by_any_edit_elsewhere_and_by_a_start(weights, verb):
    harness = await at_25_percent()
    if verb:
        await harness.controller.command("churn", verb, "api:kim", harness.now)
    edited = with_steps(*weights)
    await harness.load(edited + OTHER)
    step, ledger = harness.rollout.step, harness.route.ledger
    decided = len(await harness.decisions("churn"))
    await harness.load(edited + OTHER)
    await harness.load(edited + OTHER_EDITED)
    assert harness.views.route("other").split == {"v2": 0.5, "v4": 0.5}
    again = Harness(harness.store)
    again.now = harness.now
    await again.load(edited + OTHER_EDITED)
    assert (again.rollout.step, again.route.ledger) == (step, ledger)
    assert len(await again.decisions("churn")) == decided
    assert replayed(journal(again.store)).differences == []


async def test_an_edit_of_the_rollout_that_leaves_its_steps_is_made_after_one_of_the_steps():
    harness = await at_25_percent()
    edited = with_steps("5%", "30%", "50%")
    await harness.load(edited + OTHER)
    await harness.load(edited.replace("watch: 60s", "watch: 90s") + OTHER)
    assert (await harness.decisions())[-1].reason == "watch: 1m → 1m 30s; nobody moves"
    await harness.load(with_steps("4%", "30%", "50%") + OTHER)  # the challenger is above this step
    assert harness.weights == {"v2": 7500, "v3": 2500}
    harness.serve(3600)
    await harness.run(3)
    assert harness.weights == {"v2": 7000, "v3": 3000}


NEXT_CHAMPION = CANARY.replace("champion: v2", "champion: v4").replace("fallback: v2", "fallback: v4")


@pytest.mark.parametrize("verbs", [(Verb.RESTART,), (Verb.ABORT,), (Verb.ROLLBACK, Verb.RETRY)])
@pytest.mark.parametrize("split", ["v4: 50%, v3: 50%", "v4: 100%"])
async def test_another_champion_of_a_promoted_challenger_is_followed_by_any_edit_elsewhere(split, verbs):
    """The next attempt is that of the file."""
    harness = Harness()
    await harness.load(CANARY + OTHER)
    await harness.run(100)
    assert harness.rollout.phase == "promoted"
    edited = NEXT_CHAMPION.replace("v2: 100%", split)
    await harness.load(edited + OTHER)
    for verb in verbs:
        with suppress(Refused):  # without a share, the challenger is rolled back already
            await harness.controller.command("churn", verb, "api:kim", harness.now)
    decided = len(await harness.decisions("churn"))
    await harness.load(edited + OTHER_EDITED)
    assert len(await harness.decisions("churn")) == decided
    await harness.run(3)
    decided = len(await harness.decisions("churn"))
    again = Harness(harness.store)
    again.now = harness.now
    await again.load(edited + OTHER)
    assert len(await again.decisions("churn")) == decided
    assert again.rollout.champion == "v4"
    assert replayed(journal(again.store)).differences == []
