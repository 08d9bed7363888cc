"""False alarms of drift, and how soon real drift is found, in simulated months of windows.

    python -m loadtests.drift                 prints a table
    python -m loadtests.drift --months 20     with so many months of each world

Each run draws a reference of its own, makes its profile, and gives windows to the proxy's own detectors
(`quality.monitor`): five fields of three kinds, all independent. A month is 720 windows of an hour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from crossfade.quality.monitor import Comparison, Monitor, add_window
from crossfade.quality.profile import NumberField, Profile
from crossfade.quality.profiling import profile_of
from crossfade.quality.sketch import FieldCounts, Sketch

MONTH = 720  # windows
REFERENCE = 10_000  # rows
TOLERANCE = 0.05
SEED = 20_261_127
AT_TOLERANCE = 0.12537  # a shift by so many standard deviations moves the median's share by 5 %
NUMBERS = ("a", "b", "c", "d")


class World(NamedTuple):
    """`shift`: of field a, in standard deviations; `everywhere`: of b, c and d too. `missing`: share of a. `unseen`: of the category."""

    name: str
    rows: int
    shift: float = 0.0
    everywhere: bool = False
    missing: float = 0.0
    unseen: float = 0.0

    @property
    def is_drift(self) -> bool:
        return self.shift > AT_TOLERANCE or self.missing > TOLERANCE or self.unseen > TOLERANCE


WORLDS = (
    World("nothing has changed", 400),
    World("nothing has changed, few rows", 20),
    World("each share is off by the tolerance", 400, shift=AT_TOLERANCE, everywhere=True),
    World("each share is off by the tolerance, many rows", 4000, shift=AT_TOLERANCE, everywhere=True),
    World("one of five fields moved by 0.3 sd", 400, shift=0.3),
    World("one of five fields moved by 0.5 sd", 400, shift=0.5),
    World("one of five fields moved by 1 sd", 400, shift=1.0),
    World("10 % of one field missing", 400, missing=0.1),
    World("15 % unseen values of a category", 400, unseen=0.15),
)


def reference(draw: Generator) -> Profile:
    columns = {name: draw.normal(size=REFERENCE) for name in NUMBERS}
    columns["d"] = np.floor(columns["d"])  # few values, so many ties
    kinds = draw.choice(["x", "y", "z"], REFERENCE, p=[0.5, 0.3, 0.2])
    rows = [
        {**{name: float(columns[name][i]) for name in NUMBERS}, "kind": str(kinds[i])}
        for i in range(REFERENCE)
    ]
    return profile_of(rows)


def window(world: World, profile: Profile, draw: Generator) -> Sketch:
    """What the observer would count of so many rows."""
    sketch = Sketch(world.rows)
    for name in NUMBERS:
        values = draw.normal(size=world.rows)
        if name == "a" or world.everywhere:
            values += world.shift
        if name == "d":
            values = np.floor(values)
        missing = int(draw.binomial(world.rows, world.missing)) if name == "a" else 0
        field = profile.fields[name]
        assert isinstance(field, NumberField)
        bins = np.searchsorted(field.cuts, values[missing:], side="left")
        counts = np.bincount(bins, minlength=len(field.counts))
        sketch.fields[name] = FieldCounts(counts.tolist(), missing)
    names = list(profile.fields["kind"].counts)  # type: ignore[union-attr]
    shares = {"x": 0.5, "y": 0.3, "z": 0.2}
    known = [shares[name] * (1 - world.unseen) for name in names]
    sketch.fields["kind"] = FieldCounts(draw.multinomial(world.rows, [*known, world.unseen]).tolist())
    return sketch


def run(world: World, seed: int, windows: int) -> tuple[int, int | None]:
    """(alarms, the window of the first one)."""
    draw = np.random.default_rng([SEED, seed])
    profile, monitor = reference(draw), Monitor()
    given = Comparison(profile, 3600.0, TOLERANCE)
    first = None
    for slot in range(windows + 1):
        if add_window(monitor, slot, window(world, profile, draw), given, 3600.0 * slot) and first is None:
            first = slot
            if world.is_drift:
                break
    return sum(monitor.raised.values()), first


def line(world: World, months: int) -> str:
    if world.is_drift:
        found = [run(world, seed, MONTH)[1] or MONTH for seed in range(10 * months)]
        return f"| {world.name} | {world.rows} | {len(found)} runs | found after {median(found):g} windows, at most {max(found)} |"
    alarms = [run(world, seed, MONTH)[0] for seed in range(months)]
    return f"| {world.name} | {world.rows} | {months} months | {sum(alarms)} alarms |"


def main(arguments: Sequence[str] | None = None, out: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.drift", description=__doc__.partition("\n")[0])
    parser.add_argument("--months", type=int, default=10)
    options = parser.parse_args(arguments)
    out("| world | rows of a window | simulated | |\n|---|---:|---:|---|")
    for world in WORLDS:
        out(line(world, options.months))
    return 0


if __name__ == "__main__":
    sys.exit(main())
