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
