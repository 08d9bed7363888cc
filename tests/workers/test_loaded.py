"""What a worker and the observer load: nothing of the configuration's models, the admin API or its packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import {module}, sys; print(*sys.modules)"


@pytest.mark.parametrize("module", ["crossfade.workers.worker", "crossfade.observer.process"])
def test_what_serves_and_what_observes_loads_no_package_of_the_control_process(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module)], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert {module, "msgspec"} <= loaded
    assert not loaded & {"aiohttp", "crossfade.config.section", "prometheus_client", "pydantic", "yaml"}
