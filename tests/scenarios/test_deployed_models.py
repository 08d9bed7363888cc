"""Versions are deployed, scaled and undeployed beside a running proxy under load: no request is lost, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.deployments import LOG
from crossfade_backends.processes import identity_of
from crossfade_backends.registry import MODEL_FILE, read_metadata
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until
from tests.scenarios.test_batch import python

COMMENT = "# the words of an operator"
ROUTE = f"""  old:
    endpoints: [http://127.0.0.1:PORT]  {COMMENT}
routes:
  - name: churn
    match: {{path: /predict}}
    sticky: {{json: customer_id}}
    split: {{old: 100%}}
    retry: {{pure: true}}
"""
CANARY = (
    "{steps: [{weight: 50%, hold: 1s}], min_requests: 20, watch: 1s, checks: [{metric: error_rate, max: 5%}]}"
)


class Rows(Load):
    """Customers with real rows. `answers`: by the version that the answer names, or `old`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, clients=4, pause=0.01)
        sample = draw_sample(200, 7)
        self.rows = [as_request(sample, n) for n in range(200)]

    async def run_client(self, client: int) -> None:
        number = client
        while not self.stopping:
            number = (number + self.clients) % len(self.rows)
            try:
                async with self.session.post(f"{self.url}/predict", json=self.rows[number]) as response:
                    text = await response.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failures.append(repr(error))
                continue
            if response.status != 200:
                self.failures.append(f"{response.status} {text}")
            self.answers["old" if text == "old" else json.loads(text)["model_version"]] += 1
            await asyncio.sleep(self.pause)


class Deployed:
    """A registry, a proxy that has never heard of it, and the command."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        self.registry, self.proxy = folder / "models", proxy

    async def say(self, *words: str, code: int = 0) -> str:
        admin = (
            ("--admin", f"http://127.0.0.1:{self.proxy.admin_port}")
            if words[0] not in ("info", "supervise")
            else ()
        )
        found, said = await python(
            "crossfade_backends.models", *words, *admin, "--registry", str(self.registry)
        )
        assert found == code, said
        return said

    async def info(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.say("info", "--json"))
        return found

    async def replicas(self) -> list[dict[str, Any]]:
        [one] = await self.info()
        found: list[dict[str, Any]] = one["replicas"]
        return found

    async def endpoints(self, backend: str) -> list[str]:
        return [each["url"] for each in (await self.proxy.get(f"/api/v1/backends/{backend}"))["endpoints"]]

    def history(self, version: str) -> list[tuple[str, str]]:
        return [(one.stage, one.by) for one in read_metadata(self.registry, "churn", version).history]

    def supervisor(self, backend: str) -> int:
        log = (self.registry / ".deployments" / backend / LOG).read_text()
        lines = [line for line in log.splitlines() if line.startswith("supervisor of ")]
        return int(lines[-1].rpartition(" ")[2])


@pytest.fixture
async def deployed(tmp_path: Path) -> AsyncIterator[Deployed]:
    registry = tmp_path / "models"
    assert (await python("crossfade_backends.train", "--registry", str(registry), "--rows", "2000"))[0] == 0
    old = Model("old")
    known = f"registry: {{kind: folder, uri: {registry}, interval: 500ms}}\n"
    proxy = Proxy(tmp_path, f"{known}backends:\n{ROUTE.replace('PORT', str(old.port))}")
    scene = Deployed(tmp_path, proxy)
    async with running(old, proxy):
        try:
            yield scene
        finally:
            for one in await scene.info():
                await scene.say("undeploy", one["version"], "--force")


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that writes down how it was called, as there is no cluster."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\ncat >>{tmp_path}/objects\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "calls"


@pytest.mark.timeout(900)  # replicas are started eight times, and each imports scikit-learn
async def test_a_version_is_deployed_scaled_and_undeployed_and_nothing_is_lost(
    deployed: Deployed, kubectl: Path
) -> None:
    proxy = deployed.proxy
    async with Rows(proxy.url) as load:
        await load.wait_for_answers(20)
        said = await deployed.say("deploy", "churn@v3", "--replicas", "2", "--rollout", CANARY)
        assert "route churn: canary of churn-v3 beside old has begun" in said
        assert COMMENT in proxy.file.read_text()
        assert "cannot be undeployed: " in await deployed.say("undeploy", "churn@v3", code=1)
        await supervisor_and_replica_are_killed(deployed)

        async def is_promoted() -> bool:
            return bool((await proxy.rollout())["phase"] == "promoted")

        await wait_until(is_promoted, "the version is promoted")
        await wait_until(
            lambda: deployed.history("v3") == [("production", "crossfade")], "it is in production"
        )
        assert "sends it 1 of its requests" in await deployed.say("undeploy", "churn@v3", code=1)
        await it_is_scaled(deployed, load)
    assert load.failures == []
    assert load.answers["v3"] and load.answers["old"]
    await one_that_cannot_be_loaded_leaves_nothing(deployed)
    await what_the_proxy_has_not_loaded_is_not_edited(deployed)
    await another_comes_and_goes(deployed)
    await another_comes_and_goes_on_kubernetes(deployed, kubectl)


async def supervisor_and_replica_are_killed(deployed: Deployed) -> None:
    urls = await deployed.endpoints("churn-v3")
    first, second = await deployed.replicas()
    assert [first["url"], second["url"]] == urls
    os.kill(deployed.supervisor("churn-v3"), signal.SIGKILL)
    os.kill(first["pid"], signal.SIGKILL)
    [again] = await deployed.info()
    assert again["supervisor"] == "started again"

    async def is_back() -> bool:
        one, other = await deployed.replicas()
        assert (one["url"], other["url"], other["pid"]) == (*urls, second["pid"])
        return bool(one["state"] == "up" and one["pid"] not in (0, first["pid"]))

    await wait_until(is_back, "the replica is back")
    os.kill(deployed.supervisor("churn-v3"), signal.SIGKILL)
    assert await deployed.say("supervise", "--once") == "churn-v3: a supervisor is started\n"
    [again] = await deployed.info()
    assert again["supervisor"] == "runs"


async def it_is_scaled(deployed: Deployed, load: Load) -> None:
    urls = await deployed.endpoints("churn-v3")
    await deployed.say("scale", "churn@v3", "--replicas", "3")
    grown = await deployed.endpoints("churn-v3")
    assert grown[:2] == urls and len(grown) == 3
    await load.wait_for_answers(100)
    pids = [one["pid"] for one in await deployed.replicas()]
    await deployed.say("scale", "churn@v3", "--replicas", "1")
    assert await deployed.endpoints("churn-v3") == grown[:1]
    assert [identity_of(pid) is not None for pid in pids] == [True, False, False]
    decided = (await deployed.proxy.get("/api/v1/decisions"))["decisions"]
    drained = {f"http://{each['to']['endpoint']}" for each in decided if each["action"] == "drain"}
    assert drained == set(grown[1:])
    said = await deployed.say("info", "churn@v3")
    assert said.startswith(
        "churn-v3: churn@v3, 1 replicas wanted; its supervisor runs\n  route churn: 100.00% of"
    )
    assert f"  1        up     {grown[0]}  {pids[0]}" in said
    await load.wait_for_answers(100)


async def one_that_cannot_be_loaded_leaves_nothing(deployed: Deployed) -> None:
    before = deployed.proxy.file.read_text()
    with (deployed.registry / "churn" / "v2" / MODEL_FILE).open("ab") as file:
        file.write(b"more")
    said = await deployed.say("deploy", "churn@v2", code=1)
    assert "replica 1 is waiting ended, 3 times in a row: error: " in said and "SHA-256" in said
    assert [one["version"] for one in await deployed.info()] == ["churn@v3"]
    assert deployed.proxy.file.read_text() == before


async def what_the_proxy_has_not_loaded_is_not_edited(deployed: Deployed) -> None:
    other = deployed.proxy.folder / "other.yaml"
    other.write_text(
        deployed.proxy.file.read_text() + "  - {name: more, match: {path: /more}, split: {old: 100%}}\n"
    )
    said = await deployed.say("deploy", "churn@v4", "--strategy", "none", "--config", str(other), code=1)
    assert f"the proxy does not run by {other} as it is now" in said
    assert [one["version"] for one in await deployed.info()] == ["churn@v3"]


async def another_comes_and_goes(deployed: Deployed) -> None:
    proxy = deployed.proxy
    refused = await deployed.say("deploy", "churn@v4", "--rollout", "{steps: 7}", code=1)
    assert "the proxy refuses: " in refused and "steps" in refused
    assert "churn-v4" not in proxy.file.read_text()
    assert [one["version"] for one in await deployed.info()] == ["churn@v3"]
    await deployed.say("deploy", "churn@v4", "--strategy", "none")
    assert len(await deployed.info()) == 2 and "churn-v4" in proxy.file.read_text()
    assert {name: share for name, share in (await proxy.split()).items() if share} == {"churn-v3": 1.0}
    await deployed.say("deploy", "churn@v4", "--rollout", CANARY)
    assert (await proxy.call("POST", "/api/v1/rollouts/churn/abort", {}))[0] == 200
    said = await deployed.say("deploy", "churn@v4", "--rollout", CANARY, code=1)
    assert "churn-v4 is aborted since an earlier attempt and gets no traffic" in said
    await deployed.say("undeploy", "churn@v4")
    after = proxy.file.read_text()
    assert "churn-v4" not in after and "rollout" not in after and COMMENT in after
    assert [one["version"] for one in await deployed.info()] == ["churn@v3"]


async def another_comes_and_goes_on_kubernetes(deployed: Deployed, kubectl: Path) -> None:
    before = deployed.proxy.file.read_text()
    there = ("--to", "kubernetes", "--apply")
    await deployed.say("deploy", "churn@v4", "--strategy", "none", "--image", "models:1", *there)
    assert await deployed.endpoints("churn-v4") == ["http://churn-v4.default.svc:8000"]
    assert "sends it" in await deployed.say("undeploy", "churn@v3", *there, code=1)
    await deployed.say("undeploy", "churn@v4", *there)
    assert deployed.proxy.file.read_text() == before
    said = await asyncio.to_thread(kubectl.read_text)
    assert [line.split()[0] for line in said.splitlines()] == ["apply", "rollout", "delete"]
