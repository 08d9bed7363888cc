"""Compares the cost of the proxy with other proxies at the same work: `python -m loadtests.bench`.

It measures CPU time per request, throughput, memory and latency, at saturation and at a moderate rate, of
crossfade, nginx, HAProxy, Envoy, Traefik, Caddy and a plain aiohttp proxy in one run; and it compares
crossfade with itself under other settings. All proxies run during the whole bench. The rounds are interleaved
(A B C D A B C D …), so that noise of the machine affects all proxies equally; the tables show medians.

Without --json the result is written to loadtests/results and its tables into loadtests/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from loadtests import comparisons
from loadtests.command import exit_code_of, positive, say
from loadtests.equivalence import check_equivalence
from loadtests.generators import generator
from loadtests.measure import DIRECT, Target, idle_memory, measure, start, start_origins, warm_up
from loadtests.measured_proxy import MeasuredProxy, Origins
from loadtests.proxies import MAKERS, is_present
from loadtests.report import (
    README,
    RESULTS,
    Comparison,
    Load,
    Machine,
    Report,
    Result,
    Settings,
    write_json,
)
from loadtests.tables import render, with_table
from loadtests.work import WORKS, Cores, Work, pick_cores


def start_all(
    names: Iterable[str], origins: Origins, cores: Cores, folder: Path, stack: ExitStack
) -> tuple[list[MeasuredProxy], list[Target]]:
    """Starts the proxies and checks that each does the same work."""
    proxies, targets = [], []
    for name in names:
        own_folder = folder / name
        own_folder.mkdir()
        proxy = MAKERS[name](own_folder, origins)
        targets.append(start(proxy, cores, own_folder, stack))
        check_equivalence(proxy)
        proxies.append(proxy)
    return proxies, targets


def _run_rounds(
    work: Work, load: Load, targets: list[Target], settings: Settings, cores: Cores
) -> list[Result]:
    results = [Result(work.name, load, target.name, []) for target in targets]
    for target in targets:
        warm_up(target, work, load, settings, cores)
    for n in range(settings.rounds):
        for target, result in zip(targets, results, strict=True):
            say(f"{work.name}, {load}, round {n + 1} of {settings.rounds}: {result.proxy}")
            result.samples.append(measure(target, work, load, settings, cores))
    return results


def _measure_proxies(
    names: Sequence[str], works: Sequence[Work], origins: Origins, settings: Settings, folder: Path
) -> tuple[dict[str, str], dict[str, float], list[Result]]:
    """Versions, idle memory and results. At the moderate rate the origin is measured without a proxy too."""
    cores = pick_cores()
    direct = Target(DIRECT, origins["a"], None)
    results = []
    with ExitStack() as stack:
        proxies, targets = start_all(names, origins, cores, folder, stack)
        idle = dict(idle_memory(targets))
        for work in works:
            if not work.stream:
                results += _run_rounds(work, "saturated", targets, settings, cores)
            results += _run_rounds(work, "paced", [direct, *targets], settings, cores)
    return {c.name: c.version for c in proxies}, idle, results


def bench(names: Sequence[str], parts: Sequence[str], settings: Settings) -> Report:
    """Raises BenchError. All processes that it starts have ended when it returns or raises."""
    load = round(os.getloadavg()[0], 2)
    present = [name for name in names if is_present(name)]
    for name in names:
        if name not in present:
            say(f"ABSENT: {name} is not on the PATH and not installed with this Python; it is not measured")
    works = [work for work in WORKS if work.name in parts]
    compared: list[Comparison] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfade-bench-")))
        origins = start_origins(pick_cores(), folder, stack)
        versions, idle, results = _measure_proxies(present, works, origins, settings, folder)
        for spec, cores in comparisons.specs(parts, os.sched_getaffinity(0)):
            say(f"comparing: {spec.changed_title} with {spec.base_title}")
            compared.append(comparisons.compare(spec, origins, settings, cores, folder))
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(pick_cores(), load),
        settings=settings,
        versions=versions,
        absent=[name for name in names if name not in present],
        idle_mib=idle,
        results=results,
        comparisons=compared,
    )


def _python_build() -> str:
    """A distribution's interpreter, built with profiles (PGO), takes a quarter less time than a plain build."""
    return "(the distribution's build)" if sys.base_prefix == "/usr" else "(not the distribution's build)"


def describe_machine(cores: Cores, load: float) -> Machine:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cpu=found[1] if found else platform.machine(),
        cores=os.cpu_count() or 1,
        pinned=bool(cores.proxy),
        kernel=".".join(platform.release().split(".")[:2]),
        python=f"{platform.python_version()} {_python_build()}",
        load=load,
    )


def publish(report: Report, file: Path | None) -> None:
    """Writes to the file, or to the results folder and the README."""
    rendered = render(report)
    if file is None:
        file = RESULTS / f"bench-{re.sub('[^0-9T]', '', report.date[:19])}.json"
        README.write_text(with_table(README.read_text(), rendered))
    write_json(report, file)
    print(rendered)
    say(f"written to {file}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--seconds", type=positive, default=3, help="duration of each phase of each round (%(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=3, help="(%(default)s)")
    parser.add_argument(
        "--connections", type=positive, default=64, help="connections of the saturating load (%(default)s)"
    )
    parser.add_argument(
        "--only", action="append", choices=MAKERS, help="measure only this proxy; may be repeated"
    )
    parser.add_argument(
        "--work",
        action="append",
        choices=_PARTS,
        help="run only this kind of work or comparison; may be repeated",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the result to this file, and do not change the README",
    )
    return parser.parse_args(arguments)


_PARTS = [*(work.name for work in WORKS), *comparisons.NAMES]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    settings = Settings(options.seconds, options.rounds, options.connections, generator())
    return exit_code_of(
        lambda: publish(bench(options.only or list(MAKERS), options.work or _PARTS, settings), options.json)
    )


if __name__ == "__main__":
    sys.exit(main())
