"""The file that the proxy follows: it is believed after two equal looks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crossfade import app
from tests.control.harness import CANARY, HEAD


@pytest.mark.parametrize(
    ("looks", "reloads"),
    [
        ([b"old", b"old", b"old"], 0),
        ([b"new", b"new", b"new"], 1),
        ([b"half", b"new", b"new", b"new"], 1),  # the half-written file was valid, and is never used
        ([b"half", b"new", b"other", b"old"], 0),
        ([b"", b"", b"new", b"", b"new"], 0),  # taken away and put back, as editors do
        ([b"new", b"new", b"newer", b"newer"], 2),
    ],
)
async def test_a_file_is_read_after_two_equal_looks(tmp_path: Path, monkeypatch, looks, reloads):
    (tmp_path / "routing.yaml").write_text(HEAD + CANARY)
    proxy = await asyncio.to_thread(app.App, tmp_path / "routing.yaml", False)
    proxy.loaded_fingerprint = b"old"
    seen, done, ended = iter(looks), [], asyncio.Event()

    def look() -> bytes:
        found = next(seen, None)
        if found is None:
            ended.set()
            return proxy.loaded_fingerprint
        return bytes(found)

    async def reload(actor: str) -> None:
        done.append(actor)
        proxy.loaded_fingerprint = looks[looks.index(b"new") if len(done) == 1 else -1]

    monkeypatch.setattr(app, "WATCH", 0.001)
    monkeypatch.setattr(proxy, "fingerprint", look)
    monkeypatch.setattr(proxy, "try_reload", reload)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(proxy.follow_configuration())
        await ended.wait()
        following.cancel()
    assert done == ["file"] * reloads
