"""The guard at work in the tick: a saturated proxy and a wrong sample ratio hold, and blame nobody."""

from __future__ import annotations

from crossfade.control.seam import WorkerStatus

from .scene import CANARY, Scene


def lag(scene: Scene, seconds: float) -> None:
    scene.seam.workers = lambda: [  # type: ignore[method-assign]  # what the workers would say
        WorkerStatus(0, 1, True, 1, 3, 0.0, {}),
        WorkerStatus(1, 2, True, 1, 3, seconds, {}),
        WorkerStatus(2, 3, False, 1, 3, 9.0, {}),  # a dead one says nothing
    ]


async def test_a_saturated_proxy_holds_and_blames_nobody():
    scene = Scene()
    await scene.load()
    await scene.run(3)
    lag(scene, 0.6)
    scene.bad = {"v3": 0.4}
    await scene.run(15)
    assert (scene.rollout.phase, scene.weights) == ("progressing", {"v2": 9500, "v3": 500})
    assert scene.rollout.verdicts[0].check == "guard: proxy"
    lag(scene, 0.01)
    await scene.tick()  # no counts, and it is known all the same
    assert scene.rollout.phase == "aborted"


async def test_a_good_challenger_advances_when_the_proxy_has_room_again():
    scene = Scene()
    await scene.load()
    await scene.run(3)
    lag(scene, 0.6)
    await scene.run(20)
    assert scene.rollout.step == 0
    assert "the proxy is saturated" in scene.rollout.waiting_for
    lag(scene, 0.0)
    await scene.run(1)
    assert scene.rollout.step == 1


async def test_a_wrong_sample_ratio_holds():
    scene = Scene()
    await scene.load()
    await scene.run(1)
    for _ in range(15):
        for name, n in (("v2", 380), ("v3", 60)):
            scene.count(name, n, 0)
            scene.seam.counts.cells[-1].unkeyed = n // 3
        await scene.tick()
    assert (scene.rollout.phase, scene.rollout.step) == ("progressing", 0)
    assert "the sample ratio is wrong" in scene.rollout.waiting_for


WARMING = CANARY.replace("min_requests: 50", "min_requests: 50\n      warm_up: 5s")


def evidence_of(scene: Scene) -> int:
    evidence = scene.controller.state.routes["churn"].evidence["v3"]
    return sum(s.challenger.requests + s.champion.requests for s in evidence.strata)


async def test_what_a_fresh_challenger_answers_in_its_warm_up_counts_for_no_check():
    scene = Scene()
    await scene.load(WARMING)
    await scene.run(1, 0)
    await scene.run(3, 0)  # without a request nothing warms up
    scene.bad, scene.slow = {"v3": 0.4}, {"v3": 3.0}
    await scene.run(5)
    assert (scene.rollout.phase, evidence_of(scene)) == ("progressing", 0)
    assert scene.rollout.verdicts[0].check == "guard: warm-up"
    scene.bad, scene.slow = {}, {}
    await scene.run(1)
    assert evidence_of(scene) == 400
    assert scene.rollout.verdicts[0].check == "error_rate <= 5%"
    await scene.run(20)
    assert scene.rollout.step == 1
    assert evidence_of(scene) > 8000  # only the first step had a warm-up


async def test_a_warm_up_hides_nothing_from_the_fuse_and_promotes_nobody():
    scene = Scene()
    await scene.load(WARMING)
    scene.bad = {"v3": 0.4}
    await scene.run(3)
    assert scene.rollout.phase == "progressing"
    scene.bad = {"v3": 0.9}
    await scene.tick(400)
    assert scene.rollout.phase == "aborted"
    forever = Scene()
    await forever.load(WARMING.replace("warm_up: 5s", "warm_up: 1h"))
    await forever.run(200)
    assert (forever.rollout.step, forever.rollout.phase) == (0, "paused")


async def test_a_backend_that_comes_back_warms_up_again():
    scene = Scene()
    await scene.load(WARMING)
    await scene.run(7)
    before = evidence_of(scene)
    assert before > 0
    for name, port in (("v4", 9004), ("v2", 9002)):
        scene.controller.endpoints_changed(frozenset({(name, f"127.0.0.1:{port}")}), scene.now)
        scene.controller.endpoints_changed(frozenset(), scene.now)
        await scene.run(4)
        if name == "v4":  # a backend that has nothing to do with it
            assert evidence_of(scene) == before + 1600
            before += 1600
    assert evidence_of(scene) == before
    await scene.run(2)
    assert evidence_of(scene) > before


async def test_an_outage_of_both_leaves_little_behind():
    scene = Scene()
    await scene.load()
    await scene.run(5)
    scene.bad = {"v2": 0.9, "v3": 0.9}
    await scene.run(5)
    assert scene.rollout.phase == "progressing"
    assert "guard: champion" in {v.check for v in scene.rollout.verdicts}
    scene.bad = {}
    before = evidence_of(scene)
    assert before == 4 * 400 + 400  # the tick in which it began
    await scene.run(35)
    assert scene.rollout.phase == "promoted"


async def test_an_outage_of_both_that_is_over_blows_no_fuse_where_the_challenger_has_little_traffic():
    """It is not asked again for a while; by then the champion has answered so much that its own share is forgotten."""
    scene = Scene()
    await scene.load(CANARY.replace("      checks:", "      fuse: {consecutive_errors: 5}\n      checks:"))
    await scene.run(3)
    scene.count("v2", 300, 300)
    scene.count("v3", 9, 9)
    await scene.tick()
    assert scene.rollout.verdicts[0].check == "fuse"
    assert "a common cause" in scene.rollout.verdicts[0].reason
    for _ in range(10):
        scene.count("v2", 300, 0, "champion")
        await scene.tick()
    assert (scene.rollout.phase, scene.rollout.weight) == ("progressing", 0.05)


async def test_what_a_challenger_had_of_an_outage_of_both_is_not_counted_with_what_comes_later():
    """Too little for the fuse at the time; together with one bad answer, long after, it would be enough."""
    scene = Scene()
    await scene.load(
        CANARY.replace("      checks:", "      fuse: {error_share: 50%, of_last: 20}\n      checks:")
    )
    await scene.run(3)
    scene.count("v2", 300, 300)
    scene.count("v3", 9, 9)
    await scene.tick()
    for _ in range(12):
        scene.count("v2", 300, 0, "champion")
        await scene.tick()
    scene.count("v2", 300, 0, "champion")
    scene.count("v3", 11, 1)
    await scene.tick()
    assert "fuse" not in {v.check for v in scene.rollout.verdicts}
    assert (scene.rollout.phase, scene.rollout.weight) == ("progressing", 0.05)


async def test_who_comes_back_second_after_an_outage_of_both_is_not_to_blame():
    scene = Scene()
    await scene.load()
    await scene.run(5)
    scene.bad = {"v2": 0.9, "v3": 0.9}
    await scene.run(5)
    scene.bad = {"v3": 1.0}  # its probes are a little later
    await scene.run(5)
    assert scene.rollout.phase == "progressing"
    assert "guard: warm-up" in {v.check for v in scene.rollout.verdicts}
    await scene.run(10)  # too late for an excuse
    assert scene.rollout.phase == "aborted"
