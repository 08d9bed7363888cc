"""Faults that can be switched on at run time, to test how a proxy handles a failing model.

Faults affect predictions only. Health, metrics and the fault API stay correct, except that
`unhealthy` makes the health checks fail.

Rule: one draw decides how a prediction ends (error, hang, cut or answer), so the shares are
exact and add up to at most 1. All draws come from one generator, which can be seeded.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from crossfade_backends.data import FloatArray


def _share_of_bool(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


# A share of predictions in 0..1; `true` is 1.
FaultShare = Annotated[float, BeforeValidator(_share_of_bool), Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, le=600_000)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Constant(Strict):
    distribution: Literal["constant"]
    mean_ms: Milliseconds

    def draw_ms(self, generator: random.Random) -> float:
        return self.mean_ms


class Uniform(Strict):
    """Between mean − spread and mean + spread."""

    distribution: Literal["uniform"]
    mean_ms: Milliseconds
    spread_ms: Milliseconds

    @model_validator(mode="after")
    def check_spread(self) -> Self:
        if self.spread_ms > self.mean_ms:
            raise ValueError("spread_ms is larger than mean_ms: latency would be negative")
        return self

    def draw_ms(self, generator: random.Random) -> float:
        return generator.uniform(self.mean_ms - self.spread_ms, self.mean_ms + self.spread_ms)


class LogNormal(Strict):
    """`sigma` is the standard deviation of the logarithm; mu follows from mean = exp(mu + sigma²/2)."""

    distribution: Literal["lognormal"]
    mean_ms: Milliseconds
    sigma: Annotated[float, Field(gt=0, le=3)]

    def draw_ms(self, generator: random.Random) -> float:
        return generator.lognormvariate(math.log(self.mean_ms) - self.sigma**2 / 2, self.sigma)


class Exponential(Strict):
    distribution: Literal["exponential"]
    mean_ms: Milliseconds

    def draw_ms(self, generator: random.Random) -> float:
        return generator.expovariate(1 / self.mean_ms)


Latency = Annotated[Constant | Uniform | LogNormal | Exponential, Field(discriminator="distribution")]


class Faults(Strict):
    """The body of `PUT /faults`; a field that is left out is off."""

    latency: Latency | None = None
    error_share: FaultShare = 0.0
    error_status: Annotated[int, Field(ge=400, le=599)] = 500
    hang: FaultShare = 0.0
    cut: FaultShare = 0.0
    # Scores are inverted (1 − p), or moved by score_shift and kept within 0..1.
    wrong_scores: FaultShare = 0.0
    score_shift: Annotated[float, Field(ge=-1, le=1)] | None = None
    unhealthy: bool = False
    # The process exits as soon as `drop_dead` is set; with `answer_first` it answers the PUT before.
    drop_dead: bool = False
    answer_first: bool = False

    @model_validator(mode="after")
    def check_total_share(self) -> Self:
        # The tolerance is for rounding: in floating point 0.1 + 0.2 + 0.7 is more than 1.
        if (total := self.error_share + self.hang + self.cut) > 1 + 1e-9:
            raise ValueError(f"error_share, hang and cut add up to {total:g}, more than 1")
        return self


class Ending(Enum):
    ANSWER = auto()
    ERROR = auto()
    HANG = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class FaultDraw:
    """The faults drawn for one prediction. `delay` is in seconds."""

    ending: Ending
    delay: float = 0.0
    wrong: bool = False
    shift: float | None = None

    def distort(self, scores: FloatArray) -> FloatArray:
        if not self.wrong:
            return scores
        return 1 - scores if self.shift is None else (scores + self.shift).clip(0, 1)


def draw_faults(faults: Faults, generator: random.Random) -> FaultDraw:
    ending = draw_ending(faults, generator.random())
    wrong = generator.random() < faults.wrong_scores
    delay = faults.latency.draw_ms(generator) / 1000 if faults.latency else 0.0
    return FaultDraw(ending, delay, wrong, faults.score_shift)


def draw_ending(faults: Faults, draw: float) -> Ending:
    """The ending for `draw`, uniform in [0, 1); each ending has an interval as wide as its share."""
    for ending, share in (
        (Ending.ERROR, faults.error_share),
        (Ending.HANG, faults.hang),
        (Ending.CUT, faults.cut),
    ):
        if draw < share:
            return ending
        draw -= share
    return Ending.ANSWER


class FaultSwitch:
    """The current faults, and the event that hanging predictions wait for."""

    def __init__(self, seed: int | None = None) -> None:
        self.generator = random.Random(seed)
        self.released = asyncio.Event()
        self.replace(Faults())

    def replace(self, faults: Faults) -> None:
        self.faults = faults
        if faults.hang:
            self.released.clear()
        else:
            self.released.set()

    def draw(self) -> FaultDraw:
        return draw_faults(self.faults, self.generator)
