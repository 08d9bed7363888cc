"""What the controller does at each tick beside deciding: the evidence is kept for a proxy that starts again."""

from __future__ import annotations

from crossfade.control.controller import EVIDENCE_INTERVAL

from .scene import NOW, Scene


def kept(scene: Scene) -> int:
    """The challenger's requests in the evidence that is on disk."""
    _, evidence = scene.store.records()["churn"]
    return sum(stratum.challenger.requests for stratum in evidence["v3"].strata)


async def begun() -> Scene:
    """A challenger with a twentieth of the traffic, whose evidence was kept a moment ago."""
    scene = Scene()
    await scene.load()
    await scene.tick()
    await scene.tick(seconds=EVIDENCE_INTERVAL)
    assert kept(scene) == 0
    return scene


async def test_evidence_is_kept_once_in_a_while():
    scene = await begun()
    await scene.tick(400, EVIDENCE_INTERVAL / 4)
    await scene.tick(400, EVIDENCE_INTERVAL / 2)
    assert kept(scene) == 0
    await scene.tick(400, EVIDENCE_INTERVAL / 4)
    assert kept(scene) == 3 * 20
    await scene.tick(400, EVIDENCE_INTERVAL / 2)
    assert kept(scene) == 3 * 20
    await scene.tick(400, EVIDENCE_INTERVAL / 2)
    assert kept(scene) == 5 * 20


async def test_two_ticks_at_one_time_keep_it_once():
    scene = await begun()
    await scene.tick(400, 0.0)
    assert kept(scene) == 0


async def test_evidence_is_kept_when_the_clock_was_put_back():
    """At once, and not only when the clock has come back to where it was."""
    scene = await begun()
    scene.now = NOW - 3600
    await scene.tick(400, 0.0)
    assert kept(scene) == 20
    await scene.tick(400, EVIDENCE_INTERVAL / 2)
    assert kept(scene) == 20
    await scene.tick(400, EVIDENCE_INTERVAL / 2)
    assert kept(scene) == 3 * 20
