"""The demo from curtain to curtain. Exit code 0 only if everything in the summary held."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

from rich.console import Console

from crossfade.demo.acts import CANARY, Play, Row, first_act, second_act, third_act
from crossfade.demo.processes import Stage, StageError
from crossfade.demo.screen import Screen, checklist
from crossfade.demo.traffic import CUSTOMERS, RATE, Traffic


def main(keep: bool) -> int:
    """Run the three acts; with `keep` the proxy and the models stay up until interrupted."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="crossfade-demo-") as folder:
        try:
            return asyncio.run(perform(Path(folder), console, keep))
        except StageError as error:
            console.print(f"crossfade demo: {error}", style="red", markup=False)
            return 1
        except KeyboardInterrupt:
            return 130


async def perform(folder: Path, console: Console, keep: bool) -> int:
    began = time.monotonic()
    async with Stage(folder) as stage:
        console.print("training three versions of a churn model (scikit-learn) …")
        await stage.train()
        console.print("starting three model servers and the proxy …")
        await stage.start_models()
        await stage.start_proxy(CANARY.format(champion="v2", challenger="v3"))
        console.print(f"proxy {stage.url}  admin and dashboard {stage.admin}")
        console.print(f"{CUSTOMERS} customers send {RATE:.0f} requests a second")
        rows, sent = await play_all(stage, console)
        held = all(ok for *_, ok in rows)
        console.print(checklist("Summary", rows))
        console.print(
            f"{sent} requests in {time.monotonic() - began:.0f} s; {'everything held' if held else 'something did NOT hold'}"
        )
        if keep:
            await stay(stage, console)
    return 0 if held else 1


async def play_all(stage: Stage, console: Console) -> tuple[list[Row], int]:
    traffic = Traffic(stage.url)
    running = asyncio.create_task(traffic.run())  # noqa: TID251 - awaited in finally
    rows: list[Row] = []
    sent = 0
    try:
        with Screen(console) as screen:
            play = Play(stage, traffic, screen)
            for number, act in (("one", first_act), ("two", second_act), ("three", third_act)):
                rows += [
                    (f"act {number}: {what}", measured, held) for what, measured, held in await act(play)
                ]
                sent += traffic.tally.sent
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return rows, sent


async def stay(stage: Stage, console: Console) -> None:
    body = (
        '{"customer_id": "you", "nb_transactions_30d": 12, "total_amount_30d": 310.5, '
        '"days_since_last_transaction": 9, "support_tickets_90d": 1, "subscription_age_days": 420}'
    )
    console.print("\nStill running; Ctrl-C ends it. Try:", style="bold")
    for line in (
        f"curl -i {stage.url}/predict -H 'content-type: application/json' -d '{body}'",
        f"curl {stage.admin}/api/v1/status",
        f"curl {stage.admin}/metrics",
        f"crossfade status --admin {stage.admin}",
        f"$EDITOR {stage.config}    # the proxy reloads it by itself",
        f"{stage.admin}/             # the dashboard, in a browser",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
