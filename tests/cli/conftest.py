from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from crossfade.__main__ import main
from tests.admin.site import Site, serving


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands in a thread; the event loop of the test runs the admin API."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self.capsys = capsys
        self.url = url

    async def run(self, *words: str) -> Result:
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, list(words))
        return Result(code, *self.capsys.readouterr())

    async def run_with_admin(self, *words: str) -> Result:
        """With `--admin URL` added."""
        return await self.run(*words, "--admin", self.url)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CROSSFADE_ADMIN_URL", "CROSSFADE_ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as site:
        yield site


@pytest.fixture
def shell(site: Site, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys, site.url)
