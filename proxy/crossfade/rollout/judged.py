"""One answer and its label → a number: whether the answer was right, or how far it was from the label.

Rule: both sides, and both answers of a mirrored pair, are judged by this function alone.
"""

from __future__ import annotations

from math import log

from crossfade.quality.answer import Decision
from crossfade.rollout.plan import Check
from crossfade.rollout.ripe import Said
from crossfade.scale import LEAST_CHANCE

YES = 0.5  # a label from here on says yes

Label = float | str


def number_of(check: Check, said: Said | None, label: Label) -> float | str | None:
    """None: the answer says too little to be judged. A text: the label, where the metric cannot use it.

    accuracy: 1 for a right answer, else 0. brier: (score − label)². log_loss: −log of the chance given to the label, at least
    LEAST_CHANCE. mae: |score − label|. auc: the label, as only groups of answers have a number.
    """
    if said is None:
        return None
    if check.metric == "accuracy":
        return _is_right(said.label, label)
    if said.score is None:
        return None
    if isinstance(label, str):
        return label
    if check.metric == "mae":
        return abs(said.score - label)
    if not 0 <= label <= 1:
        return f"{label:.10g}"
    if check.metric == "auc":
        return label
    if check.metric == "brier":
        return (said.score - label) ** 2
    chance = min(max(said.score, LEAST_CHANCE), 1 - LEAST_CHANCE)
    return -(label * log(chance) + (1 - label) * log(1 - chance))


def _is_right(answer: Decision | None, label: Label) -> float | str | None:
    """An answer of yes or no is right where the label says the same; another one where it equals the label."""
    if answer is None:
        return None
    if isinstance(answer, bool):
        return label if isinstance(label, str) else float(answer == (label >= YES))
    return float(_text(answer) == _text(label))


def _text(value: Decision | Label) -> str:
    """The same for 1, 1.0 and "1": a label may have come as a text."""
    return value if isinstance(value, str) else f"{float(value):.15g}"
