"""Pairs on disk: what a proxy that ended leaves, and what one leaves whose processes were all killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from pyarrow.parquet import read_table

from tests.scenarios.harness import Load, Proxy, running, wait_until
from tests.scenarios.test_disagreement import STICKY, always_200
from tests.scenarios.test_evidence import fake_backends

KEEPING = """\
    split: {{v2: 100%}}
    prediction: {{score: out.p, decision: 0.5, segment: [{{json: customer_id}}]}}
    mirror: {{to: v3, noise: 50%, safe: true}}
    keep: {{dir: "{folder}", max: 16MiB}}
"""


def score(backend: str, customer: int) -> float:
    return 0.9 if backend == "v3" else 0.1


def is_kept(folder: Path) -> bool:
    """Of the file that is being written; what is renamed meanwhile is none."""
    for file in folder.glob("*.jsonl.part"):
        with suppress(FileNotFoundError):
            if file.stat().st_size:
                return True
    return False


async def test_pairs_are_parquet_when_the_proxy_has_ended_and_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    async with fake_backends(always_200, score) as backends:
        proxy = Proxy(tmp_path, backends.replace(STICKY, "") + KEEPING.format(folder=folder))
        async with running(proxy), Load(proxy.url, customers=4):
            await wait_until(lambda: is_kept(folder), "the first pair")
            os.kill(observer_of(proxy.child.pid), signal.SIGKILL)
            # the next observer finishes what that one began
            await wait_until(lambda: list(folder.glob("*.parquet")), "the first file of Parquet")
            await wait_until(lambda: is_kept(folder), "pairs of the next observer")
    assert {file.suffix for file in folder.iterdir()} == {".parquet"}
    tables = [read_table(file).to_pylist(maps_as_pydicts="strict") for file in folder.iterdir()]
    assert len(tables) >= 2
    for row in [row for table in tables for row in table]:
        assert (row["champion"], row["challenger"], row["changed"]) == ("v2", "v3", True)
        assert row["segments"]["json customer_id"] in ("0", "1", "2", "3")
        assert "0.1" in row["champion_body"] and "0.9" in row["challenger_body"]


def observer_of(pid: int) -> int:
    """The process of the observer, a child of this one."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"observer" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError("no observer")
