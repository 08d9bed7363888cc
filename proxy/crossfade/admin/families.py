"""Families of metrics: a name, a description, label names, and a sample for each set of label values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from crossfade.stats.histogram import Histogram

Labels = tuple[str, ...]


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
) -> Metric:
    """`edges`: of the buckets, in seconds, rising."""
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, held in samples:
        buckets = [("+Inf" if edge == inf else str(edge), n) for edge, n in held.cumulative(edges)]
        family.add_metric(values, buckets, sum_value=held.total)
    return family
