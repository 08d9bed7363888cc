"""The observer: samples in, counts and observations out. Its state is how each route's answers are read, and the files of pairs.

Rule: whatever an answer holds, the next one is read; what cannot be read is counted with its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from crossfade.observer.answers import AnswerCounts, segments
from crossfade.observer.keeping import PairFiles
from crossfade.observer.messages import Observed
from crossfade.observer.outputs import Outputs
from crossfade.observer.pairs import PairCounts
from crossfade.observer.spans import Spans
from crossfade.quality.comparing import row_of
from crossfade.quality.keep import Keep
from crossfade.quality.prediction import Prediction
from crossfade.quality.samples import AnswerSample, PairSample, Sample, SpanSample, decode
from crossfade.stats.counts import CountsTable

log = logging.getLogger("crossfade.observer")

NOTHING_KEPT: Mapping[str, Keep] = {}
NOTHING_LOGGED: Mapping[str, bool] = {}


class Observer:
    def __init__(self) -> None:
        self.routes: Mapping[str, Prediction] = {}
        self.table = CountsTable()
        self.outputs = Outputs()
        self.answers = AnswerCounts(self.table, self.outputs)
        self.pairs = PairCounts(self.table, self.answers)
        self.spans = Spans()

    def use(
        self,
        routes: Mapping[str, Prediction],
        kept: Mapping[str, Keep] = NOTHING_KEPT,
        logged: Mapping[str, bool] = NOTHING_LOGGED,
    ) -> None:
        self.routes = routes
        self.outputs.logged = logged
        self.pairs.as_read = {route: prediction.as_read for route, prediction in routes.items()}
        files, self.pairs.files = self.pairs.files, {}
        for route, spec in kept.items():
            same = route in files and files[route].spec == spec
            self.pairs.files[route] = files.pop(route) if same else PairFiles(route, spec)
        for ended in files.values():
            ended.close()

    def close(self) -> None:
        """End the files of pairs, and send the last spans."""
        self.spans.close()
        for files in self.pairs.files.values():
            files.close()

    def observe(self, data: bytes, n: int) -> Observed:
        """`data`: `n` encoded samples of one report, whose limits of what is kept begin again."""
        self.answers.begin()
        try:
            for sample in decode(data):
                self._observe(sample)
        except msgspec.MsgspecError as error:
            log.error("samples cannot be read: %s", error)
            self.table.drop("samples", n)
        self.pairs.flush()
        return Observed(
            n,
            self.table.take(),
            self.answers.take(),
            self.pairs.take(),
            self.outputs.take(),
            self.answers.drift.take(),
        )

    def _observe(self, sample: Sample) -> None:
        if isinstance(sample, SpanSample):
            self.spans.add(sample)
            return
        is_pair = isinstance(sample, PairSample)
        route = (sample.copied.shadow if isinstance(sample, PairSample) else sample.cell)[0]
        prediction = self.routes.get(route)
        if prediction is None:  # a reload took it away
            self.table.drop("pairs" if is_pair else "answers", 1)
            return
        try:
            if isinstance(sample, PairSample):
                self._observe_pair(sample, prediction)
            else:
                self._observe_answer(sample, prediction)
        except Exception:  # a fault of ours in one answer must not end the reading of others
            log.exception("an answer of route %s cannot be read", route)
            self.table.drop("samples", 1)

    def _observe_pair(self, sample: PairSample, prediction: Prediction) -> None:
        live = self.pairs.read(sample, sample.live, prediction)
        route, champion = sample.copied.shadow[0], sample.copied.champion
        if (
            route in self.outputs.logged
        ):  # the exchange may be no sample, and then nobody else says its output
            row = row_of(live.rows, sample.asked.request_id)
            self.outputs.add(route, champion, sample.asked, row, segments(prediction, live, sample.asked))
        self.pairs.add(sample, live, prediction)

    def _observe_answer(self, sample: AnswerSample, prediction: Prediction) -> None:
        """It is read once, for itself and for its pairs."""
        answer = self.answers.add(sample, prediction)
        for copied in sample.copies:
            if answer is not None and sample.answer is not None:
                self.pairs.add(PairSample(sample.asked, sample.answer, copied), answer, prediction)
