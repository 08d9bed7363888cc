"""Several processes charge one bucket: together they get its burst, to the last token."""

from __future__ import annotations

import subprocess
import sys

from crossfade import shared_rates

PROCESSES = 3
EACH = 20_000

CHARGE = f"""
import sys
from crossfade.routing.rate import RateLimit
from crossfade.routing.snapshot import Rate, Sticky
from crossfade.shared_rates import SharedRates

limit = RateLimit(Rate(Sticky("client_ip"), 0.001, {EACH * PROCESSES // 2}), b"s")
rates = SharedRates(int(sys.argv[1]))
print(flush=True)
sys.stdin.readline()
print(sum(rates.charge(limit, b"k", 1.0) == 0.0 for _ in range({EACH})))
"""


def test_processes_that_charge_one_key_at_the_same_time_pass_exactly_its_burst() -> None:
    fd = shared_rates.new_memory()
    charging = [
        subprocess.Popen(
            [sys.executable, "-c", CHARGE, str(fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fd],
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in charging:
        assert process.stdout is not None
        process.stdout.readline()
    for process in charging:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    passed = [int(process.communicate()[0]) for process in charging]
    assert sum(passed) == EACH * PROCESSES // 2
    assert all(passed), "they did not charge at the same time"
