"""Families of metrics: a name, a description, label names, and a sample for each set of label values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from prometheus_client import samples as samples_of
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from crossfade.stats.counts import Exemplar
from crossfade.stats.histogram import Histogram

Labels = tuple[str, ...]
Traced = Mapping[tuple[str, str, str], Exemplar]  # by label values
NOTHING_TRACED: Traced = {}


def counter(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def gauge(name: str, about: str, labels: list[str], samples: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def histogram(
    name: str,
    about: str,
    labels: list[str],
    samples: Iterable[tuple[Labels, Histogram]],
    edges: Sequence[float],
    traced: Traced = NOTHING_TRACED,
) -> Metric:
    """`edges`: of the buckets, in seconds, rising. `traced`: the latest duration that has a trace, which OpenMetrics names."""
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, held in samples:
        found = traced.get((values[0], values[1], values[2])) if traced else None
        buckets: list[Any] = []
        for edge, n in held.cumulative(edges):
            bucket = ("+Inf" if edge == inf else str(edge), n)
            if found is not None and found.seconds <= edge:
                named = samples_of.Exemplar({"trace_id": found.trace_id}, found.seconds, found.at)
                buckets.append((*bucket, named))
                found = None
            else:
                buckets.append(bucket)
        family.add_metric(values, buckets, sum_value=held.total)
    return family
