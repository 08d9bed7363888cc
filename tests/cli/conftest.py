from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from crossfade.__main__ import main
from tests.admin.site import Site, serving


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands beside the event loop that answers them."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self.capsys = capsys
        self.url = url

    async def run(self, *words: str) -> Ended:
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, list(words))
        return Ended(code, *self.capsys.readouterr())

    async def ask(self, *words: str) -> Ended:
        """With --admin of the site."""
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
