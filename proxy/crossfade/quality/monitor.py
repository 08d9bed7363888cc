"""Alarms of drift on one route: each window goes to a detector for each field, one for scores, and some for tests of their own.

Rule: without drift, all detectors of a route together alarm at most once in RUN seconds on average (`stats.drift`). An alarm
stays until the values were back within the tolerance for CALM windows in a row, so one drift is one alarm.
"""

from __future__ import annotations

from math import log
from typing import Literal

import msgspec

from crossfade.quality.field_drift import FieldDrift, detector_logs, field_drift
from crossfade.quality.profile import Field, NumberField, Profile
from crossfade.quality.sketch import FieldCounts, Sketch
from crossfade.quality.watching import Together
from crossfade.stats.drift import detector_limit, next_detector
from crossfade.stats.sequential import log_mean_exp

RUN = 30 * 86_400.0  # seconds until a false alarm of a route, at least, on average
CALM = 3  # windows
ENOUGH = 100  # values that a window within the tolerance has
KEPT = 100  # alarms
LEAST = -700.0  # log M; a file of JSON has no infinity
OTHERS = 3  # detectors beside those of fields: scores, all fields together, loss
SCORE, TOGETHER, LOSS = "score", "all fields together", "loss"
Kind = Literal["data_drift", "score_drift", "concept_drift"]


class Alarm(msgspec.Struct, frozen=True):
    """`subject`: a field, a backend, or TOGETHER. `at`: wall time. `detail`: one sentence. `numbers`: what it is made of."""

    kind: Kind
    subject: str
    at: float
    detail: str
    numbers: dict[str, float] = {}


class Detector(msgspec.Struct):
    """`log_m`: None at the beginning, where M is 0; `parts`: log M of each alternative, in groups of which it is the mean. `alarm_at`: since when there is an alarm. `calm`: windows without drift.

    `epoch`: of TOGETHER, whose `log_m` is the log wealth in it.
    """

    log_m: float | None = None
    parts: list[list[float]] = []
    alarm_at: float | None = None
    calm: int = 0
    epoch: int = 0


class Bet(msgspec.Struct, frozen=True):
    """What one window says to one detector: `log_e`, or `groups` of log e-values whose mean it is about. `is_calm`: it was seen to be within the tolerance."""

    kind: Kind
    subject: str
    log_e: float
    is_calm: bool
    detail: str
    numbers: dict[str, float] = {}
    groups: list[list[float]] = []


class Monitor(msgspec.Struct):
    """Of one profile. `slot`: of the present `window`; `latest`: the last full one. `raised`: alarms ever, by kind."""

    stamp: str = ""
    slot: int = -1
    window: Sketch = msgspec.field(default_factory=Sketch)
    latest: Sketch = msgspec.field(default_factory=Sketch)
    latest_slot: int = -1
    windows: int = 0
    detectors: dict[str, Detector] = {}
    alarms: list[Alarm] = []
    raised: dict[str, int] = {}

    def begin(self, stamp: str) -> None:
        """Another profile: what was seen beside the one before is no evidence against this one."""
        self.stamp, self.slot, self.latest_slot, self.windows = stamp, -1, -1, 0
        self.window, self.latest, self.detectors = Sketch(), Sketch(), {}

    def bet(self, name: str, bet: Bet, limit: float, now: float) -> Alarm | None:
        """The alarm, if this is the window that raises it. `limit`: of log M. `name`: of the detector."""
        detector = self.detectors.setdefault(name, Detector())
        if detector.alarm_at is not None:
            detector.calm = detector.calm + 1 if bet.is_calm else 0
            if detector.calm >= CALM:
                self.detectors[name] = Detector()
            return None
        groups = bet.groups or [[bet.log_e]]
        if [len(parts) for parts in detector.parts] != [len(logs) for logs in groups]:  # none yet
            detector.parts = [[float("-inf")] * len(logs) for logs in groups]
        detector.parts = [
            [max(next_detector(m, log_e), LEAST) for m, log_e in zip(parts, logs, strict=True)]
            for parts, logs in zip(detector.parts, groups, strict=True)
        ]
        detector.log_m = log_mean_exp([log_mean_exp(parts) for parts in detector.parts])
        if detector.log_m < limit:
            return None
        self.detectors[name] = Detector(alarm_at=now)
        return self._raised(Alarm(bet.kind, bet.subject, now, bet.detail, bet.numbers))

    def bet_together(self, found: Together, limit: float, now: float) -> Alarm | None:
        """The wealth of an epoch is a martingale, so in each it reaches the limit wrongly with probability exp(−limit) at most."""
        detector = self.detectors.setdefault(TOGETHER, Detector())
        if detector.alarm_at is not None:
            detector.calm = detector.calm + 1 if found.log_e <= 0 else 0
            if detector.calm >= CALM:
                self.detectors[TOGETHER] = Detector(epoch=found.epoch)
            return None
        before = detector.log_m if detector.epoch == found.epoch else None
        detector.log_m, detector.epoch = (before or 0.0) + found.log_e, found.epoch
        if detector.log_m < limit:
            return None
        detail = f"{TOGETHER}: a classifier tells live rows from the profile's (e-value 10^{detector.log_m / log(10):.1f})"
        numbers = {"log_e": detector.log_m, "n": float(found.n)}
        self.detectors[TOGETHER] = Detector(alarm_at=now, epoch=found.epoch)
        return self._raised(Alarm("data_drift", TOGETHER, now, detail, numbers))

    def _raised(self, alarm: Alarm) -> Alarm:
        self.alarms = [*self.alarms, alarm][-KEPT:]
        self.raised[alarm.kind] = self.raised.get(alarm.kind, 0) + 1
        return alarm


class Comparison(msgspec.Struct, frozen=True):
    """What a window is compared with. `backend`: whose scores; `score`: what they are compared with."""

    profile: Profile
    window: float
    tolerance: float
    backend: str = ""
    score: NumberField | None = None

    @property
    def limit(self) -> float:
        """Of log M."""
        return detector_limit(RUN / self.window, len(self.profile.fields) + OTHERS)

    def together_limit(self, batches: int) -> float:
        """Of the log wealth in an epoch of so many windows: one false alarm in RUN times the number of detectors."""
        return detector_limit(RUN / self.window / max(batches, 1), len(self.profile.fields) + OTHERS)


def add_window(monitor: Monitor, slot: int, sketch: Sketch, given: Comparison, now: float) -> list[Alarm]:
    """Add what was seen in this slot; the window before is closed by the first values of the next one."""
    is_next = slot > monitor.slot and not monitor.window.is_empty  # else it was closed by time
    alarms = close_window(monitor, given, now) if is_next else []
    monitor.slot = max(slot, monitor.slot)
    monitor.window.add(sketch)
    return alarms


def close_window(monitor: Monitor, given: Comparison, now: float) -> list[Alarm]:
    """The present window is full: it goes to the detectors."""
    full = monitor.window
    monitor.latest, monitor.latest_slot, monitor.window = full, monitor.slot, Sketch()
    monitor.windows += 1
    bets = [
        (f"field {name}", _bet("data_drift", name, field, full.fields[name], given.tolerance))
        for name, field in given.profile.fields.items()
        if name in full.fields
    ]
    scores = full.scores.get(given.backend)
    if given.score is not None and scores is not None:
        bets.append((SCORE, _bet("score_drift", given.backend, given.score, scores, given.tolerance)))
    alarms = [monitor.bet(name, bet, given.limit, now) for name, bet in bets]
    return [alarm for alarm in alarms if alarm is not None]


def _bet(kind: Kind, subject: str, field: Field, live: FieldCounts, tolerance: float) -> Bet:
    found = field_drift(field, live, tolerance)
    is_calm = found.n >= ENOUGH and found.farthest <= tolerance
    words = in_words(kind, subject, found, tolerance)
    groups = detector_logs(field, live, tolerance)
    return Bet(kind, subject, found.log_e, is_calm, words, numbers_of(found), groups)


def in_words(kind: Kind, subject: str, found: FieldDrift, tolerance: float) -> str:
    what = f"the scores of {subject}" if kind == "score_drift" else subject
    parts = [f"{what}: the shares of {found.n} values differ by up to {found.distance:.1%} from the profile"]
    for share, before, word in (
        (found.missing, found.missing_before, "are missing"),
        (found.other, found.other_before, "have another type"),
    ):
        if abs(share - before) > tolerance:
            parts.append(f"{share:.1%} {word}, in the profile {before:.1%}")
    if found.unseen:
        parts.append(f"values that the profile does not have: {', '.join(list(found.unseen)[:3])}")
    return f"{'; '.join(parts)}; the tolerance is {tolerance:.1%}"


def numbers_of(found: FieldDrift) -> dict[str, float]:
    """Those that are known."""
    given = {
        "n": found.n,
        "distance": found.distance,
        "missing": found.missing,
        "other": found.other,
        "psi": found.psi,
        "wasserstein": found.wasserstein,
        "log_e": found.log_e,
    }
    return {name: float(value) for name, value in given.items() if value is not None}
