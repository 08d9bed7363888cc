"""A configuration that is applied under load: used, said to differ, undone; and the file stays the operator's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

WHOLE, HALF = "    split: {v2: 100%}\n", "    split: {v2: 50%, v3: 50%}\n"
IN_WHOLE, IN_HALF = {"v2": 1.0}, {"v2": 0.5, "v3": 0.5}
HISTORY = "/api/v1/config/history"


async def apply(proxy: Proxy, text: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{proxy.admin_port}/api/v1/config?apply=true"
    headers = {"Content-Type": "application/yaml", "X-Crossfade-Actor": "pipeline"}
    async with aiohttp.ClientSession() as session, session.post(url, data=text, headers=headers) as response:
        assert response.status == 200, await response.text()
        found: dict[str, Any] = await response.json()
        return found


async def shares(proxy: Proxy) -> dict[str, float]:
    return {name: share for name, share in (await proxy.split()).items() if share}


async def differs(proxy: Proxy) -> bool:
    said: bool = (await proxy.get("/api/v1/status"))["config"]["differs"]
    assert f"crossfade_config_differs_from_file {float(said)}" in await proxy.get("/metrics")
    return said


async def test_an_applied_configuration_lasts_until_the_file_or_a_start(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, routing(models, WHOLE))
    file = proxy.file.read_text()
    applied = file.replace(WHOLE, HALF)
    async with running(proxy):
        async with Load(proxy.url) as load:
            await load.wait_for_answers(50)
            assert (await apply(proxy, applied))["id"] == 2
            assert (await shares(proxy), await differs(proxy)) == (IN_HALF, True)
            await load.wait_for_answers(50)

            assert (await proxy.call("POST", f"{HISTORY}/1/restore"))[0] == 200
            assert (await shares(proxy), await differs(proxy)) == (IN_WHOLE, False)

            await apply(proxy, applied)
            proxy.write(routing(models, WHOLE) + "# another look of the file\n")

            async def is_of_the_file() -> bool:
                return await shares(proxy) == IN_WHOLE

            await wait_until(is_of_the_file, "the file to win")
            assert await differs(proxy) is False

            await apply(proxy, applied)
            assert await proxy.take_over() == 0
            assert (await shares(proxy), await differs(proxy)) == (IN_WHOLE, False)
            assert load.failures == []

        await apply(proxy, applied)
        await proxy.stop()
        await proxy.start()
        assert (await shares(proxy), await differs(proxy)) == (IN_WHOLE, False)
        past = (await proxy.get(HISTORY))["configs"]
        assert [each["origin"] for each in past[:4]] == ["file", "applied", "file", "applied"]
        assert past[0]["in_force"] and past[1]["actor"] == "api:pipeline"
        assert "that api:pipeline applied is no longer in force: a start loads the file" in proxy.output
        assert (await proxy.call("POST", f"{HISTORY}/{past[1]['id']}/restore"))[0] == 200
        assert (await shares(proxy), await differs(proxy)) == (IN_HALF, True)
