"""Counts of pairs: the champion's answer beside the challenger's to one request.

Rule (law 17): where the champion decides and the challenger does not (a rejection, an unreadable answer, nothing), it has
changed the decision. Where the challenger alone decides, the champion's answer is lost.
"""

from __future__ import annotations

from crossfade.quality.answer import Answer, Decision, RawAnswer, decision_of
from crossfade.quality.comparing import row_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import CellKey, PairSample
from crossfade.stats.counts import ANY_SECOND, Cell, CountsTable
from crossfade.stats.pairs import Pair

NOTHING = Answer()


class PairCounts:
    def __init__(self, table: CountsTable) -> None:
        self.table = table

    def add(self, sample: PairSample, prediction: Prediction) -> None:
        asked = sample.asked

        def decision(raw: RawAnswer) -> Decision | None:
            answer = read_answer(raw, asked.target, prediction) if raw.status == 200 else NOTHING
            return decision_of(row_of(answer.rows, asked.request_id), prediction.decision)

        live, copied = decision(sample.live), decision(sample.copy)
        if live is None:
            self.table.drop("pair_decision", 1)
            if copied is not None:
                self.count(sample.shadow, Pair(asked.key, False, None, 0.0, None, False, False))
            return
        second = None if sample.second is None else decision(sample.second) != live
        raised = copied if isinstance(copied, bool) and isinstance(live, bool) else None
        self.count(
            sample.shadow, Pair(asked.key, copied != live, raised, sample.chance, second, copied is None)
        )

    def count(self, shadow: CellKey, pair: Pair) -> None:
        """The control plane decides which pair of a key counts."""
        key = (*shadow[:4], ANY_SECOND)
        cell = self.table.cells.get(key)
        if cell is None:
            self.table.cells[key] = cell = Cell.of(key)
        if pair.key is None:
            cell.pairs.add(*pair[1:])
        else:
            cell.keyed_pairs.append(pair)
