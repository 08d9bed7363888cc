"""The three acts, and what each must leave behind.

One: a canary climbs its steps and is promoted. Two: a canary turns bad on the way and is aborted.
Three: a blue/green flip, and the flip back. An act is an edit of the routing YAML, then waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from crossfade.demo.processes import Stage, StageError
from crossfade.demo.screen import Screen
from crossfade.demo.traffic import Tally, Traffic

ACT_TIMEOUT = 60.0  # seconds; an act that takes longer has failed
LOOK = 0.2
CALM = 1.5  # seconds of traffic after an act's end, to see that it stays ended
ABORT_WITHIN = 10.0  # seconds from fault to abort that the summary accepts
BAD = {"error_share": 0.4, "latency": {"distribution": "lognormal", "mean_ms": 150, "sigma": 0.6}}

CANARY = """\
    split: {{churn-{champion}: 100%}}
    fallback: churn-{champion}
    rollout:
      strategy: canary
      champion: churn-{champion}
      challenger: churn-{challenger}
      steps: [{{weight: 5%, hold: 3s}}, {{weight: 25%, hold: 3s}}, {{weight: 50%, hold: 3s}}]
      min_requests: 25
      watch: 1h
      checks:
        - {{metric: error_rate, max: 1%}}
        - {{metric: latency, quantile: p99, max: 1s}}
"""

BLUE_GREEN = """\
    split: {{churn-{champion}: 100%}}
    fallback: churn-{champion}
    rollout:
      strategy: blue_green
      champion: churn-{champion}
      challenger: churn-{challenger}
      steps: [{{weight: 100%, hold: 2s}}]
      min_requests: 25
      watch: 1h
      checks: [{{metric: error_rate, max: 1%}}]
"""

Row = tuple[str, str, bool]


class Play:
    """Follows the proxy while an act runs."""

    def __init__(self, stage: Stage, traffic: Traffic, screen: Screen) -> None:
        self.stage = stage
        self.traffic = traffic
        self.screen = screen
        self.told = 0  # the last decision told
        self.decisions: list[dict[str, Any]] = []

    async def until(self, done: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Show and tell what happens until the rollout is as wanted. Raises StageError after a while."""
        end = time.monotonic() + ACT_TIMEOUT
        while time.monotonic() < end:
            status = await self.stage.status()
            self.screen.show(status, self.traffic.tally.sent, self.traffic.tally.failed)
            await self.tell()
            for rollout in status["rollouts"]:
                if done(rollout):
                    return dict(rollout)
            await asyncio.sleep(LOOK)
        raise StageError(f"waited {ACT_TIMEOUT:.0f} s in vain for: {what}")

    async def tell(self) -> None:
        for decision in await self.stage.decisions(self.told):
            self.told = decision["id"]
            self.decisions.append(decision)
            at = time.strftime("%H:%M:%S", time.localtime(decision["at"]))
            style = {"abort": "bold red", "rollback": "bold yellow", "promote": "bold green"}.get(
                decision["action"], ""
            )
            self.screen.say(f"{at}  {decision['action']}: {decision['reason']}", style)

    async def calm(self) -> None:
        """Let the requests that were in flight end, and a few more come."""
        await asyncio.sleep(CALM)
        await self.tell()

    def last(self, action: str) -> dict[str, Any]:
        return next(d for d in reversed(self.decisions) if d["action"] == action)


def moves_row(tally: Tally) -> Row:
    made, least = tally.moves()
    return ("changes of backend / fewest possible", f"{made} / {least}", made == least)


def failed_row(tally: Tally) -> Row:
    detail = "".join(f"; {n} × {what}" for what, n in tally.failures.most_common(3))
    return (
        "requests failed",
        f"{tally.failed} of {tally.sent}{detail}",
        tally.failed == 0 and tally.sent > 0,
    )


async def first_act(play: Play) -> list[Row]:
    """v2 → v3 climbs and is promoted. The stage has begun with this act's YAML."""
    play.screen.act("Act one: canary churn-v2 → churn-v3, a better model")
    rollout = await play.until(lambda r: r["phase"] in ("promoted", "aborted"), "the promotion of churn-v3")
    await play.calm()
    tally = play.traffic.tally
    return [
        ("churn-v3 promoted", rollout["phase"], rollout["phase"] == "promoted"),
        failed_row(tally),
        moves_row(tally),
    ]


async def second_act(play: Play) -> list[Row]:
    """v3 → v4 climbs to its second step, turns bad, and is aborted."""
    play.screen.act("Act two: canary churn-v3 → churn-v4, which turns bad on the way")
    tally = play.traffic.next_act("churn-v3")
    play.stage.edit(CANARY.format(champion="v3", challenger="v4"))
    await play.until(
        lambda r: r["challenger"] == "churn-v4" and r["step"] == 1, "the second step of churn-v4"
    )
    await play.stage.fault("v4", BAD)
    since, asked = time.time(), tally.by_backend["churn-v4"]
    play.screen.say("          churn-v4 now fails 40 % of its requests and answers the others slowly", "red")
    rollout = await play.until(lambda r: r["phase"] in ("promoted", "aborted"), "the abort of churn-v4")
    took, hit = time.time() - since, tally.by_backend["churn-v4"] - asked
    if rollout["phase"] == "aborted":
        took = play.last("abort")["at"] - since
        play.screen.say(
            f"          aborted {took:.1f} s and {hit} requests after the fault began", "bold red"
        )
    await play.calm()
    status = await play.stage.status()
    await play.stage.clear_faults("v4")
    share = status["routes"][0]["split"].get("churn-v4", 0.0)
    return [
        ("churn-v4 aborted", rollout["phase"], rollout["phase"] == "aborted"),
        ("from fault to abort", f"{took:.1f} s, {hit} requests", 0 <= took <= ABORT_WITHIN),
        ("churn-v4's weight afterwards", f"{share:.0%}", share == 0.0),
        failed_row(tally),
        ("answered by the fallback instead", f"{tally.fell_back} requests", tally.fell_back > 0),
        moves_row(tally),
    ]


async def third_act(play: Play) -> list[Row]:
    """v3 → v2 at one stroke, and back at the operator's word."""
    play.screen.act("Act three: blue/green, churn-v3 → churn-v2 and back")
    tally = play.traffic.next_act("churn-v3")
    play.stage.edit(BLUE_GREEN.format(champion="v3", challenger="v2"))
    flipped = await play.until(
        lambda r: r["challenger"] == "churn-v2" and r["phase"] == "promoted", "the flip to churn-v2"
    )
    await play.calm()
    await play.stage.command("rollback")
    back = await play.until(lambda r: r["phase"] == "rolled_back", "the flip back to churn-v3")
    await play.calm()
    return [
        ("flipped to churn-v2", flipped["phase"], flipped["phase"] == "promoted"),
        ("flipped back to churn-v3", back["phase"], back["phase"] == "rolled_back"),
        failed_row(tally),
        moves_row(tally),
    ]
