"""What failed, in words: kinds of errors and rejections with their counts, and evidence as odds.

Rule: an operator who is woken by a reason must not need to know a stage's name or what a log e-value is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from crossfade.errors import Stage

_SHOWN = 4  # kinds; the others are summed
_MOST = 1e9  # beyond it, odds are only said to be more
_STAGES: dict[str, str] = {
    Stage.NO_ENDPOINT: "no endpoint up",
    Stage.CONNECT: "no connection",
    Stage.TLS: "TLS handshake failed",
    Stage.STALE: "connection closed",
    Stage.RESET: "connection closed",
    Stage.FIRST_BYTE: "first-byte timeout",
    Stage.PROTOCOL: "invalid HTTP",
    Stage.BODY: "answer cut short",
    Stage.TOTAL: "total timeout",
}


def tally(kinds: Mapping[str, int]) -> str:
    """As `9 × HTTP 500, 5 × first-byte timeout`, the most frequent first; empty if there are none."""
    named: dict[str, int] = {}
    for kind, n in kinds.items():
        name = f"HTTP {kind}" if kind.isdigit() else _STAGES.get(kind, kind.replace("_", " "))
        named[name] = named.get(name, 0) + n
    ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{n} × {name}" for name, n in ordered[:_SHOWN]]
    rest = sum(n for _, n in ordered[_SHOWN:])
    return ", ".join([*parts, f"{rest} × other"] if rest else parts)


def odds(log_e: float) -> str:
    """A log e-value as the chance of so much evidence against a challenger that keeps the limit: `1 in 200 000`."""
    times = exp(min(max(log_e, 0.0), 40.0))
    if times >= _MOST:
        return f"less than 1 in {_grouped(_MOST)}"
    return f"1 in {_grouped(times)}"


def _grouped(number: float) -> str:
    """Two digits and zeros, in groups of three: `210 000`."""
    return f"{round(float(f'{number:.2g}')):,}".replace(",", " ")


def evidence_in_words(evidence: float, bound: float) -> str:
    """How far a check is from a FAIL; both are log e-values."""
    if evidence >= bound:
        return f"proven at {odds(evidence)}; the limit is {odds(bound)}"
    if evidence <= 0:
        return f"no evidence of it; a FAIL needs {odds(bound)}"
    return f"{odds(evidence)} so far; a FAIL needs {odds(bound)}"


def where(step: int, steps: int) -> str:
    """The part of the rollout whose requests are counted."""
    return "in the watch" if step >= steps else f"in step {step + 1} of {steps}"
