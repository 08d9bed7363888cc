"""Compares ways to serve a model, before and after, under users of Locust: `python -m loadtests.serving`.

Micro-batching in the model server, a response cache in the proxy, and one endpoint beside two. All ways of a question run during all its rounds, which are
interleaved (A B C A B C …), so that noise of the machine affects them equally; the tables show medians.

CPU is that of the proxy and the model servers together, for one request.

Without --json the result is written to loadtests/results, and its tables into docs/serving-performance.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from loadtests.accounting import cpu_seconds, memory_mib
from loadtests.bench import describe_machine
from loadtests.command import exit_code_of, positive, say
from loadtests.generators import run_generator
from loadtests.proxies import COMPILED
from loadtests.report import RESULTS, Load, Result, Sample, Settings, write_json
from loadtests.serving_table import BEGIN, END, ServingReport, render
from loadtests.serving_ways import QUESTIONS, Question, Served, start, train
from loadtests.tables import with_table
from loadtests.work import Cores, pick_cores

PAGE = Path(__file__).parents[1] / "docs" / "serving-performance.md"
_USERS = Path(__file__).with_name("serving_users.py")
_LOADS: tuple[Load, ...] = ("saturated", "paced")


def _load_of(served: Served, question: Question, load: Load, users: int, seconds: int) -> list[str]:
    rate = question.rate / users if load == "paced" else 0
    return [
        *("env", f"CROSSFADE_SERVING_ROWS={question.rows}", f"CROSSFADE_SERVING_RATE={rate}"),
        *(sys.executable, "-m", "locust", "-f", str(_USERS), "--headless", "--only-summary"),
        *("--loglevel", "ERROR", "--exit-code-on-error", "0", "-H", f"http://127.0.0.1:{served.port}"),
        *("-u", str(users), "-r", str(users), "-t", f"{seconds}s"),
    ]


def measure(served: Served, question: Question, load: Load, settings: Settings, cores: Cores) -> Sample:
    """One round of one way."""
    memory: list[float] = []

    def read_memory() -> None:
        memory.append(sum(map(memory_mib, served.pids)))

    command = _load_of(served, question, load, settings.connections, settings.seconds)
    before = sum(map(cpu_seconds, served.pids))
    found = run_generator(command, settings.seconds, cores.load, read_memory)
    cpu = sum(map(cpu_seconds, served.pids)) - before
    return Sample(
        cpu_us=round(cpu / found.requests * 1e6, 1),
        per_second=round(found.requests / found.seconds, 1),
        busy=round(cpu / found.seconds, 3),
        p50_us=found.p50_us,
        p99_us=found.p99_us,
        memory_mib=round(memory[0], 1),
        errors=found.errors,
        cached=round(found.cached / found.requests, 4),
    )


def answer(question: Question, registry: Path, folder: Path, settings: Settings) -> list[Result]:
    """Of each way and load. Raises BenchError."""
    cores = pick_cores() if question.pinned else Cores(frozenset(), frozenset())
    results = []
    with ExitStack() as stack:
        running = []
        for number, way in enumerate(question.ways):
            own = folder / f"{question.name}-{number}"
            own.mkdir()
            running.append(start(way, registry, own, cores.proxy, stack))
        for served in running:
            say(f"{question.name}: {served.name} warms up")
            measure(served, question, "saturated", settings, cores)
        for load in _LOADS:
            of_load = [Result(question.name, load, served.name, []) for served in running]
            for n in range(settings.rounds):
                for served, result in zip(running, of_load, strict=True):
                    say(f"{question.name}, {load}, round {n + 1} of {settings.rounds}: {served.name}")
                    result.samples.append(measure(served, question, load, settings, cores))
            results += of_load
    return results


def bench(names: Sequence[str], settings: Settings) -> ServingReport:
    """Raises BenchError. All processes that it starts have ended when it returns or raises."""
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory(prefix="crossfade-serving-") as name:
        folder = Path(name)
        registry = folder / "models"
        train(registry)
        results = [
            result
            for question in QUESTIONS
            if question.name in names
            for result in answer(question, registry, folder, settings)
        ]
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return ServingReport(date, describe_machine(pick_cores(), load), settings, COMPILED.is_dir(), results)


def publish(report: ServingReport, file: Path | None) -> None:
    """Writes to the file, or to the results folder and the page."""
    rendered = render(report)
    if file is None:
        file = RESULTS / f"serving-{re.sub('[^0-9T]', '', report.date[:19])}.json"
        PAGE.write_text(with_table(PAGE.read_text(), rendered, BEGIN, END))
    write_json(report, file)
    print(rendered)
    say(f"written to {file}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [question.name for question in QUESTIONS]
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.serving", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=positive, default=5, help="duration of each round (%(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, help="(%(default)s)")
    parser.add_argument("--users", type=positive, default=32, help="users of Locust (%(default)s)")
    parser.add_argument("--only", action="append", choices=names, help="only this; may be repeated")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the result to this file, and do not change the page"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    settings = Settings(options.seconds, options.rounds, options.users, "Locust")
    return exit_code_of(
        lambda: publish(
            bench(options.only or [question.name for question in QUESTIONS], settings), options.json
        )
    )


if __name__ == "__main__":
    sys.exit(main())
