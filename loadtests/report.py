"""What a run of the benchmark found, as values, as JSON and as a table.

Rule: the JSON holds each round as it was measured; medians and ratios are worked out when it is shown.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import msgspec

from loadtests.work import WORKS

RESULTS = Path(__file__).with_name("results")
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# Below this, not the proxy but the load or the origins were the limit.
SATURATED = 0.9
REFERENCE = "nginx"


class Machine(msgspec.Struct):
    cpu: str
    cores: int
    pinned: bool
    kernel: str
    python: str


class Settings(msgspec.Struct):
    """`seconds` of one phase; `connections` of the throughput phase, `calm_connections` of the latency phase."""

    seconds: int
    rounds: int
    connections: int
    calm_connections: int
    generator: str


class Sample(msgspec.Struct):
    """One round: CPU and throughput from the saturating phase, times from the calm one.

    `busy` is the CPU time of the proxy's processes in the saturating phase by its wall time.
    """

    cpu_us: float
    per_second: float
    busy: float
    p50_us: float
    p99_us: float
    errors: int


class Result(msgspec.Struct):
    """All rounds of one proxy at one work."""

    work: str
    proxy: str
    samples: list[Sample]

    @property
    def median(self) -> Sample:
        """Of each number by itself; errors are added up."""
        middle = {
            name: median(getattr(sample, name) for sample in self.samples)
            for name in ("cpu_us", "per_second", "busy", "p50_us", "p99_us")
        }
        return Sample(**middle, errors=sum(sample.errors for sample in self.samples))


class Report(msgspec.Struct):
    """`date` in ISO 8601, UTC; `versions` by proxy; `absent` the proxies that are not on the PATH."""

    date: str
    machine: Machine
    settings: Settings
    versions: dict[str, str]
    absent: list[str]
    results: list[Result]


def write_json(report: Report, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_json(file: Path) -> Report:
    return msgspec.json.decode(file.read_bytes(), type=Report)


def newest(folder: Path = RESULTS) -> Path | None:
    """File names hold the date, so the last one is the newest."""
    return max(folder.glob("bench-*.json"), default=None)


def render(report: Report) -> str:
    """Markdown that reads as well in a terminal."""
    machine, settings = report.machine, report.settings
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    where = "the proxy on one core, load and origins on another" if machine.pinned else "not pinned to cores"
    lines = [
        f"{report.date[:10]}: {versions}; Python {machine.python}, Linux {machine.kernel},",
        f"{machine.cores} cores of {machine.cpu}; {where}.",
        f"Medians of {settings.rounds} interleaved rounds, {settings.seconds} s for each phase, load by "
        f"{settings.generator}: {settings.connections} connections for CPU and throughput, "
        f"{settings.calm_connections} for the times.",
    ]
    if report.absent:
        lines.append(f"Absent (not on the PATH): {', '.join(report.absent)}.")
    for work in WORKS:
        results = [result for result in report.results if result.work == work.name]
        if results:
            lines += ["", f"**{work.title}**", "", *table(results)]
    return "\n".join(lines)


def table(results: list[Result]) -> list[str]:
    reference = next((result.median for result in results if result.proxy == REFERENCE), None)
    header = [
        "proxy",
        "CPU µs/request",
        "÷ nginx",
        "requests/s",
        "÷ nginx",
        "p50 µs",
        "p99 µs",
        "core busy",
        "failed",
    ]
    return aligned([header, *(row(result.proxy, result.median, reference) for result in results)])


def row(proxy: str, middle: Sample, reference: Sample | None) -> list[str]:
    floor = "" if middle.busy >= SATURATED else "≥ "
    return [
        proxy,
        f"{middle.cpu_us:.1f}",
        f"{middle.cpu_us / reference.cpu_us:.2f}" if reference else "–",
        f"{floor}{middle.per_second:,.0f}",
        f"{middle.per_second / reference.per_second:.2f}" if reference else "–",
        f"{middle.p50_us:,.0f}",
        f"{middle.p99_us:,.0f}",
        f"{middle.busy:.0%}",
        str(middle.errors),
    ]


def aligned(rows: list[list[str]]) -> list[str]:
    """A markdown table: the first column to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    first, *rest = widths
    rule = [":" + "-" * (first - 1), *("-" * (width - 1) + ":" for width in rest)]
    lines = [
        [cells[0].ljust(first), *(cell.rjust(width) for cell, width in zip(cells[1:], rest, strict=True))]
        for cells in [rows[0], rule, *rows[1:]]
    ]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def with_table(readme: str, rendered: str) -> str:
    """The text with what is between the marks replaced; raises ValueError if a mark is missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{rendered}\n{END}{after}"
