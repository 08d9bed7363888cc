"""How fast is a prediction log, and how large? `python -m loadtests.prediction_log --rows 10000000` takes about a quarter of an hour.

    python -m loadtests.prediction_log                       a million rows
    python -m loadtests.prediction_log --folder /mnt/disk    on that disk

The first and the last rows are written as the control process writes them: in batches of what comes in a tick, each a
transaction that is on the disk when it ends; half of the outputs come with the rows, half in the next tick. Then feedback is joined by request id, each
row to a random prediction, and the log is read and pruned. CPU is of the whole process: the writing thread is all it has.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from crossfade.control import feedback_tables, prediction_tables
from crossfade.control.prediction_export import Asked, Bounds, bounds, page
from crossfade.control.prediction_retention import Retention, file_size_of, prune
from crossfade.control.prediction_rows import add_rows
from crossfade.control.prediction_tables import newest_until
from crossfade.quality.feedback import Feedback, Limits
from crossfade.quality.logged import (
    LoggedExchange,
    LoggedOutput,
    batch_of_exchanges,
    batch_of_outputs,
    exchanges_in,
    outputs_in,
)
from crossfade.routing.ledger import hash_of, salt_of

T = TypeVar("T")
NOW = 1_800_000_000.0
SALT = salt_of("churn")
CUSTOMERS = 1_000_000
MEASURED, FILLED = 250_000, 50_000
CHUNK = 1_000  # rows of feedback in one transaction
LIMITS = Limits(604_800.0, 86_400.0)


def request_id(number: int) -> bytes:
    return b"%032x" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128))


def exchange(number: int, at: float) -> LoggedExchange:
    backend, role = ("v3", "challenger") if number % 10 == 0 else ("v2", "champion")
    key = hash_of(b"c-%d" % (number * 7919 % CUSTOMERS), SALT)
    return LoggedExchange(request_id(number), at, backend, role, 7, key, 200, 0.0123, backend)


def output(number: int) -> LoggedOutput:
    return LoggedOutput(
        request_id(number), "v3" if number % 10 == 0 else "v2", number % 997 / 997, "low", ("DE",)
    )


class Log:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        prediction_tables.prepare(self.connection, NOW)

    def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self.connection.execute("BEGIN IMMEDIATE")
        found = work(self.connection)
        self.connection.execute("COMMIT")
        return found

    def write(self, first: int, n: int) -> None:
        """One tick: so many exchanges, the outputs of half of them, and those of half of the tick before."""
        now = NOW + first / 1000
        rows = batch_of_exchanges("churn", [exchange(first + number, now) for number in range(n)])
        with_them = [output(number) for number in range(first, first + n // 2)]
        later = [output(number) for number in range(max(first - n // 2, 0), first)]
        said = batch_of_outputs("churn", later + with_them)
        self.transaction(lambda log: add_rows(log, exchanges_in(rows), outputs_in(said), now))

    def fill(self, first: int, until: int) -> None:
        """Not as the proxy writes: in large transactions, for which nobody waits until they are on the disk."""
        self.connection.execute("PRAGMA synchronous = OFF")
        for at in range(first, until, FILLED):
            self.write(at, min(FILLED, until - at))
        self.connection.execute("PRAGMA synchronous = FULL")

    def join(self, ids: Sequence[bytes], now: float) -> None:
        rows = [Feedback(each, "label", 1) for each in ids]
        self.transaction(lambda log: feedback_tables.store(log, rows, now, LIMITS, SALT, False))

    def read(self, asked: Asked, most: int) -> int:
        """Rows that were read as lines of JSON."""
        within = bounds(self.connection, asked)
        after, n = within.after, 0
        while n < most:
            lines, next_one = page(self.connection, asked, Bounds(after, within.last), 500)
            n += lines.count(b"\n")
            if next_one is None:
                break
            after = next_one
        return n


class Took:
    wall = cpu = 0.0


@contextmanager
def timed() -> Iterator[Took]:
    took, wall, cpu = Took(), time.perf_counter(), time.process_time()
    yield took
    took.wall, took.cpu = time.perf_counter() - wall, time.process_time() - cpu


def say(what: str, n: int, took: Took) -> None:
    print(
        f"{what:<44} {n / took.wall:>10,.0f} a second   CPU {1e6 * took.cpu / n:6.1f} µs   {took.wall:8.2f} s",
        flush=True,
    )


def measure(path: Path, rows: int, tick: int) -> None:
    log = Log(path)
    part = min(rows // 2, MEASURED)
    with timed() as took:
        for at in range(0, part, tick):
            log.write(at, tick)
    say("written into an empty log", part, took)
    log.fill(part, rows - part)
    with timed() as took:
        for at in range(rows - part, rows, tick):
            log.write(at, tick)
    say(f"written into a log of {rows - part:,} rows", part, took)
    size = file_size_of(log.connection)
    print(f"file: {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row")
    newest, drawn = NOW + rows / 1000, random.Random(1)
    labels = min(100_000, rows // 2)
    with timed() as took:
        for _ in range(0, labels, CHUNK):
            log.join([request_id(drawn.randrange(rows)) for _ in range(CHUNK)], newest)
    say(f"feedback joined to any of {rows:,} rows", labels, took)
    with timed() as took:
        n = log.read(Asked(), 100_000)
    say("read as lines of JSON", n, took)
    with timed() as took:
        newest_until(log.connection, NOW + rows / 2000)
    say("a place by its time", 1, took)
    with timed() as took:
        pruned = log.transaction(
            lambda each: prune(each, Retention(1.0, 600.0, 1 << 50), newest + 1e9, 5_000)
        )
    say("a portion of the oldest deleted", pruned.rows, took)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.prediction_log", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--tick", type=int, default=2_500, help="rows in one transaction: 10 000 requests a second"
    )
    parser.add_argument("--folder", help="on the disk to be measured")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder) / "churn.db", options.rows, options.tick)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
