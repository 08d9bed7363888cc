"""The results of a run of the benchmark, as values and as JSON.

Rule: the JSON has every round as it was measured; medians and ratios are computed when it is rendered.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

RESULTS = Path(__file__).with_name("results")
README = Path(__file__).with_name("README.md")

Load = Literal["saturated", "paced"]
Figure = Literal["cpu_us", "per_second", "p99_us"]


class Machine(msgspec.Struct):
    """`load`: the load average of the minute before the run, which shows other activity on the machine."""

    cpu: str
    cores: int
    pinned: bool
    kernel: str
    python: str
    load: float


class Settings(msgspec.Struct):
    """`seconds` of one phase; `connections` and `generator` of the saturating load."""

    seconds: int
    rounds: int
    connections: int
    generator: str


class Sample(msgspec.Struct):
    """One round. For a stream, the times are those to the first event; the other numbers are of the whole stream.

    `busy`: CPU time of the proxy's processes divided by wall time; `memory_mib`: halfway through the round;
    `cached`: the share of answers that came from a cache.
    Without a proxy, that is with requests directly to the origin, they are None.
    """

    cpu_us: float | None
    per_second: float
    busy: float | None
    p50_us: float
    p99_us: float
    memory_mib: float | None
    errors: int
    cached: float = 0.0


class Result(msgspec.Struct):
    """All rounds of one proxy with one kind of work and one kind of load."""

    work: str
    load: Load
    proxy: str
    samples: list[Sample]

    @property
    def median(self) -> Sample:
        """The median of each number separately; errors are summed."""

        def of(name: str) -> float | None:
            known = [number for sample in self.samples if (number := getattr(sample, name)) is not None]
            return median(known) if known else None

        return Sample(
            cpu_us=of("cpu_us"),
            per_second=of("per_second") or 0.0,
            busy=of("busy"),
            p50_us=of("p50_us") or 0.0,
            p99_us=of("p99_us") or 0.0,
            memory_mib=of("memory_mib"),
            errors=sum(sample.errors for sample in self.samples),
            cached=of("cached") or 0.0,
        )


class Comparison(msgspec.Struct):
    """Two ways to run crossfade. The goal: the ratio changed ÷ base of `figure` is at most, or at least, `goal`."""

    name: str
    figure: Figure
    goal: float
    at_most: bool
    remark: str
    base: Result
    changed: Result

    @property
    def ratio(self) -> float:
        return self.value(self.changed) / self.value(self.base)

    @property
    def held(self) -> bool:
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def value(self, result: Result) -> float:
        return float(getattr(result.median, self.figure))


class Report(msgspec.Struct):
    """`date` in ISO 8601, UTC; `versions` and `idle_mib` by proxy; `absent`: proxies that are not installed."""

    date: str
    machine: Machine
    settings: Settings
    versions: dict[str, str]
    absent: list[str]
    idle_mib: dict[str, float]
    results: list[Result]
    comparisons: list[Comparison]


def write_json(report: msgspec.Struct, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_json(file: Path) -> Report:
    return msgspec.json.decode(file.read_bytes(), type=Report)


def newest(folder: Path = RESULTS, names: str = "bench-*.json") -> Path | None:
    """The last by name, because the names contain the date."""
    return max(folder.glob(names), default=None)
