"""The file that the proxy follows: it is believed after two equal looks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crossfade.workers import config_file
from crossfade.workers.config_file import ConfigFile


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
async def test_a_file_is_read_after_two_equal_looks(
    monkeypatch: pytest.MonkeyPatch, looks: list[bytes], reloads: int
) -> None:
    done: list[str] = []

    async def reload(actor: str) -> None:
        done.append(actor)
        file.loaded = looks[looks.index(b"new") if len(done) == 1 else -1]

    file = ConfigFile("routing.yaml", reload)
    file.loaded = b"old"
    seen, ended = iter(looks), asyncio.Event()

    def look() -> bytes:
        found = next(seen, None)
        if found is None:
            ended.set()
            return file.loaded
        return bytes(found)

    monkeypatch.setattr(config_file, "WATCH", 0.001)
    monkeypatch.setattr(file, "fingerprint", look)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(file.follow())
        await ended.wait()
        following.cancel()
    assert done == ["file"] * reloads


def test_the_content_counts_and_what_cannot_be_read_is_no_content(tmp_path: Path) -> None:
    async def reload(actor: str) -> None:
        raise AssertionError

    path = tmp_path / "routing.yaml"
    file = ConfigFile(str(path), reload)
    assert file.fingerprint() == b""
    path.write_text("a")
    file.look()
    (tmp_path / "other").write_text("a")
    (tmp_path / "other").replace(path)
    assert file.fingerprint() == file.loaded != b""
    path.write_text("b")
    assert file.fingerprint() != file.loaded
