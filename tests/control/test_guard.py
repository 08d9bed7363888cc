"""The guard at work in the tick: a saturated proxy and a wrong sample ratio hold, and blame nobody."""

from __future__ import annotations

from proxy.control.seam import WorkerStatus

from .scene import Scene


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
