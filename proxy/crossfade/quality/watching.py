"""What the observer is told about the drift of a route, and what it says of it."""

from __future__ import annotations

import msgspec

from crossfade.quality.profile import NumberField, Profile
from crossfade.quality.sketch import Sketch


class Watched(msgspec.Struct, frozen=True):
    """How live values of a route are compared. `stamp`: of the profile, so that sketches of another one are known by it.

    `window`: seconds. `fields`: those that are looked at; all if empty. `keys`: fields that are
    sticky keys: they name a customer, so a profile that is learned has none of them. `scores`: by backend, where it is not the profile's.
    `learn`: from so many rows a profile is made; 0: none. `attempt`: of that; another number begins anew. `by_version`: a
    rollout needs sketches by ledger version. `together`: all fields are tested together too.
    """

    window: float
    profile: Profile | None = None
    stamp: str = ""
    fields: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    scores: dict[str, NumberField] = {}
    learn: int = 0
    attempt: int = 0
    by_version: bool = False
    together: bool = False

    def score_field(self, backend: str) -> NumberField | None:
        return self.scores.get(backend) or (self.profile.score if self.profile is not None else None)


class Sketched(msgspec.Struct):
    """Live values of one report. `slot`: the number of the window since the epoch, by the workers' clocks.

    `versions`: the same values by ledger version, where each key counts once a version, not once a window.
    """

    route: str
    stamp: str
    slot: int
    window: Sketch
    versions: dict[int, Sketch] = {}


class Learned(msgspec.Struct, frozen=True):
    """A profile of live values. `backend`: whose scores it has."""

    route: str
    attempt: int
    backend: str
    profile: Profile


class Together(msgspec.Struct, frozen=True):
    """One batch of the test of all fields together. `log_e`: of this batch alone, given those before in this `epoch`, in which
    each reference row is used once. `batches`: that an epoch has, at least. `n`: live rows.
    """

    route: str
    stamp: str
    log_e: float
    n: int
    epoch: int
    batches: int


class Seen(msgspec.Struct):
    """What the observer saw since the last time. Joining the lists is merging."""

    sketched: list[Sketched] = []
    learned: list[Learned] = []
    together: list[Together] = []

    def add(self, more: Seen) -> None:
        self.sketched = self.sketched + more.sketched
        self.learned = self.learned + more.learned
        self.together = self.together + more.together
