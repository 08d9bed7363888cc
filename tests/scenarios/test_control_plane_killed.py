"""kill -9 of the control plane at 50 random times: published exposure is never above the journal (law 3)."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from pathlib import Path

from crossfade.control.chain import first_broken
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store

KILLS = 50


async def test_exposure_is_never_above_the_journal(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.scenarios.killed_control_plane",
        f"sqlite:{state}",
        str(KILLS),
        "7",
        stdout=-1,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    runs = [json.loads(line) for line in out.decode().splitlines()]
    assert len(runs) == KILLS
    for run in runs:
        assert run["decided"] == run["weight"] / 10_000
        _, weight = run["published"][-1]
        assert weight <= run["weight"], run
    rises = sum(
        b[1] > a[1] for run in runs for a, b in zip(run["published"], run["published"][1:], strict=False)
    )
    falls = sum(
        b[1] < a[1] for run in runs for a, b in zip(run["published"], run["published"][1:], strict=False)
    )
    assert rises > 20 and falls > 3, "the kills came too early: too few changes of the weight"
    with closing(Store.read(str(state))) as store:
        decisions = list(journal(store))
        assert first_broken(decisions) is None
        assert replayed(decisions).differences == []
    print(f"{KILLS} kills, {len(decisions)} decisions, {rises} rises and {falls} falls published")
