"""The guard in the tick: a saturated proxy, a wrong sample ratio or an outage of both backends aborts nothing."""

from __future__ import annotations

import pytest

from crossfade.control.replay import replayed
from crossfade.control.seam import WorkerStatus

from .harness import CANARY, HEAD, NOW, Harness, rows_of


def lag(harness: Harness, seconds: float) -> None:
    harness.seam.workers = lambda: [  # type: ignore[method-assign]  # as workers would report
        WorkerStatus(0, 1, True, 1, 3, 0.0, {}),
        WorkerStatus(1, 2, True, 1, 3, seconds, {}),
        WorkerStatus(2, 3, False, 1, 3, 9.0, {}),  # a dead worker does not count
    ]


async def test_a_saturated_proxy_holds_the_rollout_and_aborts_nothing():
    harness = Harness()
    await harness.load()
    await harness.run(3)
    lag(harness, 0.6)
    harness.error_share = {"v3": 0.4}
    await harness.run(15)
    assert (harness.rollout.phase, harness.weights) == ("progressing", {"v2": 9500, "v3": 500})
    assert harness.rollout.verdicts[0].check == "guard: proxy"
    lag(harness, 0.01)
    await harness.tick()  # no counts, and it is known all the same
    assert harness.rollout.phase == "aborted"


async def test_a_good_challenger_advances_when_the_proxy_is_no_longer_saturated():
    harness = Harness()
    await harness.load()
    await harness.run(3)
    lag(harness, 0.6)
    await harness.run(20)
    assert harness.rollout.step == 0
    assert "the proxy is saturated" in harness.rollout.waiting_for
    lag(harness, 0.0)
    await harness.run(1)
    assert harness.rollout.step == 1


async def test_a_wrong_sample_ratio_holds_the_rollout():
    harness = Harness()
    await harness.load()
    await harness.run(1)
    for _ in range(15):
        for name, n in (("v2", 380), ("v3", 60)):
            harness.add_counts(name, n, 0)
            harness.seam.counts.cells[-1].unkeyed = n // 3
        await harness.tick()
    assert (harness.rollout.phase, harness.rollout.step) == ("progressing", 0)
    assert "the sample ratio is wrong" in harness.rollout.waiting_for


def evidence_of(harness: Harness) -> int:
    evidence = harness.controller.state.routes["churn"].evidence["v3"]
    return sum(s.challenger.requests + s.champion.requests for s in evidence.strata)


async def test_an_outage_of_both_backends_leaves_little_evidence():
    harness = Harness()
    await harness.load()
    await harness.run(5)
    harness.error_share = {"v2": 0.9, "v3": 0.9}
    await harness.run(5)
    assert harness.rollout.phase == "progressing"
    assert "guard: champion" in {v.check for v in harness.rollout.verdicts}
    harness.error_share = {}
    before = evidence_of(harness)
    assert before == 4 * 400 + 400  # the tick in which it began
    await harness.run(35)
    assert harness.rollout.phase == "promoted"


async def test_the_fuse_does_not_act_on_a_past_outage_of_both_backends():
    """The challenger gets its next request late; the champion's errors have then left its recent outcomes."""
    harness = Harness()
    await harness.load(CANARY.replace("      checks:", "      fuse: {consecutive_errors: 5}\n      checks:"))
    await harness.run(3)
    harness.add_counts("v2", 300, 300)
    harness.add_counts("v3", 9, 9)
    await harness.tick()
    assert harness.rollout.verdicts[0].check == "fuse"
    assert "a common cause" in harness.rollout.verdicts[0].reason
    for _ in range(10):
        harness.add_counts("v2", 300, 0, "champion")
        await harness.tick()
    assert (harness.rollout.phase, harness.rollout.weight) == ("progressing", 0.05)


FUSED = CANARY.replace("      checks:", "      fuse: {consecutive_errors: 5}\n      checks:")
FUSED = FUSED.replace("max: 5%", "max: 90%").replace(
    "max_increase: 2%", "max_increase: 90%"
)  # the fuse alone


async def report(harness: Harness, second: int, errors: int, champion: int, waiting: int) -> None:
    """One tick with failed requests of the challenger, answered ones of the champion, and others that wait."""
    for name, n, bad in (("v3", errors, errors), ("v2", champion, 0)):
        if n:
            harness.add_counts(name, n, bad)
            harness.seam.counts.cells[-1].second = second
    harness.seam.counts.waiting = {"churn": {"v2": {second: waiting}}}
    await harness.tick(seconds=0.25)


async def test_the_fuse_holds_while_the_champions_requests_of_the_same_second_wait():
    harness = Harness()
    await harness.load(FUSED)
    await harness.run(3)
    await report(harness, 100, 5, 0, 12)
    for _ in range(20):
        await report(harness, 100, 0, 0, 12)
    fuse = harness.rollout.verdicts[0]
    assert (fuse.check, fuse.verdict, harness.rollout.phase) == ("fuse", "VOID", "progressing")
    assert "the champion has 12 requests of the same seconds that have not been answered yet" in fuse.reason
    await report(harness, 100, 0, 12, 0)
    assert (harness.rollout.phase, harness.weights) == ("aborted", {"v2": 10_000})
    last = (await harness.decisions())[-1]
    assert last.reason.startswith("fuse: 5 errors in a row; the limit is 5")
    assert replayed(rows_of([last])).replayed == 1
    assert not replayed(rows_of(await harness.decisions())).differences


@pytest.mark.parametrize(
    ("timeouts", "retries", "horizon"),
    [("", 1, 122.0), ("", 0, 61.0), ("connect: 2s, first_byte: 5s", 1, 14.0), ("total: 30s", 1, 30.0)],
)
async def test_the_fuse_waits_as_long_as_the_champions_time_outs_allow(timeouts, retries, horizon):
    harness = Harness()
    champion = "v2: {endpoints: [http://127.0.0.1:9002], health: false"
    await harness.load(
        FUSED.replace("    fallback: v2", f"    fallback: v2\n    retry: {{attempts: {retries}}}").replace(
            "120s", "1h"
        ),
        HEAD.replace(champion, f"{champion}, timeout: {{{timeouts}}}"),
    )
    assert harness.controller.state.rollout("churn", "v3").horizon == horizon
    await harness.run(3)
    await report(harness, 100, 5, 0, 12)
    while harness.rollout.phase == "progressing":
        await report(harness, 100, 0, 0, 12)
    waited = harness.now - NOW - 3.25
    assert harness.rollout.phase == "aborted"
    assert horizon <= waited <= horizon + 0.5


async def test_failures_of_the_champion_that_come_later_show_a_common_cause():
    harness = Harness()
    await harness.load(FUSED)
    await harness.run(3)
    await report(harness, 100, 5, 0, 12)
    await report(harness, 100, 0, 0, 12)
    harness.add_counts("v2", 12, 12)
    harness.seam.counts.cells[-1].second = 100
    await harness.tick(seconds=5.0)
    assert "a common cause" in harness.rollout.verdicts[0].reason
    await harness.run(1)
    assert "fuse" not in {v.check for v in harness.rollout.verdicts}
    assert harness.rollout.phase == "progressing"


async def test_errors_of_an_outage_of_both_backends_do_not_add_up_with_later_ones():
    """They are too few for the fuse; with one more error, long after, they would be enough."""
    harness = Harness()
    await harness.load(
        CANARY.replace("      checks:", "      fuse: {error_share: 50%, of_last: 20}\n      checks:")
    )
    await harness.run(3)
    harness.add_counts("v2", 300, 300)
    harness.add_counts("v3", 9, 9)
    await harness.tick()
    for _ in range(12):
        harness.add_counts("v2", 300, 0, "champion")
        await harness.tick()
    harness.add_counts("v2", 300, 0, "champion")
    harness.add_counts("v3", 11, 1)
    await harness.tick()
    assert "fuse" not in {v.check for v in harness.rollout.verdicts}
    assert (harness.rollout.phase, harness.rollout.weight) == ("progressing", 0.05)


async def test_a_challenger_that_recovers_after_the_champion_is_not_aborted():
    harness = Harness()
    await harness.load()
    await harness.run(5)
    harness.error_share = {"v2": 0.9, "v3": 0.9}
    await harness.run(5)
    harness.error_share = {"v3": 1.0}  # its probes are a little later
    await harness.run(5)
    assert harness.rollout.phase == "progressing"
    assert "guard: warm-up" in {v.check for v in harness.rollout.verdicts}
    await harness.run(10)  # too late for an excuse
    assert harness.rollout.phase == "aborted"
