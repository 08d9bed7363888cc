"""The whole demo: real models, a real proxy, real traffic; every check of its summary passes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest


@contextlib.asynccontextmanager
async def demo(option: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`crossfade demo` with its output in a pipe; it and all of its group have ended at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "crossfade", "demo", option),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# It counts changes of backend, which come in another order to a customer whose requests overlap.
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_every_check_passes_and_with_keep_the_proxy_goes_on() -> None:
    async with demo("--keep") as process:
        assert process.stdout is not None
        shown = ""
        while "in a browser" not in shown:
            line = await process.stdout.readline()
            assert line, shown
            shown += line.decode()
        for part in (
            " promote   ",
            " abort   ",
            " rollback ",
            "aborted ",
            "fails 40 %",
            "all 13 checks passed",
        ):
            assert part in shown, shown
        url = next(word for word in shown.split() if word.endswith("/predict"))
        curl = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALL, url), stdout=asyncio.subprocess.PIPE
        )
        assert b"churn_probability" in (await curl.communicate())[0]
        os.killpg(process.pid, signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 0


# On a busy machine labels come after the horizon.
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_the_story_of_drift_ends_with_a_new_champion_and_leaves_no_process() -> None:
    """Injected drift → detected → trained again → registered → shadow → canary → promoted by the Brier score of labels."""
    async with demo("--story=drift") as process:
        shown = (await process.communicate())[0].decode()
        assert process.returncode == 0, shown
        for part in ("drift was noticed", " retrained ", " alias ", "PROMOTE: ", "all 8 checks passed"):
            assert part in shown, shown
        assert not _registered_servers()


# It loads replicas until there are two, and then until there is one.
@pytest.mark.alone
@pytest.mark.timeout(600)
async def test_the_tour_shows_every_way_to_deploy_and_leaves_no_process() -> None:
    async with demo("--tour") as process:
        shown = (await process.communicate())[0].decode()
        assert process.returncode == 0, shown
        assert "left out" not in shown
        assert "all 18 checks passed" in shown, shown
        assert not _registered_servers()


def _registered_servers() -> list[str]:
    """Servers and supervisors of the folder of a demo, which is gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
            if "crossfade_backends." in words and "crossfade-demo-" in words:
                found.append(words)
    return found


CALL = """
import sys, urllib.request
row = b'{"customer_id": "you", "nb_transactions_30d": 12, "total_amount_30d": 310.5, '
row += b'"days_since_last_transaction": 9, "support_tickets_90d": 1, "subscription_age_days": 420}'
request = urllib.request.Request(sys.argv[1], row, {"content-type": "application/json"})
print(urllib.request.urlopen(request).read().decode())
"""
