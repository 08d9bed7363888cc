"""The messages between the control process and the observer, in frames."""

from __future__ import annotations

from typing import BinaryIO

import msgspec

from crossfade.frames import FRAME
from crossfade.quality.keep import Keep
from crossfade.quality.logged import LoggedBatch
from crossfade.quality.prediction import Prediction
from crossfade.quality.table import ComparisonTable
from crossfade.quality.watching import Seen, Watched
from crossfade.routing.snapshot import Tracing
from crossfade.stats.counts import Counts, CountsTable
from crossfade.stats.observation import Observation


class Use(msgspec.Struct, frozen=True, tag=True):
    """How the answers of each route are read from now on, and where its pairs are kept. `logged`: routes whose outputs go to
    the prediction log, and whether with the bodies of requests. `log`: format and level of the observer's own. `tracing`: where spans go.
    """

    routes: dict[str, Prediction]
    kept: dict[str, Keep] = {}
    logged: dict[str, bool] = {}
    log: tuple[str, str] = ("auto", "info")
    tracing: Tracing | None = None


class Watch(msgspec.Struct, frozen=True, tag=True):
    """How inputs and scores of each route are compared with its profile from now on."""

    routes: dict[str, Watched]


class Batch(msgspec.Struct, frozen=True, tag=True):
    """Samples of one worker's report, encoded (`quality.samples`)."""

    samples: bytes
    n: int


class Pairs(msgspec.Struct, frozen=True):
    """What pairs of one route, champion and challenger said. `version`: of the ledger by which they were routed; `as_read`: how
    they were read.
    """

    route: str
    champion: str
    challenger: str
    version: int
    as_read: str
    table: ComparisonTable


class Observed(msgspec.Struct):
    """What `n` samples said. Adding up is merging."""

    n: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    observations: list[Observation] = msgspec.field(default_factory=list)
    pairs: list[Pairs] = msgspec.field(default_factory=list)
    outputs: list[LoggedBatch] = []
    seen: Seen = msgspec.field(default_factory=Seen)

    def add(self, other: Observed) -> None:
        table = CountsTable()
        table.add(self.counts)
        table.add(other.counts)
        self.n += other.n
        self.counts = table.take()
        self.observations = self.observations + other.observations
        self.pairs = self.pairs + other.pairs
        self.outputs = self.outputs + other.outputs
        self.seen.add(other.seen)


TO_OBSERVER: msgspec.msgpack.Decoder[Use | Watch | Batch] = msgspec.msgpack.Decoder(Use | Watch | Batch)
FROM_OBSERVER: msgspec.msgpack.Decoder[Observed] = msgspec.msgpack.Decoder(Observed)


def read_frame(file: BinaryIO) -> bytes | None:
    """None at the end."""
    size = file.read(FRAME.size)
    if len(size) < FRAME.size:
        return None
    (length,) = FRAME.unpack(size)
    data = file.read(length)
    return data if len(data) == length else None
