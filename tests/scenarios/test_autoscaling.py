"""A ramp of Locust: replicas come as the load grows and go as it falls, and no request of it all fails."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from crossfade_backends.processes import identity_of
from tests.scenarios.harness import Process, wait_until
from tests.scenarios.test_deployed_models import Deployed, deployed

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed (extra: load)")
TARGET = "--least 1 --most 3 --in-flight 1.5 --up-after 1 --down-after 2 --cool-down 1"

__all__ = ["deployed"]


@pytest.mark.timeout(900)  # replicas are started three times beside the load
async def test_replicas_follow_a_ramp_up_and_down_and_nothing_is_lost(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    become(users, 1)
    monkeypatch.setenv("RAMP_USERS", str(users))
    await deployed.say("deploy", "churn@v3", "--strategy", "none", *TARGET.split())
    status, answer = await deployed.proxy.call("PUT", "/api/v1/routes/churn/split", {"old": 0, "churn-v3": 1})
    assert status == 200, answer
    ramp = str(Path(__file__).with_name("ramp.py"))
    options = f"-f {ramp} --headless --host {deployed.proxy.url} --csv {tmp_path / 'ramp'} --stop-timeout 60"
    locust = Process("locust", *options.split())
    await locust.start()
    try:
        await wait_until(lambda: served(deployed, 1), "one replica serves")
        pids = {one["pid"] for one in await deployed.replicas()}
        become(users, 40)
        await wait_until(lambda: served(deployed, 3), lambda: f"three replicas; {seen(deployed)}")
        assert "too much for" in str(seen(deployed)["scaled"])
        pids |= {one["pid"] for one in await deployed.replicas()}
        become(users, 1)
        await wait_until(lambda: served(deployed, 1), lambda: f"one replica; {seen(deployed)}")
        assert "little for" in str(seen(deployed)["scaled"])
        await wait_until(
            lambda: sum(identity_of(pid) is not None for pid in pids) == 1, "the others have ended"
        )
        become(users, 0)
        assert await wait_until(lambda: locust.child.returncode is not None, "locust ends")
        assert locust.child.returncode == 0, locust.output
    finally:
        if locust.child.returncode is None:
            await locust.stop()
        locust.log.close()
    with (tmp_path / "ramp_stats.csv").open() as file:
        total = list(csv.DictReader(file))[-1]
    assert (total["Name"], total["Failure Count"]) == ("Aggregated", "0")
    assert int(total["Request Count"]) > 100
    print(f"{total['Request Count']} requests, {total['Failure Count']} failures")


def become(file: Path, users: int) -> None:
    """Whole, as it is read at any time."""
    new = file.with_suffix(".new")
    new.write_text(str(users))
    new.replace(file)


def seen(deployed: Deployed) -> dict[str, object]:
    found: dict[str, object] = json.loads((deployed.registry / ".deployments/churn-v3/seen.json").read_text())
    return found


async def served(deployed: Deployed, replicas: int) -> bool:
    """So many are up, endpoints of the proxy, and nothing is under way."""
    found = seen(deployed)
    return bool(found["settled"]) and len(await deployed.endpoints("churn-v3")) == replicas
