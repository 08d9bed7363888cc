"""Counts of pairs: the champion's answer beside the challenger's to one request. `quality.comparing` compares them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from crossfade.observer.answers import AnswerCounts, segments
from crossfade.observer.keeping import PairFiles
from crossfade.observer.messages import Pairs
from crossfade.quality.answer import Answer, RawAnswer, score_of
from crossfade.quality.compared import Compared
from crossfade.quality.comparing import Facts, NoPair, compare, lost_pair, pair_of, row_of, with_texts
from crossfade.quality.keep import KeptPair
from crossfade.quality.prediction import Prediction
from crossfade.quality.reading import read_answer
from crossfade.quality.samples import CopySample, PairSample
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
        self.as_read: Mapping[str, str] = {}  # by route, how answers are read
        self.tables: dict[
            tuple[str, str, str, int], ComparisonTable
        ] = {}  # by route, champion, challenger and version of the ledger

    def take(self) -> list[Pairs]:
        taken, self.tables = self.tables, {}
        return [Pairs(*of, self.as_read.get(of[0], ""), table) for of, table in taken.items()]

    def add(self, sample: PairSample, live: Answer, prediction: Prediction) -> None:
        """`live`: what the answer to the client says."""
        copied = sample.copied
        copy = self.read(sample, copied.copy, prediction)
        second = None if copied.second is None else self.read(sample, copied.second, prediction)
        spreads = self.spreads.setdefault((copied.shadow[0], copied.champion), Spreads())
        facts = facts_of(sample, segments(prediction, live, sample.asked), spreads)
        self.answers.outputs.add_copy(copied.shadow[0], copied.shadow[1], sample.asked, copy)
        compared = compare(prediction, facts, live, copy, second)
        spreads.add(live.rows)  # behind the comparison: a spread comes from earlier answers
        self.answers.drift.add_copy_score(sample, score_of(row_of(copy.rows, sample.asked.request_id)))
        if copy.error:
            self.answers.add_error(self.table.cell(copied.shadow), sample.asked.key, copy.error)
        if isinstance(compared, NoPair):
            self.table.drop(compared.reason, 1)
            self.table_of(copied).drop(compared.reason)
            lost = lost_pair(compared, sample.asked.key)
            if lost is not None:
                self.count(copied.shadow, lost)
        else:
            sources = tuple([source.title for source in prediction.segment])
            self.count(copied.shadow, pair_of(compared, copied.chance, sources))
            table = self.table_of(copied)
            if table.shows(compared):
                compared = with_texts(compared, prediction, live, copy)
            table.add(compared, copied.chance)
            files = self.files.get(copied.shadow[0])
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

    def table_of(self, copied: CopySample) -> ComparisonTable:
        route, challenger, _, version, _ = copied.shadow
        return self.tables.setdefault((route, copied.champion, challenger, version), ComparisonTable())


def facts_of(sample: PairSample, values: tuple[str, ...], spreads: Spreads) -> Facts:
    copy, second = sample.copied.copy, sample.copied.second
    answered = copy.status > 0
    return Facts(
        sample.asked.request_id.decode("ascii", "replace"),
        sample.asked.at,
        sample.asked.key,
        sample.live.seconds,
        copy.seconds if answered else None,
        second.seconds if second is not None and second.status else None,
        values,
        spreads.known,
        copy.status == 0 or copy.status >= 500,
    )


def kept_pair(sample: PairSample, compared: Compared, sources: tuple[str, ...]) -> KeptPair:
    copied, second = sample.copied, sample.copied.second
    made = KeptPair(
        route=copied.shadow[0],
        request_id=compared.request_id,
        at=compared.at,
        key=compared.key,
        target=sample.asked.target.decode("latin-1"),
        champion=copied.champion,
        challenger=copied.shadow[1],
        champion_status=sample.live.status,
        challenger_status=copied.copy.status,
        second_status=second.status if second is not None else None,
        champion_seconds=compared.live_seconds,
        challenger_seconds=compared.copy_seconds,
        second_seconds=compared.second_seconds,
        changed=compared.changed,
        distance=compared.distance,
        segments=dict(zip(sources, compared.segments, strict=False)),
    )
    made.champion_body, made.champion_base64 = _written(sample.live)
    made.challenger_body, made.challenger_base64 = _written(copied.copy)
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
