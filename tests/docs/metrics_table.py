"""docs/metrics.md: every metric of the page, with its type and labels, as the code describes it.

How many series a label makes is in that page too, by hand: a test asks for each label that a metric has.
"""

from __future__ import annotations

import asyncio
import os

from prometheus_client.core import Metric

from crossfade.admin.access import Access
from crossfade.admin.metrics import families_of
from crossfade.admin.probes import Probes
from crossfade.control.seam import WorkerStatus
from tests.admin.site import Reloads
from tests.control.harness import Harness


async def _collected() -> list[Metric]:
    harness = Harness()
    await harness.load()
    worker = WorkerStatus(0, os.getpid(), True, 1, 0, 0.0, {})
    harness.seam.workers = lambda: [worker]  # type: ignore[method-assign]  # one that /proc knows
    probes = Probes(harness.views, Reloads(harness), {}, Access.of_token(""))
    found = [*await probes.other_families(), *families_of(harness.views.metrics(harness.now))]
    harness.store.close()
    return found


def families() -> list[Metric]:
    """Sorted by name, `process_…` last."""
    return sorted(
        asyncio.run(_collected()), key=lambda each: (not each.name.startswith("crossfade"), each.name)
    )


def labels_of(family: Metric) -> list[str]:
    """Those of its samples; of a family without one now, those that it was made with."""
    made: list[str] = list(getattr(family, "_labelnames", ()))
    return made or sorted({label for sample in family.samples for label in sample.labels if label != "le"})


def _row(family: Metric) -> str:
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in labels_of(family)) or "–"
    about = family.documentation.replace("|", "\\|")
    return f"| `{name}` | {family.type} | {labels} | {about} |"


def table() -> str:
    head = "| metric | type | labels | is |"
    return "\n".join([head, "|---|---|---|---|", *map(_row, families())])
