"""`python -m tests.soak --minutes 30 [--seed N]`: the whole proxy under faults drawn at random from a seed.

Ends with "0 violations" and exit code 0, or lists each violation with the time and what was done before it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from tests.soak.record import Violation
from tests.soak.run import Soak

TOLD = 12  # actions before a violation
MOST = 10  # violations of each law that are listed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", default="", help="names of faults, with commas between")
    parser.add_argument("--without", default="", help="names of faults, with commas between")
    parser.add_argument("--keep", type=Path, help="a folder for the state and the logs")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10_000) if args.seed is None else args.seed
    only, without = set(filter(None, args.only.split(","))), set(args.without.split(","))
    print(f"soak: {args.minutes:g} minutes, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="crossfade-soak-") as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, seed, lambda name: name not in without and (not only or name in only))
        violations = uvloop.run(soak.run(args.minutes * 60))
    report(soak, violations)
    return 1 if violations else 0


def report(soak: Soak, violations: list[Violation]) -> None:
    record = soak.record
    told = 0.0  # up to where the actions have been told
    for violation in shown(violations):
        print(
            f"\nlaw {violation.law} at +{violation.at - record.begun:.1f} s (seed {soak.seed}): {violation.what}"
        )
        before = [each for each in record.actions if told < each[0] <= violation.at][-TOLD:]
        for at, what in before:
            print(f"    +{at - record.begun:7.1f} s  {what}")
        told = violation.at
    ends = Counter(str(request.end) for request in record.requests.values())
    statuses = Counter(request.status for request in record.requests.values() if request.status)
    print(f"\n{len(record.requests)} requests: {dict(ends)}; statuses {dict(sorted(statuses.items()))}")
    print(
        f"{len(soak.decisions)} decisions; {len(record.edits)} edits; acts: {dict(sorted(soak.drawn.items()))}"
    )
    print(f"by law: {dict(Counter(violation.law for violation in violations))}")
    print(f"{len(violations)} violations (seed {soak.seed})")


def shown(violations: list[Violation]) -> list[Violation]:
    """Of each law the first ones, in the order of their time."""
    of_law = Counter[str]()
    out = []
    for violation in violations:
        of_law[violation.law] += 1
        if of_law[violation.law] <= MOST:
            out.append(violation)
    return out


if __name__ == "__main__":
    sys.exit(main())
