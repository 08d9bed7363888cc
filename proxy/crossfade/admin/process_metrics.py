"""Metrics of the processes: `process_…` of the control process, `crossfade_worker_process_…` of each worker.

Rule: they are read from /proc in a thread, before the page is made, since reading may block. On a system without /proc
there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric


def read_processes(workers: Mapping[str, int]) -> list[Metric]:
    """`workers`: process ids by the name of the worker."""
    found: dict[str, Metric] = {}
    for worker, pid in workers.items():
        for metric in _collected("crossfade_worker", pid):
            family = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"worker": worker}, sample.value)
    return [*_collected("", "self"), *found.values()]


def _collected(namespace: str, pid: int | str) -> Iterable[Metric]:
    collector = ProcessCollector(namespace=namespace, pid=lambda: pid, registry=None)
    return collector.collect()
