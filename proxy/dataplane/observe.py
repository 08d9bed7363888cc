"""What answers say: the score in an answer, read once the client has it.

Rule: of an answer, so many bytes are kept; of each route, so many answers are read in the time of one report, as they
come, on both sides together, so that what is left out has nothing to do with the sides. Each that is not
read is counted with the reason. An answer of the fallback says nothing of the backend that was assigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.routing.key import decode_json, json_field
from proxy.stats.counts import Cell
from proxy.stats.scores import bucket_of_score

if TYPE_CHECKING:
    from proxy.dataplane.exchange import Exchange

LARGEST = 65_536  # bytes of an answer that is read
LARGEST_SCORE = 1e300  # what is not below it, as NaN is not, is no score
READ = 256  # answers read in the time of one report, for each route of each worker


def keep(exchange: Exchange, data: bytes) -> None:
    """One more part of the answer's body; of one that is too large nothing is kept."""
    said = exchange.said
    if said is not None:
        exchange.said = said + data if len(said) + len(data) <= LARGEST else None


def observe(exchange: Exchange, cell: Cell, read: int) -> str:
    """Put the score into the cell, `read` answers of this route having been read; or the reason why not."""
    prediction = exchange.route.prediction
    if prediction is None or exchange.status // 100 != 2 or exchange.spilled:
        return ""
    if read >= READ:
        return "answers"
    if exchange.said is None:
        return "body_size"
    score = json_field(decode_json(exchange.said), prediction.score)
    if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) < LARGEST_SCORE:
        return "no_score"
    if exchange.key is None:
        cell.scores.add(score)
    else:
        cell.keyed_scores.append((exchange.key, bucket_of_score(score)))
    return ""
