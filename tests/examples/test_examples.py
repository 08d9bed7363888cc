"""The folders of examples/: each file passes `crossfade check`, and the servers answer through the real proxy."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from crossfade.__main__ import main
from tests.docs.blocks import blocks_of
from tests.docs.shell import commands
from tests.examples.running import EXAMPLES, serving
from tests.scenarios.harness import TIMEOUT, wait_until
from tests.servers.tapping import Tap

FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))


@pytest.mark.parametrize("example", FOLDERS)
def test_the_file_passes_the_check(example: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(EXAMPLES / example / "routing.yaml")]) == 0, capsys.readouterr()


@pytest.mark.parametrize("example", FOLDERS)
def test_the_readme_names_each_file_of_the_folder(example: str):
    written = (EXAMPLES / example / "README.md").read_text("utf-8")
    (shell,) = (block.text for block in blocks_of(written, example) if block.language == "sh")
    ran = [" ".join(words) for words in commands(shell)]
    assert "crossfade check routing.yaml" in ran
    named = {path.stem for path in (EXAMPLES / example).glob("*.py")}
    assert {name for name in named if re.search(rf"\b{name}\b", written)} == named


def test_the_table_names_each_folder():
    written = (EXAMPLES / "README.md").read_text("utf-8")
    assert re.findall(r"^\| \[([a-z-]+)\]\(\1/README\.md\)", written, re.MULTILINE) == FOLDERS


async def test_fastapi(tmp_path: Path):
    pytest.importorskip("fastapi")
    async with (
        serving("fastapi", {8002: "model:v2", 8003: "model:v3"}, tmp_path) as proxy,
        aiohttp.ClientSession() as session,
    ):
        models: dict[str, str] = {}

        async def both_answered() -> bool:
            customer = {"customer_id": f"C{len(models)}", "total_amount_30d": 80.0}
            async with session.post(f"{proxy.url}/predict", json=customer) as response:
                said = await response.json()
                assert response.headers["x-crossfade-backend"] == f"churn-{said['model']}"
                models[customer["customer_id"]] = said["model"]  # type: ignore[index]
            return set(models.values()) == {"v2", "v3"}

        await wait_until(both_answered, lambda: f"both versions answer: {models}")
        await Tap(proxy).counted(len(models), "crossfade_observations_total", route="churn")
        async with session.post(f"{proxy.url}/predict", json={"customer_id": "C1"}) as response:
            assert response.status == 422
        await Tap(proxy).counted(1, "crossfade_bad_answers_total", kind="rejected")


async def test_openai_streaming(tmp_path: Path):
    pytest.importorskip("fastapi")
    openai = pytest.importorskip("openai")
    applications = {8001: "server:small_1", 8002: "server:small_2"}
    async with serving("openai-streaming", applications, tmp_path) as proxy:
        variables = {"OPENAI_BASE_URL": f"{proxy.url}/v1", "OPENAI_API_KEY": "none"}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            EXAMPLES / "openai-streaming" / "client.py",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | variables,
        )
        said, _ = await asyncio.wait_for(child.communicate(), TIMEOUT)
        pattern = rb"(Hello\. You said: How are you\?\n\(small-1\)|Good day\. You said: How are you\?\n\(small-2\))\n"
        assert re.fullmatch(pattern, said), said
        await Tap(proxy).counted(1, "crossfade_streams_total", end="complete")
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="none", max_retries=0) as client:
            models: list[str] = []

            async def both_answered() -> bool:
                answer = await client.chat.completions.create(
                    model="small",
                    user=f"U{len(models)}",
                    messages=[{"role": "user", "content": "Hello"}],
                )
                models.append(answer.model)
                return set(models) == {"small-1", "small-2"}

            await wait_until(both_answered, lambda: f"both models answer: {models}")
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="large", messages=[])
