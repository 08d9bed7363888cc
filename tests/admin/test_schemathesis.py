"""The admin API does what its document says, for whatever schemathesis makes up: all checks on.

Left out is the stream of events, whose answer has no end; tests/admin/test_events.py has it.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from crossfade.admin.access import Access
from crossfade.config.admin import AdminConfig
from tests.admin.site import FILE, serving

TOKEN = "a-token-that-is-long-enough"
KNOWN = Path(__file__).with_name("schemathesis.toml")
RICH = FILE.replace(
    "    fallback: v2\n",
    "    fallback: v2\n    prediction: {score: p, decision: 0.5}\n    feedback: {horizon: 100s}\n    drift: {window: 60s}\n",
)


async def test_the_api_is_what_its_document_says(tmp_path: Path) -> None:
    config, minutes = AdminConfig(token=TOKEN), count(0.0, 60.0)  # so that no wrong token slows the next one
    async with serving(access=Access(lambda: config, now=lambda: next(minutes))) as site:
        site.reloads.file = RICH
        order = site.reloads.order("file")
        await site.reloads.configurations.reload(site.harness.controller, site.reloads.use, order)
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", str(KNOWN), "run"),
            *(f"{site.url}/openapi.json", "--checks=all", "--phases=examples,coverage,fuzzing"),
            *("--max-examples=3", "--seed=15", "--generation-deterministic", "--no-color"),
            *(
                "--exclude-path=/api/v1/events",
                "--request-timeout=30",
                f"--header=Authorization: Bearer {TOKEN}",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert "Tested: " in said.decode()
