"""Crossfade beside itself: what a mirror, a key in the body and a second worker cost or bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.contestant import Origins
from loadtests.contestants import crossfade
from loadtests.measure import measure, start, warm_up
from loadtests.report import Comparison, Figure, Load, Result, Settings
from loadtests.work import Cores, pick_cores, work_named

ROUNDS = 5  # at least; two proxies take little time, and differences of some percent need many looks
WORKERS_NEED = 4  # cores: two for the proxy, and as many for load and origins


@dataclass(frozen=True, slots=True)
class Question:
    """`changed`: options of `contestants.crossfade`. `goal` is of changed ÷ base."""

    name: str
    base_title: str
    changed_title: str
    changed: Mapping[str, Any]
    load: Load
    figure: Figure
    goal: float
    at_most: bool = True
    remark: str = ""


MIRROR = Question(
    "mirror", "no mirror", "all requests mirrored", {"mirrored": True}, "paced", "p99_us", goal=1.05,
    remark="the mirror's origin shares a core with the load",
)  # fmt: skip
STICKY = Question(
    "sticky", "key in a header", "key in the JSON body", {"sticky": "json: customer_id"}, "saturated",
    "cpu_us", goal=1.3,
)  # fmt: skip
WORKERS = Question(
    "workers", "one worker", "two workers, a core for each", {"workers": 2}, "saturated", "per_second",
    goal=1.8, at_most=False,
)  # fmt: skip
# Twice the workers at 1/0.9 of the cost for each request would be 1.8 times the throughput, were there cores.
WORKERS_ON_ONE_CORE = Question(
    "workers", "one worker", "two workers on one core", {"workers": 2}, "saturated", "cpu_us", goal=1 / 0.9,
    remark=f"this machine has fewer than {WORKERS_NEED} cores, so throughput of two workers cannot be shown",
)  # fmt: skip
NAMES = ("mirror", "sticky", "workers")


def questions(names: Sequence[str], available: set[int]) -> list[tuple[Question, Cores]]:
    """Each with the cores on which it can be answered."""
    cores = pick_cores(available)
    enough = len(available) >= WORKERS_NEED
    workers = (WORKERS, pick_cores(available, 2)) if enough else (WORKERS_ON_ONE_CORE, cores)
    return [each for each in ((MIRROR, cores), (STICKY, cores), workers) if each[0].name in names]


def compare(
    question: Question, origins: Origins, settings: Settings, cores: Cores, folder: Path
) -> Comparison:
    """Both run all the while, and take turns."""
    work = work_named("json")
    with ExitStack() as stack:
        entrants, results = [], []
        options: list[tuple[str, Mapping[str, Any]]]
        options = [(question.base_title, {}), (question.changed_title, question.changed)]
        for n, (title, chosen) in enumerate(options):
            place = folder / f"{question.name}-{n}"
            place.mkdir()
            entrants.append(start(crossfade(place, origins, **chosen), cores, place, stack))
            results.append(Result(work.name, question.load, title, []))
        for entrant in entrants:
            warm_up(entrant, work, question.load, settings, cores)
        for _ in range(max(settings.rounds, ROUNDS)):
            for entrant, result in zip(entrants, results, strict=True):
                result.samples.append(measure(entrant, work, question.load, settings, cores))
    base, changed = results
    return Comparison(
        question.name, question.figure, question.goal, question.at_most, question.remark, base, changed
    )
