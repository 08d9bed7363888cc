"""What the proxy costs beside others that do the same work: `python -m loadtests.bench`.

CPU time per request, throughput, and times at a calm pace, of crossfade, nginx, HAProxy and a plain
aiohttp proxy, all in one run. All of them run from beginning to end, and the rounds are interleaved
(A B C D A B C D …), so that noise on the machine hits all alike; the table shows medians.

Without --json the result goes to loadtests/results and its table into loadtests/README.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.accounting import cpu_seconds
from loadtests.contestants import MAKERS, Contestant, is_present
from loadtests.equivalence import check_equivalence
from loadtests.ports import free_ports
from loadtests.pressure import generator, press
from loadtests.processes import BenchError, child, wait_until_answering
from loadtests.report import (
    README,
    RESULTS,
    Machine,
    Report,
    Result,
    Sample,
    Settings,
    render,
    with_table,
    write_json,
)
from loadtests.work import WORKS, Cores, Work, pick_cores

CALM_CONNECTIONS = 2
WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant that is running as process `pid`."""

    contestant: Contestant
    pid: int


def start(names: Iterable[str], cores: Cores, folder: Path, stack: ExitStack) -> list[Entrant]:
    """The origins and all contestants, answering and found to do the same work."""
    ports = free_ports(2)
    origins = dict(zip("ab", ports, strict=True))
    argv = [sys.executable, "-m", "loadtests.peers.origin", *(f"{n}={p}" for n, p in origins.items())]
    log = folder / "origins.log"
    process = stack.enter_context(child(argv, cores.load, log))
    for port in ports:
        wait_until_answering(process, port, log)
    entrants = []
    for name in names:
        place = folder / name
        place.mkdir()
        contestant = MAKERS[name](place, origins)
        log = place / "printed.log"
        process = stack.enter_context(child(contestant.argv, cores.proxy, log))
        wait_until_answering(process, contestant.port, log)
        check_equivalence(contestant.name, contestant.port)
        entrants.append(Entrant(contestant, process.pid))
    return entrants


def measure(entrant: Entrant, work: Work, settings: Settings, cores: Cores) -> Sample:
    """One round of one proxy at one work."""
    port, seconds = entrant.contestant.port, settings.seconds
    calm = press(port, work, settings.calm_connections, seconds, cores.load)
    before = cpu_seconds(entrant.pid)
    full = press(port, work, settings.connections, seconds, cores.load)
    cpu = cpu_seconds(entrant.pid) - before
    return Sample(
        cpu_us=round(cpu / full.requests * 1e6, 3),
        per_second=round(full.requests / full.seconds, 1),
        busy=round(cpu / full.seconds, 4),
        p50_us=calm.p50_us,
        p99_us=calm.p99_us,
        errors=calm.errors + full.errors,
    )


def run_rounds(
    entrants: list[Entrant], works: Sequence[Work], settings: Settings, cores: Cores
) -> list[Result]:
    results = [Result(work.name, e.contestant.name, []) for work in works for e in entrants]
    for work in works:
        mine = [result for result in results if result.work == work.name]
        for entrant in entrants:
            press(entrant.contestant.port, work, settings.connections, WARM_UP_SECONDS, cores.load)
        for n in range(settings.rounds):
            for entrant, result in zip(entrants, mine, strict=True):
                say(f"{work.name}, round {n + 1} of {settings.rounds}: {result.proxy}")
                result.samples.append(measure(entrant, work, settings, cores))
    return results


def bench(names: Sequence[str], works: Sequence[Work], settings: Settings) -> Report:
    """Raises BenchError; whatever happens, nothing that was started outlives this call."""
    present = [name for name in names if is_present(name)]
    cores = pick_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfade-bench-")))
        entrants = start(present, cores, folder, stack)
        results = run_rounds(entrants, works, settings, cores)
    return Report(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(cores),
        settings=settings,
        versions={e.contestant.name: e.contestant.version for e in entrants},
        absent=[name for name in names if name not in present],
        results=results,
    )


def describe_machine(cores: Cores) -> Machine:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cpu=found[1] if found else platform.machine(),
        cores=os.cpu_count() or 1,
        pinned=bool(cores.proxy),
        kernel=".".join(platform.release().split(".")[:2]),
        python=platform.python_version(),
    )


def say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def publish(report: Report, file: Path | None) -> None:
    """Into the file, or into the results folder and the README."""
    rendered = render(report)
    if file is None:
        file = RESULTS / f"bench-{re.sub('[^0-9T]', '', report.date[:19])}.json"
        README.write_text(with_table(README.read_text(), rendered))
    write_json(report, file)
    print(rendered)
    say(f"written to {file}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--seconds", type=positive, default=3, help="of each phase of each round (%(default)s)"
    )
    parser.add_argument("--rounds", type=positive, default=5, help="(%(default)s)")
    parser.add_argument("--connections", type=positive, default=64, help="when saturating (%(default)s)")
    parser.add_argument("--only", action="append", choices=MAKERS, help="one proxy; may be repeated")
    parser.add_argument(
        "--work", choices=[work.name for work in WORKS], help="one kind of work instead of all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write there, and leave the README alone")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = Settings(options.seconds, options.rounds, options.connections, CALM_CONNECTIONS, generator())
    works = [work for work in WORKS if options.work in (None, work.name)]
    # So that TERM unwinds the stack as Ctrl-C does, and nothing is left running.
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        publish(bench(options.only or list(MAKERS), works, settings), options.json)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, former)
    return 0


if __name__ == "__main__":
    sys.exit(main())
