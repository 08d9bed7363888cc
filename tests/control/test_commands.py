"""Each verb in each phase, what it does to the ledger, and what it refuses."""

from __future__ import annotations

from itertools import product

import pytest

from crossfade.control.refusal import Invalid, Refused, UnknownName
from crossfade.control.views import Verb
from crossfade.rollout.machine import TABLE, Event, Phase
from tests.ledgers import backend_of

from .scene import CANARY, Scene

DOWN = frozenset({("v3", "127.0.0.1:9003")})


async def scene_in(phase: Phase) -> Scene:
    scene = Scene()
    await scene.load()
    await scene.run(3)
    for verb in {
        Phase.PROGRESSING: (),
        Phase.PAUSED: (Verb.PAUSE,),
        Phase.PROMOTED: (Verb.PROMOTE,),
        Phase.ABORTED: (Verb.ABORT,),
        Phase.ROLLED_BACK: (Verb.PROMOTE, Verb.ROLLBACK),
    }[phase]:
        await scene.controller.command("churn", verb, "api:kim", scene.now)
    assert scene.rollout.phase == phase
    return scene


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
}


@pytest.mark.parametrize(("phase", "verb"), list(product(Phase, Verb)))
async def test_each_verb_in_each_phase(phase, verb):
    scene = await scene_in(phase)
    before, made = scene.weights, len(await scene.actions())
    expected = LEADS_TO.get((phase, verb))
    assert (expected is not None) == ((phase, Event(verb)) in TABLE)
    if expected is None:
        with pytest.raises(Refused, match=f"a rollout that is {phase} does not accept {verb}"):
            await scene.controller.command("churn", verb, "api:kim", scene.now)
        assert (scene.rollout.phase, scene.weights, len(await scene.actions())) == (phase, before, made)
        return
    view = await scene.controller.command("churn", verb, "api:kim", scene.now, "as agreed")
    assert (view.phase, scene.weights) == expected
    if view.phase != phase:
        last = (await scene.decisions("churn"))[-1]
        assert (last.actor, last.reason, last.to["phase"]) == ("api:kim", "as agreed", view.phase)
        assert last.from_["phase"] == phase
    else:
        assert len(await scene.actions()) == made  # abort twice is no second decision


async def test_retry_begins_anew_with_fresh_evidence():
    scene = Scene()
    await scene.load()
    scene.bad = {"v3": 1.0}
    await scene.run(3)
    assert scene.rollout.phase == "aborted"
    scene.bad = {}
    await scene.run(20)
    assert scene.weights == AT_HOME  # until somebody says so
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.tick()
    assert (scene.rollout.step, scene.weights, [v.n for v in scene.rollout.verdicts]) == (0, ON_STEP, [0] * 3)
    await scene.run(30)
    assert scene.rollout.phase == "promoted"
    assert (await scene.decisions("churn"))[-1].to["attempt"] == 2


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.RESUME])
async def test_nobody_is_promoted_to_a_challenger_that_is_down(verb):
    approval = CANARY.replace("weight: 5%, hold: 10s", "weight: 5%, hold: 10s, approval: true")
    scene = Scene()
    await scene.load(approval)
    await scene.run(20)
    scene.controller.endpoints_changed(DOWN, scene.now)
    with pytest.raises(Refused, match="v3 has no endpoint that is up"):
        await scene.controller.command("churn", verb, "api:kim", scene.now)
    assert (scene.rollout.phase, scene.weights) == ("paused", ON_STEP)
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert scene.weights == AT_HOME


async def test_names_that_are_not_there():
    scene = Scene()
    await scene.load(PLAIN)
    with pytest.raises(UnknownName, match="no route is called none"):
        await scene.controller.command("none", Verb.PAUSE, "api:kim", scene.now)
    with pytest.raises(UnknownName, match="route churn has no rollout"):
        await scene.controller.command("churn", Verb.PAUSE, "api:kim", scene.now)
    with pytest.raises(UnknownName):
        scene.views.rollout("churn", scene.now)
    with pytest.raises(UnknownName):
        scene.views.route("none")
    with pytest.raises(UnknownName):
        scene.views.backend("none")
    with pytest.raises(UnknownName):
        await scene.views.why("none")


PLAIN = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 50%, v3: 50%}
"""


async def split(scene: Scene, **weights: float) -> dict[str, float]:
    return (await scene.controller.set_split("churn", weights, "api:kim", scene.now)).split


async def test_a_split_moves_no_more_than_it_must_and_is_journalled():
    scene = Scene()
    await scene.load(PLAIN)
    before = scene.route.ledger
    assert await split(scene, v2=3, v3=1) == {"v2": 0.75, "v3": 0.25}
    after = scene.route.ledger
    moved = sum(backend_of(before, b) != backend_of(after, b) for b in range(10_000))
    assert (moved, after.version) == (2500, before.version + 1)
    last = (await scene.decisions("churn"))[-1]
    assert (last.action, last.actor, last.ledger_version) == ("split", "api:kim", after.version)
    assert (last.from_["split"], last.to["split"]) == ({"v2": 0.5, "v3": 0.5}, {"v2": 0.75, "v3": 0.25})


async def test_the_same_split_again_is_no_decision():
    scene = Scene()
    await scene.load(PLAIN)
    made, published = len(await scene.actions()), len(scene.seam.published)
    assert await split(scene, v2=7, v3=7, v4=0) == {"v2": 0.5, "v3": 0.5}
    assert (len(await scene.actions()), len(scene.seam.published)) == (made, published)


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
    ],
)
async def test_a_split_that_makes_no_sense(weights, complaint):
    scene = Scene()
    await scene.load(PLAIN)
    with pytest.raises(Invalid, match=complaint):
        await scene.controller.set_split("churn", weights, "api:kim", scene.now)
    assert scene.weights == {"v2": 5000, "v3": 5000}


@pytest.mark.parametrize("phase", list(Phase))
async def test_a_split_is_refused_while_a_rollout_runs(phase):
    scene = await scene_in(phase)
    if phase in (Phase.PROGRESSING, Phase.PAUSED):
        with pytest.raises(Refused, match=f"a rollout is {phase} on churn"):
            await split(scene, v2=1, v3=1)
    else:
        assert await split(scene, v2=1, v3=1) == {"v2": 0.5, "v3": 0.5}


async def test_a_command_answers_after_the_workers_have_it():
    scene = await scene_in(Phase.PROGRESSING)
    told = []
    scene.seam.before = lambda snapshot: told.append(snapshot.routes[0].ledger.weights)
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert told == [{"v2": 10_000}]
    assert scene.seam.published[-1].generation == scene.controller.state.generation
