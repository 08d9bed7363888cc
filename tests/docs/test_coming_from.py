"""The pages on nginx and HAProxy: both files of a page are run, the real proxy and ours, and customers get the shares that both say."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from loadtests.ports import free_port
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.scenarios.harness import Model, Proxy, running, wait_until

CUSTOMERS = 1500
# Of 1500 customers at 10 %: the binomial has a standard deviation of 11.6, so this is missed once in 60 000 times. HAProxy's
# consistent hash puts each server at some places of a circle, so its shares are near the weights only.
EXPECTED = {"nginx": (100, 200), "haproxy": (60, 260)}
AROUND = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{config}
}}
"""
DEFAULTS = (
    "defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\n"
)


def _block(page: str, language: str) -> Block:
    name = f"docs/coming-from/{page}.md"
    (found,) = (b for b in blocks_of((ROOT / name).read_text("utf-8"), name) if b.language == language)
    return found


def _on(text: str, ports: dict[str, int]) -> str:
    for said, port in ports.items():
        text = re.sub(rf"\b{said}\b", str(port), text)
    return text


def _command(page: str, config: str, folder: Path) -> list[str]:
    file = folder / page
    if page == "nginx":
        file.write_text(AROUND.format(folder=folder, config=config))
        return ["nginx", "-c", str(file), "-p", str(folder)]
    file.write_text(DEFAULTS + config)
    return ["haproxy", "-db", "-f", str(file)]


@asynccontextmanager
async def theirs(page: str, config: str, port: int, folder: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(*_command(page, config, folder))

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await wait_until(listens, f"{page} listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def answers(url: str) -> dict[int, str]:
    """By customer, who answered; each is asked twice, and must get the same one."""
    got = dict[int, str]()
    async with aiohttp.ClientSession() as session:

        async def ask(customers: range) -> None:
            for customer in [*customers, *customers]:
                fields = {"X-Customer-Id": f"C{customer}"}
                async with session.get(f"{url}/predict", headers=fields) as response:
                    assert response.status == 200, await response.text()
                    said = re.search("churn-v[23]", await response.text())
                    assert said
                    assert got.setdefault(customer, said[0]) == said[0]

        await asyncio.gather(*(ask(range(first, CUSTOMERS, 8)) for first in range(8)))
    return got


async def answers_without_a_key(url: str) -> set[str]:
    """Who answers 200 requests that name no customer: at 10 %, chance leaves one version out once in a thousand million times."""
    async with aiohttp.ClientSession() as session:
        got = set[str]()
        for _ in range(200):
            async with session.get(f"{url}/predict") as response:
                got |= set(re.findall("churn-v[23]", await response.text()))
    return got


@pytest.mark.parametrize("page", ["nginx", "haproxy"])
async def test_both_files_give_the_same_shares_and_keep_each_customer(page: str, tmp_path: Path):
    if shutil.which(page) is None:
        pytest.skip(f"{page} is not here")
    models = Model("churn-v2"), Model("churn-v3")
    port = free_port()
    ports = {"8002": models[0].port, "8003": models[1].port, "8081": port, "8082": port}
    ours = yaml.safe_load(_on(_block(page, "yaml").text, ports))
    del ours["listen"]  # the harness says where
    proxy = Proxy(tmp_path, yaml.safe_dump(ours, sort_keys=False), workers=1)
    async with (
        running(*models, proxy),
        theirs(page, _on(_block(page, page).text, ports), port, tmp_path) as url,
    ):
        of_theirs, of_ours = await answers(url), await answers(proxy.url)
        low, high = EXPECTED[page]
        assert low <= Counter(of_theirs.values())["churn-v3"] <= high
        assert 100 <= Counter(of_ours.values())["churn-v3"] <= 200
        assert await answers_without_a_key(proxy.url) == {"churn-v2", "churn-v3"}
        if page == "nginx":
            assert len(await answers_without_a_key(url)) == 1
