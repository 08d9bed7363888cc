"""The three scenarios of the demo, and the results that each must have.

1: a canary passes all its steps and is promoted. 2: a canary starts to fail during the rollout and is
aborted. 3: blue/green, then a rollback. A scenario edits the routing YAML and waits for the proxy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from crossfade.demo.processes import DemoError, DemoProcesses
from crossfade.demo.screen import INDENT, Row, Screen
from crossfade.demo.traffic import Tally, Traffic

_SCENARIO_TIMEOUT = 120.0  # seconds; a scenario that takes longer has failed
_POLL_INTERVAL = 0.2
_SETTLE_TIME = 1.5  # seconds of traffic after the end of a rollout, to see that the result lasts
_MAX_TIME_TO_ABORT = 10.0  # seconds from fault to abort that the summary accepts
_FAULT = {"error_share": 0.4, "latency": {"distribution": "lognormal", "mean_ms": 150, "sigma": 0.6}}
_STYLES = {"abort": "bold red", "rollback": "bold yellow", "promote": "bold green"}

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

_BLUE_GREEN = """\
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


class Scenario:
    """Shows the proxy's state and prints its decisions while a scenario waits for a rollout."""

    def __init__(self, processes: DemoProcesses, traffic: Traffic, screen: Screen) -> None:
        self.processes = processes
        self.traffic = traffic
        self.screen = screen
        self.last_id = 0  # of the last decision printed
        self.decisions: list[dict[str, Any]] = []

    async def wait_until(self, done: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first rollout for which `done` is true. Raises DemoError after two minutes."""
        end = time.monotonic() + _SCENARIO_TIMEOUT
        while time.monotonic() < end:
            for rollout in await self.look():
                if done(rollout):
                    return dict(rollout)
            await asyncio.sleep(_POLL_INTERVAL)
        raise DemoError(f"{what} did not happen within {_SCENARIO_TIMEOUT:.0f} s")

    async def wait_for(self, seconds: float) -> None:
        """Let traffic go on for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.look()
            await asyncio.sleep(_POLL_INTERVAL)

    async def wait_for_decision(self, action: str, what: str) -> dict[str, Any]:
        """Raises DemoError after two minutes."""
        end = time.monotonic() + _SCENARIO_TIMEOUT
        while time.monotonic() < end:
            await self.look()
            found = [decision for decision in self.decisions if decision["action"] == action]
            if found:
                return found[-1]
            await asyncio.sleep(_POLL_INTERVAL)
        raise DemoError(f"{what} did not happen within {_SCENARIO_TIMEOUT:.0f} s")

    async def look(self) -> list[dict[str, Any]]:
        """Show where things are, and print the decisions since the last look. Returns the rollouts."""
        status = await self.processes.status()
        self.screen.show(status, self.traffic.tally.sent, self.traffic.tally.failed)
        await self.print_decisions()
        rollouts: list[dict[str, Any]] = status["rollouts"]
        return rollouts

    async def print_decisions(self) -> None:
        for decision in await self.processes.decisions(self.last_id):
            self.last_id = decision["id"]
            self.decisions.append(decision)
            self.screen.print(decision_line(decision), _STYLES.get(decision["action"], ""))

    async def settle(self) -> None:
        """Wait until the requests in flight have ended and some more have been sent."""
        await asyncio.sleep(_SETTLE_TIME)
        await self.print_decisions()

    def last_decision(self, action: str) -> dict[str, Any]:
        return next(d for d in reversed(self.decisions) if d["action"] == action)


def decision_line(decision: dict[str, Any]) -> str:
    """Time, action, the new split if the decision changed it, and the reason."""
    at = time.strftime("%H:%M:%S", time.localtime(decision["at"]))
    before, after = (_split_text(decision[side].get("split", {})) for side in ("from", "to"))
    line = f"{at}  {decision['action']:<9} {decision['reason']}"
    return f"{line} → now {after}" if after and after != before else line


def _split_text(split: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in sorted(split.items()) if share)


def changes_row(tally: Tally) -> Row:
    changes, fewest = tally.backend_changes()
    return ("moves between models / fewest possible", f"{changes} / {fewest}", changes == fewest)


def failed_row(tally: Tally) -> Row:
    detail = "".join(f"; {n} × {what}" for what, n in tally.failures.most_common(3))
    return (
        "requests failed",
        f"{tally.failed} of {tally.sent}{detail}",
        tally.failed == 0 and tally.sent > 0,
    )


async def promote_canary(scenario: Scenario) -> list[Row]:
    """v2 → v3, promoted. The proxy was started with the YAML of this scenario."""
    scenario.screen.heading("Scenario 1: canary rollout of churn-v3, a better model than churn-v2")
    rollout = await scenario.wait_until(
        lambda r: r["phase"] in ("promoted", "aborted"), "the promotion of churn-v3"
    )
    await scenario.settle()
    tally = scenario.traffic.tally
    return [
        ("churn-v3 is promoted", rollout["phase"], rollout["phase"] == "promoted"),
        failed_row(tally),
        changes_row(tally),
    ]


async def abort_canary(scenario: Scenario) -> list[Row]:
    """v3 → v4. v4 gets its fault at the second step and is aborted."""
    screen, processes = scenario.screen, scenario.processes
    screen.heading("Scenario 2: canary rollout of churn-v4, which starts to fail at the second step")
    tally = scenario.traffic.start_tally("churn-v3")
    processes.edit(CANARY.format(champion="v3", challenger="v4"))
    await scenario.wait_until(
        lambda r: r["challenger"] == "churn-v4" and r["step"] == 1, "the second step of churn-v4"
    )
    await processes.set_fault("v4", _FAULT)
    fault_at, sent_before = time.time(), tally.by_backend["churn-v4"]
    screen.print(f"{INDENT}fault injected: churn-v4 fails 40 % of its requests and answers slowly", "red")
    rollout = await scenario.wait_until(
        lambda r: r["phase"] in ("promoted", "aborted"), "the abort of churn-v4"
    )
    seconds, requests = time.time() - fault_at, tally.by_backend["churn-v4"] - sent_before
    if rollout["phase"] == "aborted":
        seconds = scenario.last_decision("abort")["at"] - fault_at
        screen.print(
            f"{INDENT}aborted {seconds:.1f} s and {requests} requests after the fault began", "bold red"
        )
    await scenario.settle()
    status = await processes.status()
    await processes.clear_faults("v4")
    share = status["routes"][0]["split"].get("churn-v4", 0.0)
    return [
        ("churn-v4 is aborted", rollout["phase"], rollout["phase"] == "aborted"),
        (
            "time from fault to abort",
            f"{seconds:.1f} s, {requests} requests",
            0 <= seconds <= _MAX_TIME_TO_ABORT,
        ),
        ("weight of churn-v4 after the abort", f"{share:.0%}", share == 0.0),
        failed_row(tally),
        (
            "requests of churn-v4 answered by churn-v3",
            f"{tally.answered_by_fallback} requests",
            tally.answered_by_fallback > 0,
        ),
        changes_row(tally),
    ]


async def switch_and_roll_back(scenario: Scenario) -> list[Row]:
    """v3 → v2 in one step, then a rollback by an operator's command."""
    scenario.screen.heading("Scenario 3: blue/green switch from churn-v3 to churn-v2, then a rollback")
    tally = scenario.traffic.start_tally("churn-v3")
    scenario.processes.edit(_BLUE_GREEN.format(champion="v3", challenger="v2"))
    promoted = await scenario.wait_until(
        lambda r: r["challenger"] == "churn-v2" and r["phase"] == "promoted", "the promotion of churn-v2"
    )
    await scenario.settle()
    await scenario.processes.command("rollback", "an operator (here the demo) asked for it")
    rolled_back = await scenario.wait_until(lambda r: r["phase"] == "rolled_back", "the rollback to churn-v3")
    await scenario.settle()
    return [
        ("churn-v2 is promoted", promoted["phase"], promoted["phase"] == "promoted"),
        ("churn-v3 is back", rolled_back["phase"], rolled_back["phase"] == "rolled_back"),
        failed_row(tally),
        changes_row(tally),
    ]
