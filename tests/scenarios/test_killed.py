"""kill -9 of the control plane at fifty random points: workers never serve a challenger more than was decided (law 3)."""

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
        sys.executable, "-m", "tests.scenarios.killed", f"sqlite:{state}", str(KILLS), "7", stdout=-1
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    lives = [json.loads(line) for line in out.decode().splitlines()]
    assert len(lives) == KILLS
    for life in lives:
        assert life["decided"] == life["weight"] / 10_000
        _, weight = life["published"][-1]
        assert weight <= life["weight"], life
    rises = sum(
        b[1] > a[1] for life in lives for a, b in zip(life["published"], life["published"][1:], strict=False)
    )
    falls = sum(
        b[1] < a[1] for life in lives for a, b in zip(life["published"], life["published"][1:], strict=False)
    )
    assert rises > 20 and falls > 3, "the kills came too early to show anything"
    with closing(Store.read(str(state))) as store:
        decisions = list(journal(store))
        assert first_broken(decisions) is None
        assert replayed(decisions).differences == []
    print(f"{KILLS} kills, {len(decisions)} decisions, {rises} rises and {falls} falls published")
