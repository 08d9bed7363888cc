"""Pairs of a churn model and a challenger, drawn: what the challenger does in one segment, and how noisy both are."""

from __future__ import annotations

from random import Random

from crossfade.quality.compared import Compared
from crossfade.quality.table import ComparisonTable

BEGUN = 1_790_000_000.0  # seconds since the epoch
NOISE = 0.1  # share of requests that the champion is asked twice


class World:
    """`shift`: added to the challenger's scores in the segment `plan: pro`. `jitter`: of every answer of both models."""

    def __init__(
        self, shift: float = 0.0, jitter: float = 0.0, errors: float = 0.0, decides: bool = True
    ) -> None:
        self.shift, self.jitter, self.errors, self.decides = shift, jitter, errors, decides

    def pair(self, draw: Random, i: int) -> Compared:
        true, plan = draw.betavariate(2, 3), draw.choices(["basic", "pro", "trial"], [6, 3, 1])[0]
        ours = self.answer(draw, true, 0.0)
        theirs = self.answer(draw, true, self.shift if plan == "pro" else 0.0)
        again = self.answer(draw, true, 0.0) if draw.random() < NOISE else None
        failed = draw.random() < self.errors
        raised = theirs >= 0.5
        return Compared(
            request_id=f"{draw.getrandbits(64):016x}",
            at=BEGUN + i,
            key=draw.getrandbits(64),
            changed=self.decides and (failed or (ours >= 0.5) != raised),
            raised=None if failed or not self.decides else raised,
            distance=1.0 if failed else abs(ours - theirs),
            missing=failed,
            noise_changed=None if again is None or not self.decides else (ours >= 0.5) != (again >= 0.5),
            noise_distance=None if again is None else abs(ours - again),
            champion_score=ours,
            challenger_score=None if failed else theirs,
            champion_decision=self.decision(ours),
            challenger_decision="" if failed else self.decision(theirs),
            live_seconds=draw.lognormvariate(-4, 0.3),
            copy_seconds=draw.lognormvariate(-3.8, 0.3),
            second_seconds=None if again is None else draw.lognormvariate(-4, 0.3),
            segments=(plan, draw.choice(["DE", "FR", "PL", ""])),
            fields=("churn_probability", "model.version") if ours != theirs else ("model.version",),
            noise_fields=() if again is None or again == ours else ("churn_probability",),
            champion=f'{{"churn_probability": {ours:.4f}}}',
            challenger="status" if failed else f'{{"churn_probability": {theirs:.4f}}}',
            copy_failed=failed,
            decided=self.decides,
        )

    def answer(self, draw: Random, true: float, shift: float) -> float:
        return min(max(true + shift + (draw.gauss(0, self.jitter) if self.jitter else 0.0), 0.0), 1.0)

    def decision(self, score: float) -> str:
        return ("true" if score >= 0.5 else "false") if self.decides else ""


def table_of(world: World, n: int, seed: int = 1) -> ComparisonTable:
    draw, out = Random(seed), ComparisonTable()
    for i in range(n):
        out.add(world.pair(draw, i), NOISE)
    return out
