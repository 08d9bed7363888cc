"""Runs the demo and prints its summary. The exit code is 0 only if every check in the summary passed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console

from crossfade.demo import drift_story, tour_parts
from crossfade.demo.ending import Ending, to_the_end
from crossfade.demo.labels import LabelledCustomers
from crossfade.demo.processes import DemoError, DemoProcesses
from crossfade.demo.scenarios import CANARY, Scenario, abort_canary, promote_canary, switch_and_roll_back
from crossfade.demo.screen import Row, Screen, summary_table
from crossfade.demo.tour import Tour, show
from crossfade.demo.traffic import CUSTOMERS, RATE, Traffic


def main(story: str, keep: bool) -> int:
    """Run the three scenarios, the story of drift, or the tour; with `keep` the proxy and the models then stay up until a signal, or until one of them ends."""
    console = Console(highlight=False)
    run = {"drift": run_drift, "tour": run_tour}.get(story, run_demo)
    with Ending(console) as ending, tempfile.TemporaryDirectory(prefix="crossfade-demo-") as folder:
        try:
            return asyncio.run(ending.run(run(Path(folder), console, keep)))
        except DemoError as error:
            console.print(f"crossfade demo: {error}", style="red", markup=False)
            return 1
        except asyncio.CancelledError:
            return ending.exit_code


async def run_demo(folder: Path, console: Console, keep: bool) -> int:
    started = time.monotonic()
    async with DemoProcesses(folder) as processes:
        console.print("Training three versions of a churn model with scikit-learn …")
        await processes.train()
        console.print("Starting three model servers and the proxy …")
        await processes.start_models()
        await processes.start_proxy(CANARY.format(champion="v2", challenger="v3"))
        console.print(f"Proxy: {processes.url}  Admin API and dashboard: {processes.admin}")
        console.print(f"{CUSTOMERS} simulated customers send {RATE:.0f} requests per second to the proxy.")
        console.print("One line for each decision: time, decision, reason → new split.")
        rows, sent = await run_scenarios(processes, console)
        return await _summary(processes, console, rows, sent, started, keep)


async def run_drift(folder: Path, console: Console, keep: bool) -> int:
    started = time.monotonic()
    async with DemoProcesses(folder) as processes:
        console.print("Training three versions of a churn model with scikit-learn …")
        await processes.train()
        customers = await LabelledCustomers.draw()
        console.print("Starting the model server of churn-v2 and the proxy …")
        await processes.start_models(("v2",))
        processes.more = drift_story.REGISTRY.format(registry=processes.registry)
        await processes.start_proxy(drift_story.route(processes))
        console.print(f"Proxy: {processes.url}  Admin API and dashboard: {processes.admin}")
        console.print(
            f"{CUSTOMERS} simulated customers send {RATE:.0f} requests per second; soon after each it is known whether the customer left."
        )
        traffic = Traffic(processes.url)
        customers.join(traffic)
        async with _beside(traffic.run(), customers.tell(processes)):
            with Screen(console) as screen:
                rows = await drift_story.drift(Scenario(processes, traffic, screen), customers)
        return await _summary(processes, console, rows, traffic.tally.sent, started, keep)


async def run_tour(folder: Path, console: Console, keep: bool) -> int:
    started = time.monotonic()
    async with DemoProcesses(folder) as processes:
        console.print("Training three versions of a churn model with scikit-learn …")
        await processes.train()
        console.print("Starting the model server of churn-v2 and the proxy …")
        await processes.start_models(("v2",))
        await processes.start_proxy(tour_parts.ROUTE)
        console.print(f"Proxy: {processes.url}  Admin API and dashboard: {processes.admin}")
        console.print(
            "What follows `$` are the commands of a user. Simulated customers send requests meanwhile."
        )
        traffic = Traffic(processes.url)
        guided = Tour(processes, traffic, console)
        async with _beside(traffic.run()):
            try:
                rows = await show(guided, tour_parts.PARTS)
                return await _summary(processes, console, rows, traffic.tally.sent, started, keep)
            finally:
                await to_the_end(tour_parts.take_down(guided))


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Endless work that goes on until the end of the block. What it raises ends the block."""
    tasks = [asyncio.create_task(each) for each in work]  # noqa: TID251 - awaited in finally
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _summary(
    processes: DemoProcesses, console: Console, rows: list[Row], sent: int, started: float, keep: bool
) -> int:
    """Prints it. The exit code."""
    failed = sum(not ok for *_, ok in rows)
    result = f"{failed} of {len(rows)} checks FAILED" if failed else f"all {len(rows)} checks passed"
    console.print(summary_table("Summary", rows))
    console.print(f"{sent} requests sent; the demo took {time.monotonic() - started:.0f} s; {result}")
    if keep:
        await _wait_for_signal(processes, console)
    return 1 if failed else 0


async def run_scenarios(processes: DemoProcesses, console: Console) -> tuple[list[Row], int]:
    """The rows of the summary, and how many requests were sent."""
    traffic = Traffic(processes.url)
    rows: list[Row] = []
    sent = 0
    async with _beside(traffic.run()):
        with Screen(console) as screen:
            scenario = Scenario(processes, traffic, screen)
            for number, run in enumerate((promote_canary, abort_canary, switch_and_roll_back), 1):
                rows += [(f"{number}: {check}", measured, ok) for check, measured, ok in await run(scenario)]
                sent += traffic.tally.sent
    return rows, sent


async def _wait_for_signal(processes: DemoProcesses, console: Console) -> None:
    """Raises DemoError if a process ends meanwhile."""
    body = (
        '{"customer_id": "you", "nb_transactions_30d": 12, "total_amount_30d": 310.5, '
        '"days_since_last_transaction": 9, "support_tickets_90d": 1, "subscription_age_days": 420}'
    )
    console.print("\nThe proxy and the models are still running; Ctrl-C stops them. Try:", style="bold")
    for line in (
        f"curl -i {processes.url}/predict -H 'content-type: application/json' -d '{body}'",
        f"curl {processes.admin}/api/v1/status",
        f"curl {processes.admin}/metrics",
        f"crossfade status --admin {processes.admin}",
        f"$EDITOR {processes.config}    # the proxy reloads the file when it changes",
        f"{processes.admin}/             # the dashboard, in a browser",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    with contextlib.suppress(asyncio.CancelledError):
        await processes.until_one_ends()
