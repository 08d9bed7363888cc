"""Measures feedback: `crossfade feedback FILE` to a proxy whose prediction log has one prediction for each row.

    python -m loadtests.feedback
    python -m loadtests.feedback --rows 1000000 --kind key

Printed are the time, the CPU time and the peak memory of the control process and of the command, and how long the admin API
took at worst to answer a probe meanwhile: its loop is that of the health loop.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

from crossfade.control.database import open_database
from crossfade.control.prediction_tables import id_hash, prepare, signed
from crossfade.routing.ledger import hash_of, salt_of
from loadtests.ports import free_ports
from loadtests.processes import START_TIMEOUT, BenchError, child

CONFIG = """
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
workers: 1
state: sqlite:{folder}/state.db
backends:
  v2: {{endpoints: [http://127.0.0.1:9], health: false}}
routes:
  - {{name: churn, match: {{path: /predict}}, split: {{v2: 100%}}, feedback: {{horizon: 30d}}}}
"""
_BATCH = 10_000
_AGE = 3600.0  # seconds over which the predictions are spread, and since the last of them
_INSERT = (
    "INSERT INTO prediction (id_hash, request_id, backend, answered, role, ledger_version, key, at, logged_at, status, "
    "seconds, blamed, score) VALUES (?, ?, 1, 1, 'champion', 1, ?, ?, ?, 200, 0.01, 0, 0.5)"
)
_PROBE_EVERY = 0.05  # seconds


def fill(path: Path, rows: int, now: float) -> None:
    path.parent.mkdir()
    with closing(open_database(str(path))) as connection:
        prepare(connection, now)
        connection.execute("INSERT INTO backend (id, name) VALUES (1, 'v2')")
        numbers, salt = iter(range(rows)), salt_of("churn")
        while batch := list(islice(numbers, _BATCH)):
            connection.execute("BEGIN")
            connection.executemany(_INSERT, (_prediction(n, rows, now, salt) for n in batch))
            connection.execute("COMMIT")


def _prediction(n: int, rows: int, now: float, salt: bytes) -> tuple[object, ...]:
    at, request_id = now - _AGE * (2 - n / rows), b"%032x" % n
    return id_hash(request_id), request_id, signed(hash_of(b"%d" % (n % 100_000), salt)), at, at


def rows_of(kind: str, rows: int, now: float) -> Iterator[str]:
    """In random order, as labels come."""
    order = list(range(rows))
    random.Random(7).shuffle(order)
    for n in order:
        if kind == "id":
            yield f'{{"request_id":"{n:032x}","label":{n % 2}}}\n'
        else:
            at = now - _AGE * (2 - n / rows)
            yield f'{{"route":"churn","key":"{n % 100_000}","at":{at},"value":{n % 2}}}\n'


class Probed:
    """Seconds in which the admin API answered a probe, the longest."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.longest = 0.0

    def wait(self, proxy: subprocess.Popen[bytes], log: Path) -> None:
        """Until the proxy answers."""
        end = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.probe()
            except OSError:
                if proxy.poll() is not None or time.monotonic() > end:
                    raise BenchError(f"the proxy does not answer:\n{log.read_text()}") from None
                time.sleep(_PROBE_EVERY)
            else:
                self.longest = 0.0
                return

    def probe(self) -> None:
        began = time.monotonic()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        self.longest = max(self.longest, time.monotonic() - began)


def peak(pid: int) -> float:
    """The largest resident memory so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def cpu_of(pid: int) -> float:
    """User and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(kind: str, rows: int, folder: Path, stack: ExitStack) -> None:
    now = time.time()
    fill(folder / "state.db.predictions" / "churn.db", rows, now)
    file, config = folder / "labels.ndjson", folder / "routing.yaml"
    with file.open("w") as out:
        out.writelines(rows_of(kind, rows, now))
    port, admin = free_ports(2)
    config.write_text(CONFIG.format(port=port, admin=admin, folder=folder))
    log = folder / "log"
    proxy = stack.enter_context(
        child([sys.executable, "-m", "crossfade", "run", str(config)], frozenset(), log)
    )
    probed = Probed(admin)
    probed.wait(proxy, log)
    before, cpu = peak(proxy.pid), cpu_of(proxy.pid)
    words = ["-m", "crossfade", "feedback", str(file), "--admin", f"http://127.0.0.1:{admin}"]
    began, largest, used = time.monotonic(), 0.0, 0.0
    with subprocess.Popen([sys.executable, *words]) as command:
        while command.poll() is None:
            probed.probe()
            largest, used = _seen(command.pid, largest, used)
            time.sleep(_PROBE_EVERY)
    seconds = time.monotonic() - began
    cpu = cpu_of(proxy.pid) - cpu
    print(
        f"{rows} rows by {kind} in {seconds:.1f} s: {rows / seconds:.0f} a second; exit code {command.returncode}"
    )
    print(f"control process: {cpu:.1f} s of CPU, peak {peak(proxy.pid):.0f} MiB, {before:.0f} before")
    print(f"command: {used:.1f} s of CPU, peak {largest:.0f} MiB")
    print(f"longest answer to a probe: {probed.longest * 1000:.0f} ms")
    print(f"stored: {_stored(folder)}")


def _seen(pid: int, largest: float, used: float) -> tuple[float, float]:
    """Peak memory and CPU time of a process, or what they were when it had not ended."""
    try:
        return peak(pid), cpu_of(pid)
    except (OSError, IndexError):  # it has ended, and has no memory any more
        return largest, used


def _stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state.db.predictions" / "churn.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM feedback").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("id", "key"), default="id")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        measure(arguments.kind, arguments.rows, Path(folder), stack)


if __name__ == "__main__":
    main()
