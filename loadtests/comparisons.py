"""Compares crossfade with itself: with a mirror, with a sticky key in the body, and with two workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.measure import measure, start, warm_up
from loadtests.measured_proxy import Origins
from loadtests.proxies import crossfade
from loadtests.report import Comparison, Figure, Load, Result, Settings
from loadtests.work import Cores, pick_cores, work_named

ROUNDS = 5  # at least: a difference of a few percent needs many rounds, and two proxies are measured quickly
_CORES_FOR_TWO_WORKERS = 4  # two for the proxy, two for load and origins


@dataclass(frozen=True, slots=True)
class ComparisonSpec:
    """`changed`: options of `proxies.crossfade`. `goal` is a bound for the ratio changed ÷ base."""

    name: str
    base_title: str
    changed_title: str
    changed: Mapping[str, Any]
    load: Load
    figure: Figure
    goal: float
    at_most: bool = True
    remark: str = ""


MIRROR = ComparisonSpec(
    "mirror", "no mirror", "all requests mirrored", {"mirrored": True}, "paced", "p99_us", goal=1.05,
    remark="the mirror's origin shares a core with the load",
)  # fmt: skip
STICKY = ComparisonSpec(
    "sticky", "key in a header", "key in the JSON body", {"sticky": "json: customer_id"}, "saturated",
    "cpu_us", goal=1.3,
)  # fmt: skip
WORKERS = ComparisonSpec(
    "workers", "one worker", "two workers, a core for each", {"workers": 2}, "saturated", "per_second",
    goal=1.8, at_most=False,
)  # fmt: skip
# With enough cores, two workers at 1/0.9 of the cost per request have 1.8 times the throughput.
WORKERS_ON_ONE_CORE = ComparisonSpec(
    "workers", "one worker", "two workers on one core", {"workers": 2}, "saturated", "cpu_us", goal=1 / 0.9,
    remark=f"this machine has fewer than {_CORES_FOR_TWO_WORKERS} cores, so the throughput of two workers cannot be measured",
)  # fmt: skip
NAMES = ("mirror", "sticky", "workers")


def specs(names: Sequence[str], available: set[int]) -> list[tuple[ComparisonSpec, Cores]]:
    """The comparisons with these names that this machine can run, and the cores for each."""
    cores = pick_cores(available)
    enough = len(available) >= _CORES_FOR_TWO_WORKERS
    workers = (WORKERS, pick_cores(available, 2)) if enough else (WORKERS_ON_ONE_CORE, cores)
    return [each for each in ((MIRROR, cores), (STICKY, cores), workers) if each[0].name in names]


def compare(
    spec: ComparisonSpec, origins: Origins, settings: Settings, cores: Cores, folder: Path
) -> Comparison:
    """Both proxies run during the whole comparison; the rounds are interleaved."""
    work = work_named("json")
    with ExitStack() as stack:
        targets, results = [], []
        options: list[tuple[str, Mapping[str, Any]]]
        options = [(spec.base_title, {}), (spec.changed_title, spec.changed)]
        for n, (title, chosen) in enumerate(options):
            own_folder = folder / f"{spec.name}-{n}"
            own_folder.mkdir()
            targets.append(start(crossfade(own_folder, origins, **chosen), cores, own_folder, stack))
            results.append(Result(work.name, spec.load, title, []))
        for target in targets:
            warm_up(target, work, spec.load, settings, cores)
        for _ in range(max(settings.rounds, ROUNDS)):
            for target, result in zip(targets, results, strict=True):
                result.samples.append(measure(target, work, spec.load, settings, cores))
    base, changed = results
    return Comparison(spec.name, spec.figure, spec.goal, spec.at_most, spec.remark, base, changed)
