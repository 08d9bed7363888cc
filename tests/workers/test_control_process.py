"""What the control process loads: with workers, nothing of the data plane."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN_UNTIL_READY = """
import sys
from pathlib import Path

import uvloop

from crossfade.app import App


class StopsWhenReady(App):
    def announce(self, *given):
        super().announce(*given)
        self.stopping.set()


uvloop.run(StopsWhenReady(Path(sys.argv[1]), False).run())
print(*sorted(name for name in sys.modules if name.startswith("crossfade.dataplane")))
"""
CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
state: "sqlite:{place}/state.db"
workers: {workers}
backends: {{v2: {{endpoints: [http://127.0.0.1:1], health: false}}}}
routes: [{{name: churn, match: {{path: /}}, split: {{v2: 100%}}}}]
"""


@pytest.mark.parametrize(("workers", "loads"), [(1, False), (0, True)])
def test_the_control_process_loads_the_data_plane_only_without_workers(
    workers: int, loads: bool, tmp_path: Path
) -> None:
    config = tmp_path / "routing.yaml"
    config.write_text(CONFIG.format(workers=workers, place=tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", RUN_UNTIL_READY, config],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("crossfade.dataplane.exchange" in done.stdout.split()) is loads
    assert bool(done.stdout.split()) is loads


FAIL_WHEN_READY = """
import asyncio, sys
from crossfade import app
from crossfade.workers.pool import WorkerPool

ready = asyncio.Event()


async def watch(pool):
    await ready.wait()
    raise RuntimeError("a fault of ours")


class TellsWhenReady(app.App):
    def announce(self, *given):
        super().announce(*given)
        print(*[status.pid for status in self.serving.seam.workers()], flush=True)
        ready.set()


WorkerPool.watch = watch
app.App = TellsWhenReady
sys.exit(app.serve(sys.argv[1]))
"""


def test_a_supervision_that_fails_ends_the_proxy_in_good_order_and_says_so(tmp_path: Path) -> None:
    config = tmp_path / "routing.yaml"
    config.write_text(CONFIG.format(workers=2, place=tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", FAIL_WHEN_READY, config],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "crossfade: the workers are no longer supervised: RuntimeError('a fault of ours')" in done.stderr
    assert "draining" in done.stderr
    assert len(done.stdout.split()) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in done.stdout.split())
    assert (tmp_path / "state.db.lock").read_text() == ""
