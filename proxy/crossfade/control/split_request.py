"""A split that an operator asks for by command or API: weights for all backends that have traffic, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum

from crossfade.config import split
from crossfade.config.model import Config
from crossfade.config.problem import BadValue
from crossfade.control.refusal import Invalid
from crossfade.routing.ledger import Ledger

_ROUNDING = 1e-9  # shares in binary floating point rarely add up to 1 exactly


def requested_weights(weights: Mapping[str, float], ledger: Ledger, config: Config) -> dict[str, int]:
    """Out of 10 000, those with a weight only. Plain weights in any unit, or shares that add up to 1.

    Raises Invalid, also where a backend that has traffic is not named: a weight that was forgotten would move its customers.
    """
    unknown = [name for name in weights if name not in config.backends]
    if unknown:
        raise Invalid(f"no backend is called {unknown[0]}")
    try:
        exact = split.weights({name: split.term(weight) for name, weight in weights.items()})
    except BadValue as error:
        raise Invalid(f"the split {error.message}") from None
    left_out = [name for name, weight in ledger.weights.items() if weight and name not in weights]
    if left_out:
        names = " and ".join(left_out)
        raise Invalid(
            f"the split must name each backend that has traffic: {names} is left out; give it a weight, or 0"
        )
    total = fsum(weights.values())
    in_shares = any(0 < weight < 1 for weight in weights.values()) and max(weights.values()) <= 1
    if in_shares and abs(total - 1) > _ROUNDING:
        raise Invalid(f"the split must add up to 1, not {total:.10g}, if it is in shares")
    return {name: weight for name, weight in exact.items() if weight}
