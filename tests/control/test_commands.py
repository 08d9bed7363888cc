"""Each verb in each phase, what it does to the ledger, and what it refuses."""

from __future__ import annotations

from itertools import product

import pytest

from crossfade.control.refusal import Invalid, Refused, UnknownName
from crossfade.control.views import Verb
from crossfade.rollout.machine import TABLE, Event, Phase
from tests.ledgers import backend_of

from .harness import CANARY, HEAD, Harness

DOWN = frozenset({("v3", "127.0.0.1:9003")})


async def harness_in(phase: Phase) -> Harness:
    harness = Harness()
    await harness.load()
    await harness.run(3)
    for verb in {
        Phase.PROGRESSING: (),
        Phase.PAUSED: (Verb.PAUSE,),
        Phase.PROMOTED: (Verb.PROMOTE,),
        Phase.ABORTED: (Verb.ABORT,),
        Phase.ROLLED_BACK: (Verb.PROMOTE, Verb.ROLLBACK),
    }[phase]:
        await harness.controller.command("churn", verb, "api:kim", harness.now)
    assert harness.rollout.phase == phase
    return harness


AT_HOME = {"v2": 10_000}
ON_STEP = {"v2": 9500, "v3": 500}
IN_CHARGE = {"v3": 10_000}
LEADS_TO = {
    (Phase.PROGRESSING, Verb.PAUSE): ("paused", ON_STEP),
    (Phase.PROGRESSING, Verb.PROMOTE): ("promoted", IN_CHARGE),
    (Phase.PROGRESSING, Verb.ABORT): ("aborted", AT_HOME),
    (Phase.PAUSED, Verb.RESUME): ("progressing", ON_STEP),
    (Phase.PAUSED, Verb.PROMOTE): ("promoted", IN_CHARGE),
    (Phase.PAUSED, Verb.ABORT): ("aborted", AT_HOME),
    (Phase.PROMOTED, Verb.ROLLBACK): ("rolled_back", AT_HOME),
    (Phase.PROMOTED, Verb.ABORT): ("rolled_back", AT_HOME),
    (Phase.ABORTED, Verb.ABORT): ("aborted", AT_HOME),
    (Phase.ROLLED_BACK, Verb.ABORT): ("rolled_back", AT_HOME),
    (Phase.ABORTED, Verb.RETRY): ("progressing", AT_HOME),
    (Phase.ROLLED_BACK, Verb.RETRY): ("progressing", AT_HOME),
    **{(phase, Verb.RESTART): ("progressing", AT_HOME) for phase in Phase},
}


@pytest.mark.parametrize(("phase", "verb"), list(product(Phase, Verb)))
async def test_each_verb_in_each_phase(phase, verb):
    harness = await harness_in(phase)
    before, made = harness.weights, len(await harness.actions())
    expected = LEADS_TO.get((phase, verb))
    assert (expected is not None) == ((phase, Event(verb)) in TABLE)
    if expected is None:
        with pytest.raises(Refused, match=f"a rollout that is {phase} does not accept {verb}"):
            await harness.controller.command("churn", verb, "api:kim", harness.now)
        assert (harness.rollout.phase, harness.weights, len(await harness.actions())) == (phase, before, made)
        return
    view = await harness.controller.command("churn", verb, "api:kim", harness.now, "as agreed")
    assert (view.phase, harness.weights) == expected
    if view.phase != phase or verb is Verb.RESTART:
        last = (await harness.decisions("churn"))[-1]
        assert (last.actor, last.reason, last.to["phase"]) == ("api:kim", "as agreed", view.phase)
        assert last.from_["phase"] == phase
    else:
        assert len(await harness.actions()) == made  # abort twice is no second decision


async def test_retry_begins_an_attempt_with_empty_evidence():
    harness = Harness()
    await harness.load()
    harness.error_share = {"v3": 1.0}
    await harness.run(3)
    assert harness.rollout.phase == "aborted"
    harness.error_share = {}
    await harness.run(20)
    assert harness.weights == AT_HOME  # until somebody says so
    await harness.controller.command("churn", Verb.RETRY, "api:kim", harness.now)
    await harness.tick()
    assert (harness.rollout.step, harness.weights, [v.n for v in harness.rollout.verdicts]) == (
        0,
        ON_STEP,
        [0] * 3,
    )
    await harness.run(30)
    assert harness.rollout.phase == "promoted"
    assert (await harness.decisions("churn"))[-1].to["attempt"] == 2


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.RESUME])
async def test_promote_and_resume_are_refused_while_the_challenger_is_down(verb):
    approval = CANARY.replace("weight: 5%, hold: 10s", "weight: 5%, hold: 10s, approval: true")
    harness = Harness()
    await harness.load(approval)
    await harness.run(20)
    harness.controller.endpoints_changed(DOWN, harness.now)
    with pytest.raises(Refused, match="no endpoint of v3 is up; with --force"):
        await harness.controller.command("churn", verb, "api:kim", harness.now)
    assert (harness.rollout.phase, harness.weights) == ("paused", ON_STEP)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert harness.weights == AT_HOME


CHAMPION_DOWN = frozenset({("v2", "127.0.0.1:9002")})
NO_CHAMPION = "no endpoint of v2 is up"


@pytest.mark.parametrize(
    ("phase", "verb", "leads_to"),
    [
        (Phase.PROGRESSING, Verb.ABORT, "aborted"),
        (Phase.PROMOTED, Verb.ROLLBACK, "rolled_back"),
        (Phase.PROMOTED, Verb.ABORT, "rolled_back"),
    ],
)
async def test_traffic_goes_back_to_a_champion_that_is_down_only_by_force(phase, verb, leads_to):
    harness = await harness_in(phase)
    before, made = harness.weights, len(await harness.actions())
    harness.controller.endpoints_changed(CHAMPION_DOWN, harness.now)
    with pytest.raises(Refused, match=f"{NO_CHAMPION}; with --force"):
        await harness.controller.command("churn", verb, "api:kim", harness.now)
    assert (harness.rollout.phase, harness.weights, len(await harness.actions())) == (phase, before, made)
    await harness.controller.command("churn", verb, "api:kim", harness.now, force=True)
    assert (harness.rollout.phase, harness.weights) == (leads_to, AT_HOME)
    assert (await harness.decisions())[-1].forced == NO_CHAMPION


async def test_a_verb_that_moves_nobody_needs_no_force():
    harness = await harness_in(Phase.PROGRESSING)
    harness.controller.endpoints_changed(CHAMPION_DOWN | DOWN, harness.now)
    await harness.controller.command("churn", Verb.PAUSE, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.RESUME, "api:kim", harness.now, force=True)
    assert (harness.weights, (await harness.decisions())[-1].forced) == (ON_STEP, "")


async def test_a_promote_asks_for_a_share_of_the_endpoints_and_can_be_forced():
    harness = Harness()
    three = "[http://127.0.0.1:9003, http://127.0.0.1:9013, http://127.0.0.1:9023]"
    await harness.load(head=HEAD.replace("[http://127.0.0.1:9003]", three))
    await harness.run(3)
    harness.controller.endpoints_changed(DOWN | {("v3", "127.0.0.1:9013")}, harness.now)
    fault = "only 33.3% of the endpoints of v3 are up, which is less than its min_up"
    with pytest.raises(Refused, match=fault):
        await harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now)
    await harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now, force=True)
    assert (harness.weights, (await harness.decisions())[-1].forced) == (IN_CHARGE, fault)


async def test_a_split_gives_a_backend_that_is_down_more_only_by_force():
    harness = Harness()
    await harness.load(PLAIN)
    set_split, now = harness.controller.set_split, harness.now
    await set_split("churn", {"v2": 3, "v3": 1}, "api:kim", now)
    harness.controller.endpoints_changed(DOWN, now)
    with pytest.raises(Refused, match="no endpoint of v3 is up; with --force"):
        await set_split("churn", {"v2": 1, "v3": 1}, "api:kim", now)
    await set_split("churn", {"v2": 9, "v3": 1}, "api:kim", now)  # less is always possible
    await set_split("churn", {"v2": 1, "v3": 1}, "api:kim", now, force=True)
    forced = [d.forced for d in await harness.decisions() if d.action == "split"]
    assert (harness.weights, forced) == ({"v2": 5000, "v3": 5000}, ["", "", "no endpoint of v3 is up"])


async def test_unknown_names_are_refused():
    harness = Harness()
    await harness.load(PLAIN)
    with pytest.raises(UnknownName, match="no route is called none"):
        await harness.controller.command("none", Verb.PAUSE, "api:kim", harness.now)
    await harness.load(PLAIN + "  - {name: away, match: {path: /away}, respond: {status: 503}}\n")
    with pytest.raises(UnknownName, match="route away answers itself: it has no split"):
        await harness.controller.command("away", Verb.PAUSE, "api:kim", harness.now)
    with pytest.raises(UnknownName, match="route churn has no rollout"):
        await harness.controller.command("churn", Verb.PAUSE, "api:kim", harness.now)
    with pytest.raises(UnknownName):
        harness.views.rollout("churn", harness.now)
    with pytest.raises(UnknownName):
        harness.views.route("none")
    with pytest.raises(UnknownName):
        harness.views.backend("none")
    with pytest.raises(UnknownName):
        await harness.views.why("none")


PLAIN = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 50%, v3: 50%}
"""


async def split(harness: Harness, **weights: float) -> dict[str, float]:
    return (await harness.controller.set_split("churn", weights, "api:kim", harness.now)).split


async def test_a_split_moves_the_fewest_buckets_and_is_journalled():
    harness = Harness()
    await harness.load(PLAIN)
    before = harness.route.ledger
    assert await split(harness, v2=3, v3=1) == {"v2": 0.75, "v3": 0.25}
    after = harness.route.ledger
    moved = sum(backend_of(before, b) != backend_of(after, b) for b in range(10_000))
    assert (moved, after.version) == (2500, before.version + 1)
    last = (await harness.decisions("churn"))[-1]
    assert (last.action, last.actor, last.ledger_version) == ("split", "api:kim", after.version)
    assert (last.from_["split"], last.to["split"]) == ({"v2": 0.5, "v3": 0.5}, {"v2": 0.75, "v3": 0.25})


async def test_an_unchanged_split_makes_no_decision():
    harness = Harness()
    await harness.load(PLAIN)
    made, published = len(await harness.actions()), len(harness.seam.published)
    assert await split(harness, v2=7, v3=7, v4=0) == {"v2": 0.5, "v3": 0.5}
    assert (len(await harness.actions()), len(harness.seam.published)) == (made, published)


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ({}, "the split must name at least one backend"),
        ({"v2": 0.0}, "the split must have at least one weight above 0"),
        ({"v2": -1.0, "v3": 2.0}, "the split must not be negative"),
        ({"v2": float("nan")}, "the split must be"),
        ({"v2": float("inf")}, "the split must be"),
        ({"v9": 1.0}, "no backend is called v9"),
        ({"v2": 1.0, "v3": 1e-9}, "the split must give each backend 0 or at least 0.01%"),
        ({"v2": 1.0}, "must name each backend that has traffic: v3 is left out; give it a weight, or 0"),
        ({"v2": 0.6, "v3": 0.5}, "must add up to 1, not 1.1, if it is in shares"),
        ({"v2": 0.6, "v3": 0.3}, "must add up to 1, not 0.9, if it is in shares"),
    ],
)
async def test_an_invalid_split_is_refused(weights, complaint):
    harness = Harness()
    await harness.load(PLAIN)
    with pytest.raises(Invalid, match=complaint):
        await harness.controller.set_split("churn", weights, "api:kim", harness.now)
    assert harness.weights == {"v2": 5000, "v3": 5000}


@pytest.mark.parametrize("phase", list(Phase))
async def test_a_split_is_refused_while_a_rollout_runs(phase):
    harness = await harness_in(phase)
    if phase in (Phase.PROGRESSING, Phase.PAUSED):
        with pytest.raises(Refused, match=f"a rollout is {phase} on churn"):
            await split(harness, v2=1, v3=1)
    else:
        assert await split(harness, v2=1, v3=1) == {"v2": 0.5, "v3": 0.5}


async def test_a_command_answers_after_the_workers_have_it():
    harness = await harness_in(Phase.PROGRESSING)
    told = []
    harness.seam.on_publish = lambda snapshot: told.append(snapshot.routes[0].ledger.weights)
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert told == [{"v2": 10_000}]
    assert harness.seam.published[-1].generation == harness.controller.state.generation
