"""Ripe predictions: those as old as the route's `horizon`, with the feedback that they have then.

Rule: a prediction enters the evidence once, when it is ripe, and never again: the same age of feedback on both sides, so a young
challenger is not judged by what is known soonest. `Evidence.fed_to` says how far the evidence has come. It is saved with the
evidence, so after a crash nothing counts twice and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossfade.quality.answer import Decision


class Said(NamedTuple):
    """What an answer said. `label`: yes or no where the route has a threshold and the answer a score."""

    score: float | None
    label: Decision | None


class Ripe(NamedTuple):
    """One ripe prediction. `seq`: its place in the log. `backend`: the one assigned, under this ledger version.

    `unit`: the 64-bit hash of the sticky key (`keyed`), or of the request's id. `said`: by the assigned backend; None where
    another one answered, or none. `copies`: by backend, what answers to mirrored copies said.
    """

    seq: int
    version: int
    backend: str
    unit: int
    keyed: bool = False
    feedback: Mapping[str, float | str] = {}
    said: Said | None = None
    copies: Mapping[str, Said] = {}


class Portion(NamedTuple):
    """The ripe predictions with `after` < seq ≤ `upto`, in order of seq, of the ledger versions that were asked for."""

    after: int
    upto: int
    rows: Sequence[Ripe] = ()
