"""What answers say: the score and the decision in an answer, read once the client has it.

Rule: of an answer, so many bytes are kept; of each route, so many answers are read in the time of one report, as they
come, on both sides together, so that what is left out has nothing to do with the sides. Each that is not
read is counted with the reason. An answer of the fallback says nothing of the backend that was assigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossfade.routing.key import decode_json, json_field
from crossfade.stats.counts import Cell
from crossfade.stats.scores import bucket_of_score

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState
    from crossfade.routing.snapshot import Prediction

LARGEST = 65_536  # bytes of an answer that is read
LARGEST_SCORE = 1e300  # what is not below it, as NaN is not, is no score
LONGEST_LABEL = 256  # characters
READ = 256  # answers read in the time of one report, for each route of each worker

PredictedClass = bool | int | float | str  # yes or no, or a label


def keep(exchange: ExchangeState, data: bytes) -> None:
    """One more part of the answer's body; of one that is too large nothing is kept."""
    exchange.said = longer(exchange.said, data)


def longer(said: bytes | None, data: bytes) -> bytes | None:
    """What is kept of an answer's body with one more part of it; None where it is too large."""
    return said + data if said is not None and len(said) + len(data) <= LARGEST else None


def observe(exchange: ExchangeState, cell: Cell, read: int) -> str:
    """Put the score into the cell, `read` answers of this route having been read; or the reason why not."""
    prediction = exchange.route.prediction
    if prediction is None or not prediction.score or exchange.status // 100 != 2 or exchange.fell_back:
        return ""
    if read >= READ:
        return "answers"
    if exchange.said is None:
        return "body_size"
    score = score_in(decode_json(exchange.said), prediction)
    if score is None:
        return "no_score"
    if exchange.key is None:
        cell.scores.add(score)
    else:
        cell.keyed_scores.append((exchange.key, bucket_of_score(score)))
    return ""


def score_in(answer: Any, prediction: Prediction) -> float | None:
    score = json_field(answer, prediction.score)
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return score if -LARGEST_SCORE < score < LARGEST_SCORE else None  # an int may be larger than any float


def decision_in(prediction: Prediction, said: bytes) -> PredictedClass | None:
    """Yes or no where scores have a threshold, else the label; None where the answer does not tell."""
    answer = decode_json(said)
    if prediction.decision is not None:
        score = score_in(answer, prediction)
        return None if score is None else score >= prediction.decision
    label = json_field(answer, prediction.label)
    if isinstance(label, str):
        return label if len(label) <= LONGEST_LABEL else None
    return label if isinstance(label, bool | int | float) else None
