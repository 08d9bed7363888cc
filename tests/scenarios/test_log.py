"""The log of the whole proxy as JSON: decisions, reloads, health and workers, and no secret in any line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.scenarios.conftest import canary, routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

HOOK, KEY, TESTERS, LOGIN = (
    "T0/B0/x7f3a9c",
    "key-0a1b2c3d4e5f",
    "tester-secret-0123456789",
    "pa55word-of-hook",
)
HEAD = f"""
notify:
  - {{webhook: 'http://ops:{LOGIN}@127.0.0.1:1/services/{HOOK}', name: ops, on: [abort, promote]}}
override: {{secret: {TESTERS}}}
"""


def lines_of(proxy: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in proxy.output.splitlines()]


async def test_each_event_is_a_line_of_json_without_secrets(tmp_path: Path, models: dict[str, Model]) -> None:
    config = HEAD + routing(models, canary("[{weight: 10%, hold: 1h}]"))
    keyed = f"    request: {{headers: {{set: {{authorization: Bearer {KEY}}}}}}}\n    health:"
    config = config.replace("    health:", keyed, 1)
    assert KEY in config
    proxy = Proxy(tmp_path, config)

    def has(event: str, **facts: object) -> bool:
        wanted = {"event": event, **facts}
        return any(wanted.items() <= line.items() for line in lines_of(proxy))

    async with running(proxy), Load(proxy.url):
        await wait_until(lambda: has("decision", route="churn", action="begin", actor="loop"), "the begin")
        pid = (await proxy.get("/api/v1/status"))["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: has("worker", worker_pid=pid, state="ended", exit_code=-9), "its end")
        await models["v3"].stop(signal.SIGKILL)
        await wait_until(lambda: has("health", backend="v3", up=False), "that v3 is down")
        await wait_until(
            lambda: any(line["process"] == "worker" for line in lines_of(proxy)), "a worker's line"
        )
        assert (await proxy.call("POST", "/api/v1/rollouts/churn/abort"))[0] == 200
        # The fuse may have been first.
        assert has("decision", action="abort")
        proxy.write(config + "\nnonsense: 1\n")
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 422
        assert has("reload", ok=False, actor="api")
        proxy.write(config)
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        assert has("reload", ok=True, actor="api")
        await wait_until(lambda: "the webhook cannot be reached" in proxy.output, "the message that fails")
        await proxy.stop()
        lines = lines_of(proxy)
        assert {line["level"] for line in lines} <= {"info", "warning", "error"}
        for secret in (HOOK, KEY, TESTERS, LOGIN):
            assert secret not in proxy.output


async def test_a_reload_changes_the_level_of_all_processes(tmp_path: Path, models: dict[str, Model]) -> None:
    config = routing(models, "    split: {v2: 50%, v3: 50%}\n")
    proxy = Proxy(tmp_path, "log: {format: text, level: error}\n" + config)
    async with running(proxy):
        assert " INFO " not in proxy.output.partition("ready")[2]
        proxy.write("log: {format: json, level: debug}\n" + config)
        assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200
        await wait_until(lambda: '"event": "reload"' in proxy.output, "the line of the reload")
