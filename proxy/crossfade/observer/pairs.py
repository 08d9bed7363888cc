"""Counts of pairs: the champion's answer beside the challenger's to one request. `quality.comparing` compares them."""

from __future__ import annotations

from base64 import b64encode

from crossfade.observer.answers import AnswerCounts, segments
from crossfade.observer.keeping import PairFiles
from crossfade.observer.messages import Pairs
from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.compared import Compared
from crossfade.quality.comparing import Facts, NoPair, compare, lost_pair, pair_of
from crossfade.quality.keep import KeptPair
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import PairSample
from crossfade.quality.spread import Spreads
from crossfade.quality.table import ComparisonTable
from crossfade.stats.counts import ANY_SECOND, CellKey, CountsTable
from crossfade.stats.pairs import Pair

NO_ANSWER = Answer(unread="status")


class PairCounts:
    """`answers`: counts errors inside of answers, for copies too."""

    def __init__(self, table: CountsTable, answers: AnswerCounts) -> None:
        self.table = table
        self.answers = answers
        self.spreads: dict[tuple[str, str], Spreads] = {}  # by route and champion
        self.files: dict[str, PairFiles] = {}  # by route
        self.tables: dict[tuple[str, str, str], ComparisonTable] = {}  # by route, champion and challenger

    def take(self) -> list[Pairs]:
        taken, self.tables = self.tables, {}
        return [Pairs(*names, table) for names, table in taken.items()]

    def add(self, sample: PairSample, prediction: Prediction) -> None:
        live, copy = self.read(sample, sample.live, prediction), self.read(sample, sample.copy, prediction)
        second = None if sample.second is None else self.read(sample, sample.second, prediction)
        spreads = self.spreads.setdefault((sample.shadow[0], sample.champion), Spreads())
        facts = facts_of(sample, segments(prediction, live, sample.asked), spreads)
        compared = compare(prediction, facts, live, copy, second)
        spreads.add(live.rows)  # behind the comparison: a spread comes from earlier answers
        if copy.error:
            self.answers.add_error(self.table.cell(sample.shadow), sample.asked.key, copy.error)
        if isinstance(compared, NoPair):
            self.table.drop(compared.reason, 1)
            self.table_of(sample).drop(compared.reason)
            lost = lost_pair(compared, sample.asked.key)
            if lost is not None:
                self.count(sample.shadow, lost)
        else:
            sources = tuple([source.title for source in prediction.segment])
            self.count(sample.shadow, pair_of(compared, sample.chance, sources))
            self.table_of(sample).add(compared, sample.chance)
            files = self.files.get(sample.shadow[0])
            if files is not None:
                files.add(kept_pair(sample, compared, sources))

    def read(self, sample: PairSample, raw: RawAnswer, prediction: Prediction) -> Answer:
        """An answer to a copy counts with status 200 alone, as that to the client does."""
        return read_answer(raw, sample.asked.target, prediction) if raw.status == 200 else NO_ANSWER

    def count(self, shadow: CellKey, pair: Pair) -> None:
        """The control plane decides which pair of a key counts."""
        cell = self.table.cell((*shadow[:4], ANY_SECOND))
        if pair.key is None:
            cell.pairs.add(*pair[1:])
        else:
            cell.keyed_pairs.append(pair)

    def flush(self) -> None:
        """Write the pairs that are kept."""
        for files in self.files.values():
            self.table.drop("keep", files.flush())

    def table_of(self, sample: PairSample) -> ComparisonTable:
        route, challenger = sample.shadow[:2]
        return self.tables.setdefault((route, sample.champion, challenger), ComparisonTable())


def facts_of(sample: PairSample, values: tuple[str, ...], spreads: Spreads) -> Facts:
    second = sample.second
    answered = sample.copy.status > 0
    return Facts(
        sample.asked.request_id.decode("ascii", "replace"),
        sample.asked.at,
        sample.asked.key,
        sample.live.seconds,
        sample.copy.seconds if answered else None,
        second.seconds if second is not None and second.status else None,
        values,
        spreads.known,
        sample.copy.status == 0 or sample.copy.status >= 500,
    )


def kept_pair(sample: PairSample, compared: Compared, sources: tuple[str, ...]) -> KeptPair:
    second = sample.second
    made = KeptPair(
        route=sample.shadow[0],
        request_id=compared.request_id,
        at=compared.at,
        key=compared.key,
        target=sample.asked.target.decode("latin-1"),
        champion=sample.champion,
        challenger=sample.shadow[1],
        champion_status=sample.live.status,
        challenger_status=sample.copy.status,
        second_status=second.status if second is not None else None,
        champion_seconds=compared.live_seconds,
        challenger_seconds=compared.copy_seconds,
        second_seconds=compared.second_seconds,
        changed=compared.changed,
        distance=compared.distance,
        segments=dict(zip(sources, compared.segments, strict=False)),
    )
    made.champion_body, made.champion_base64 = _written(sample.live)
    made.challenger_body, made.challenger_base64 = _written(sample.copy)
    if second is not None:
        made.second_body, made.second_base64 = _written(second)
    return made


def _written(answer: RawAnswer) -> tuple[str | None, str | None]:
    """Its body as text, or in base64 if it is no UTF-8."""
    body = answer.body or b""
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(body).decode()
