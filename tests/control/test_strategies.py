"""The strategies at work: each is steps, and what a step gives the challenger is what its checks are asked of."""

from __future__ import annotations

import pytest

from crossfade.control.replay import journal, replayed
from crossfade.control.views import Verb
from crossfade.routing.snapshot import Cut

from .scene import CANARY, Scene

BLUE_GREEN = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    rollout:
      strategy: blue_green
      champion: v2
      challenger: v3
      min_requests: 20
      watch: 60s
      checks: [{metric: error_rate, max: 5%}]
"""


async def test_blue_green_flips_and_flips_back():
    scene = Scene()
    await scene.load(BLUE_GREEN)
    home = scene.route.ledger
    await scene.tick()
    assert scene.weights == {"v3": 10_000}
    await scene.run(2)
    scene.bad = {"v3": 0.4}
    await scene.run(3)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})
    assert scene.route.ledger.slots == home.slots


SHADOW = """
routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 100%}
    rollout:
      strategy: shadow
      champion: v2
      challenger: v3
      steps: [{mirror: 10%, hold: 5s}, {mirror: 100%, hold: 5s}, {weight: 10%, hold: 5s}]
      min_requests: 20
      checks: [{metric: error_rate, max: 5%}, {metric: error_rate, max_increase: 2%}]
"""


async def copies(scene: Scene, n: int, errors: int = 0) -> None:
    """A tick in which the challenger answered so many copies."""
    scene.count("v3", n, errors, "shadow")
    await scene.tick(200)


async def test_a_shadow_gets_copies_then_callers_and_is_promoted():
    scene = Scene()
    await scene.load(SHADOW)
    assert scene.mirrors == {}
    await scene.tick()
    assert (scene.mirrors, scene.weights) == ({"v3": 1000}, {"v2": 10_000})
    assert [v.check for v in scene.rollout.verdicts] == ["error_rate <= 5%"]
    for _ in range(6):
        await copies(scene, 20)
    assert (scene.rollout.step, scene.mirrors) == (1, {"v3": 10_000})
    for _ in range(6):
        await copies(scene, 200)
    assert (scene.rollout.step, scene.mirrors, scene.weights) == (2, {}, {"v2": 9000, "v3": 1000})
    assert len(scene.rollout.verdicts) == 2
    await scene.run(10)
    assert (scene.rollout.phase, scene.weights) == ("promoted", {"v3": 10_000})
    assert replayed(journal(scene.store)).differences == []


async def test_a_shadow_without_copies_answered_stays_where_it_is():
    """Law 4: callers' requests are no evidence of it."""
    scene = Scene()
    await scene.load(SHADOW)
    await scene.run(50)
    assert (scene.rollout.phase, scene.rollout.step) == ("progressing", 0)
    assert scene.rollout.waiting_for == "20 more copies answered on v3"


async def test_a_shadow_whose_copies_fail_is_aborted_and_gets_no_more():
    scene = Scene()
    await scene.load(SHADOW)
    await scene.tick()
    await copies(scene, 60, 60)
    await scene.tick()
    assert (scene.rollout.phase, scene.mirrors) == ("aborted", {})
    assert scene.views.route("churn").backends["v3"].requests == 0


async def test_an_abort_ends_the_copies_even_where_no_bucket_moves():
    scene = Scene()
    await scene.load(SHADOW.replace("split: {v2: 100%}", "split: {v2: 100%, v3: 0%}"))
    await scene.tick()
    assert scene.mirrors == {"v3": 1000}
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert scene.mirrors == {}


async def test_more_copies_are_on_disk_before_they_are_sent():
    """Law 3 for copies as well, though no caller sees them."""
    scene = Scene()
    await scene.load(SHADOW)
    seen: list[str] = []
    scene.seam.before = lambda snapshot: seen.append(
        f"{[m.sample for m in snapshot.routes[0].mirrors]} {scene.store.newest(None, 1)[0].action}"
    )
    await scene.tick()
    assert seen == ["[1000] begin"]


async def test_a_mirror_of_the_file_s_own_is_not_doubled():
    scene = Scene()
    await scene.load(SHADOW.replace("match:", "mirror: [{to: v3, sample: 50%}, {to: v4}]\n    match:"))
    await scene.tick()
    assert scene.mirrors == {"v3": 5000, "v4": 10_000}


PREVIEWED = BLUE_GREEN.replace(
    "      min_requests",
    "      steps: [{weight: 0%, hold: 10s}, {mirror: 50%, hold: 5s}, {weight: 100%, hold: 5s}]\n      min_requests",
)


async def test_blue_green_waits_in_the_preview_warms_up_and_flips():
    scene = Scene()
    await scene.load(PREVIEWED)
    await scene.run(8)
    assert (scene.rollout.phase, scene.rollout.verdicts, scene.weights) == ("progressing", [], {"v2": 10_000})
    await scene.run(100)
    assert (scene.rollout.phase, scene.weights, scene.mirrors) == ("paused", {"v2": 10_000}, {})
    await scene.controller.command("churn", Verb.RESUME, "api:kim", scene.now, "looks right")
    assert scene.mirrors == {"v3": 5000}
    for _ in range(6):
        await copies(scene, 50)
    assert (scene.weights, scene.mirrors) == ({"v3": 10_000}, {})
    await scene.run(7)
    assert scene.rollout.phase == "promoted"
    await scene.controller.command("churn", Verb.ROLLBACK, "api:kim", scene.now)
    assert scene.weights == {"v2": 10_000}
    assert replayed(journal(scene.store)).differences == []


@pytest.mark.parametrize(("strategy", "weight"), [("champion_challenger", 1000), ("ab_test", 5000)])
async def test_a_comparison_is_held_and_left_to_an_operator(strategy: str, weight: int):
    scene = Scene()
    preset = BLUE_GREEN.replace("blue_green", strategy).replace("{metric: error_rate, max: 5%}", "")
    await scene.load(preset)
    for _ in range(15):
        await scene.tick(2000, seconds=86_400)
    assert scene.weights == {"v2": 10_000 - weight, "v3": weight}
    assert (scene.rollout.phase, scene.rollout.waiting_for) == (
        "paused",
        "an approval: resume, promote or abort",
    )
    scene.bad = {"v3": 0.3}
    await scene.run(3, 2000)
    assert (scene.rollout.phase, scene.weights) == ("aborted", {"v2": 10_000})


@pytest.mark.parametrize(("key", "cuts"), [("cut_after: 5s", (Cut("v3", 5.0),)), ("watch: 1s", ())])
async def test_what_is_in_flight_to_an_aborted_challenger_is_cut_if_the_file_says_so(key: str, cuts: object):
    scene = Scene()
    await scene.load(CANARY.replace("watch: 60s", key))
    await scene.tick(400)
    assert scene.route.cuts == ()
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert (scene.route.cuts, scene.weights) == (cuts, {"v2": 10_000})
    await scene.controller.command("churn", Verb.RETRY, "api:kim", scene.now)
    await scene.tick(400)
    assert (scene.route.cuts, scene.weights) == ((), {"v2": 9500, "v3": 500})
