"""The access log of several workers: whole lines in one file, and no line is missing after a drain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Load, Model, Proxy, running


def json_lines(text: str) -> list[dict[str, Any]]:
    """Not those of the log, which has no ids of requests."""
    return [
        json.loads(line) for line in text.splitlines() if line.startswith('{"') and '"request_id"' in line
    ]


def content(file: Path) -> str:
    return file.read_text()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("to", ["stdout", "access.log"])
async def test_each_request_has_one_line_in_the_access_log(
    tmp_path: Path, models: dict[str, Model], to: str, workers: int
) -> None:
    file = tmp_path / to
    head = f"access_log: {{to: {to if to == 'stdout' else file}}}\n"
    proxy = Proxy(tmp_path, head + routing(models, "    split: {v2: 50%, v3: 50%}\n"), workers)
    async with running(proxy):
        async with Load(proxy.url) as load:
            await load.wait_for_answers(200)
        await proxy.stop()
        lines = json_lines(proxy.output if to == "stdout" else content(file))
    assert load.failures == []
    assert len(lines) == load.total
    for backend, count in load.answers.items():
        assert sum(line["answered_by"] == line["backend"] == backend for line in lines) == count
    assert all(line["status"] == 200 and line["keyed"] for line in lines)
    assert len({line["request_id"] for line in lines}) == load.total
