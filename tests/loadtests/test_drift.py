"""The simulation of drift: its windows are what the observer counts, and its worlds say what they are."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.quality.sketch import Sketch
from loadtests.drift import WORLDS, World, line, reference, run, window

BY_NAME = {world.name: world for world in WORLDS}


def test_a_window_has_the_counts_of_a_sketch():
    profile = reference(np.random.default_rng(1))
    found = window(World("some", 200, missing=0.5), profile, np.random.default_rng(2))
    sketch = Sketch()
    for i in range(200):
        sketch.add_row(profile, {"a": i / 100, "b": 0.1, "c": 0.1, "d": 1.0, "kind": "x"})
    for name, counts in sketch.fields.items():
        assert len(found.fields[name].counts) == len(counts.counts)
        assert found.fields[name].n + found.fields[name].missing == 200
    assert 60 < found.fields["a"].missing < 140


def test_at_the_tolerance_there_is_no_alarm():
    assert run(BY_NAME["each share is off by the tolerance"], 1, 40) == (0, None)


@pytest.mark.parametrize("world", [world for world in WORLDS if world.shift >= 0.5 or world.unseen])
def test_drift_is_found_within_some_windows(world):
    alarms, first = run(world, 2, 40)
    assert alarms == 1
    assert first is not None and first <= 20


def test_lines_have_the_numbers():
    text = line(World("moved", 400, shift=1.0), 1)
    assert text.startswith("| moved | 400 | 10 runs | found after 1 windows")
