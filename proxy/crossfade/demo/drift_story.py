"""The story of drift: the world changes, the proxy notices, orders a new model, and promotes it when labels prove it better.

Nobody touches the file meanwhile. The shop changes its currency: amounts are a hundred times as large, and customers
behave as before. The model churn-v2 takes everybody for a big spender who stays.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from crossfade.demo.labels import LabelledCustomers
from crossfade.demo.processes import DemoProcesses
from crossfade.demo.scenarios import Scenario, failed_row
from crossfade.demo.screen import INDENT, Row

REGISTRY = """\
registry: {{kind: folder, uri: {registry}, interval: 1s}}
"""
# The days are 12 seconds: rows of the time before would teach the old currency. The order comes by labels, so that there are
# labels of the new one to train on.
ROUTE = """\
    split: {{churn-v2: 100%}}
    prediction: {{score: churn_probability, decision: 0.5}}
    feedback: {{horizon: 4s, inputs: true}}
    drift: {{baseline: {profile}, window: 3s, tolerance: 10%, loss_tolerance: 0.1%}}
    retrain:
      on: concept_drift
      command: {command}
      cooldown: 1h
    rollout:
      strategy: shadow
      champion: churn-v2
      challenger: {{registry: churn@challenger}}
      steps: [{{mirror: 100%, hold: 2s}}, {{weight: 25%, hold: 3s}}, {{weight: 50%, hold: 3s}}]
      min_requests: 50
      primary: brier
      min_lift: 2%
      act: true
      watch: 1h
      checks:
        - {{metric: error_rate, max: 1%}}
        - {{metric: brier, max_increase: 0}}
"""
_STORY = ("retrain", "start", "advance", "promote")  # actions that the journal must have, in this order
_QUIET = 6.0  # seconds of usual traffic before the change


def route(processes: DemoProcesses) -> str:
    command = [
        *(sys.executable, "-m", "crossfade_backends.retrain", "--registry", str(processes.registry)),
        *("--days", str(12 / 86_400), "--start"),
    ]
    profile = processes.registry / "churn" / "v2" / "profile.json"
    return ROUTE.format(profile=profile, command=json.dumps(command))


async def drift(scenario: Scenario, customers: LabelledCustomers) -> list[Row]:
    """The whole loop. The proxy was started with the route of this story."""
    screen, processes, tally = scenario.screen, scenario.processes, scenario.traffic.tally
    screen.heading("The story of drift: from a change of the world to a new champion")
    await scenario.wait_for(_QUIET)
    quiet = await processes.get("/api/v1/drift/churn")
    customers.change_currency()
    changed_at = time.time()
    screen.print(f"{INDENT}the shop changes its currency: amounts are a hundred times as large", "red")
    order = await scenario.wait_for_decision("retrain", "an order to train again")
    alarms = (await processes.get("/api/v1/drift/churn"))["alarms"]
    drifted = {
        alarm["subject"]: alarm["at"] - changed_at for alarm in alarms if alarm["kind"] == "data_drift"
    }
    seconds = min(drifted.values(), default=0.0)
    screen.print(f"{INDENT}drift was noticed {seconds:.1f} s after the change, and labels", "yellow")
    screen.print(
        f"{INDENT}proved {order['at'] - changed_at:.1f} s after it that the model is wrong", "yellow"
    )
    await scenario.wait_for_decision("retrained", "a new version")
    promoted = await scenario.wait_until(lambda r: r["phase"] in ("promoted", "aborted"), "the promotion")
    await scenario.settle()
    labels = await processes.get(f"/api/v1/labels/churn?since={changed_at}")
    losses = {name: side["brier"]["estimate"] for name, side in labels["backends"].items() if side["brier"]}
    actions = [decision["action"] for decision in scenario.decisions]
    return [
        ("no alarm before the change", f"{len(quiet['alarms'])} alarms", not quiet["alarms"]),
        ("drift is noticed in", ", ".join(drifted), list(drifted) == ["total_amount_30d"]),
        ("trained again", f"{actions.count('retrain')} order", actions.count("retrain") == 1),
        (f"{promoted['challenger']} is promoted", promoted["phase"], promoted["phase"] == "promoted"),
        ("Brier score since the change, by labels", _losses_text(losses), _is_better(losses)),
        ("labels in time", *_accepted(customers)),
        ("each step is in the journal", " → ".join(_STORY), _in_order(actions)),
        failed_row(tally),
    ]


def _losses_text(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())


def _is_better(losses: dict[str, float]) -> bool:
    others = [loss for name, loss in losses.items() if name != "churn-v2"]
    return bool(others) and "churn-v2" in losses and max(others) < losses["churn-v2"]


def _accepted(customers: LabelledCustomers) -> tuple[str, bool]:
    """On a busy machine some labels come later than the horizon, and are refused."""
    counts = customers.counts
    accepted, n = counts["accepted"] + counts["unmatched"], sum(counts.values())
    return f"{accepted} of {n}", accepted >= 0.9 * n > 0


def _in_order(actions: list[Any]) -> bool:
    rest = iter(actions)
    return all(action in rest for action in _STORY)
