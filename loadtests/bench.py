"""What the proxy costs beside others that do the same work: `python -m loadtests.bench`.

CPU time per request, throughput, memory, and times at saturation and at a moderate rate, of crossfade, nginx,
HAProxy, Envoy, Traefik, Caddy and a plain aiohttp proxy, all in one run; and of crossfade beside itself. All
run from beginning to end, and the rounds are interleaved (A B C D A B C D …), so that noise on the machine
hits all alike; the tables show medians.

Without --json the result goes to loadtests/results and its tables into loadtests/README.md.
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
from datetime import UTC, datetime
from pathlib import Path

from loadtests import comparisons
from loadtests.contestant import Contestant, Origins
from loadtests.contestants import MAKERS, is_present
from loadtests.equivalence import check_equivalence
from loadtests.measure import DIRECT, Entrant, idle_memory, measure, start, start_origins, warm_up
from loadtests.pressure import generator
from loadtests.processes import BenchError
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


def enter(
    names: Iterable[str], origins: Origins, cores: Cores, folder: Path, stack: ExitStack
) -> tuple[list[Contestant], list[Entrant]]:
    """All contestants, answering and found to do the same work."""
    contestants, entrants = [], []
    for name in names:
        place = folder / name
        place.mkdir()
        contestant = MAKERS[name](place, origins)
        entrants.append(start(contestant, cores, place, stack))
        check_equivalence(contestant)
        contestants.append(contestant)
    return contestants, entrants


def run_rounds(
    work: Work, load: Load, entrants: list[Entrant], settings: Settings, cores: Cores
) -> list[Result]:
    results = [Result(work.name, load, entrant.name, []) for entrant in entrants]
    for entrant in entrants:
        warm_up(entrant, work, load, settings, cores)
    for n in range(settings.rounds):
        for entrant, result in zip(entrants, results, strict=True):
            say(f"{work.name}, {load}, round {n + 1} of {settings.rounds}: {result.proxy}")
            result.samples.append(measure(entrant, work, load, settings, cores))
    return results


def contest(
    names: Sequence[str], works: Sequence[Work], origins: Origins, settings: Settings, folder: Path
) -> tuple[dict[str, str], dict[str, float], list[Result]]:
    """Versions, idle memory and results. The origin itself is asked at the moderate rate, to compare with."""
    cores = pick_cores()
    direct = Entrant(DIRECT, origins["a"], None)
    results = []
    with ExitStack() as stack:
        contestants, entrants = enter(names, origins, cores, folder, stack)
        idle = dict(idle_memory(entrants))
        for work in works:
            if not work.stream:
                results += run_rounds(work, "saturated", entrants, settings, cores)
            results += run_rounds(work, "paced", [direct, *entrants], settings, cores)
    return {c.name: c.version for c in contestants}, idle, results


def bench(names: Sequence[str], parts: Sequence[str], settings: Settings) -> Report:
    """Raises BenchError; whatever happens, nothing that was started outlives this call."""
    load = round(os.getloadavg()[0], 2)
    present = [name for name in names if is_present(name)]
    for name in names:
        if name not in present:
            say(f"ABSENT: {name} is neither on the PATH nor beside this Python, and is not measured")
    works = [work for work in WORKS if work.name in parts]
    compared: list[Comparison] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfade-bench-")))
        origins = start_origins(pick_cores(), folder, stack)
        versions, idle, results = contest(present, works, origins, settings, folder)
        for question, cores in comparisons.questions(parts, os.sched_getaffinity(0)):
            say(f"compared: {question.changed_title} with {question.base_title}")
            compared.append(comparisons.compare(question, origins, settings, cores, folder))
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


def build() -> str:
    """Whose the interpreter is: a distribution's, made with profiles, takes a quarter less time than a plain one."""
    return "(the distribution's build)" if sys.base_prefix == "/usr" else "(not the distribution's build)"


def describe_machine(cores: Cores, load: float) -> Machine:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cpu=found[1] if found else platform.machine(),
        cores=os.cpu_count() or 1,
        pinned=bool(cores.proxy),
        kernel=".".join(platform.release().split(".")[:2]),
        python=f"{platform.python_version()} {build()}",
        load=load,
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
    parser.add_argument("--rounds", type=positive, default=3, help="(%(default)s)")
    parser.add_argument("--connections", type=positive, default=64, help="when saturating (%(default)s)")
    parser.add_argument("--only", action="append", choices=MAKERS, help="one proxy; may be repeated")
    parser.add_argument(
        "--work", action="append", choices=PARTS, help="one kind of work, or one comparison; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write there, and leave the README alone")
    return parser.parse_args(arguments)


PARTS = [*(work.name for work in WORKS), *comparisons.NAMES]


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    settings = Settings(options.seconds, options.rounds, options.connections, generator())
    # So that TERM unwinds the stack as Ctrl-C does, and nothing is left running.
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        publish(bench(options.only or list(MAKERS), options.work or PARTS, settings), options.json)
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
