"""The drift of one route as the controller has it: its profile, what was seen beside it, and its alarms."""

from __future__ import annotations

from msgspec.structs import replace

from crossfade.config.drift import LIVE, DriftConfig
from crossfade.control.rollout_runtime import RolloutRuntime
from crossfade.quality.field_drift import FieldDrift, field_drift
from crossfade.quality.monitor import SCORE, Alarm, Comparison, Monitor, add_window, close_window
from crossfade.quality.profile import Field, NumberField, Profile
from crossfade.quality.sketch import FieldCounts, Sketch
from crossfade.quality.watching import Sketched, Together, Watched
from crossfade.rollout.drift import DATA_DRIFT, DriftReading
from crossfade.rollout.plan import Check
from crossfade.stats.sequential import log_mean_exp

GRACE = 10.0  # seconds behind the end of a window until it is closed without values of the next one
VERSIONS = 64  # ledger versions whose sketches are kept for rollouts


class RouteDrift:
    """`keys`: fields that are sticky keys. `champion`: the backend with most of the traffic. `trouble`: why there is no profile; empty while one is awaited."""

    def __init__(self, config: DriftConfig, keys: tuple[str, ...] = ()) -> None:
        self.config = config
        self.keys = keys
        self.champion = ""
        self.profile: Profile | None = None  # the fields that are looked at
        self.whole: Profile | None = None  # as it was given
        self.stamp = ""
        self.backend = ""  # whose scores a kept profile has; empty: of whoever is in charge
        self.profiles: dict[
            str, tuple[Profile, str]
        ] = {}  # by backend, with their stamps; none: one profile for all
        self.scores: dict[str, NumberField] = {}  # of those profiles, by backend
        self.trouble = ""
        self.is_read = False  # the files have been read
        self.attempt = 0  # of learning a profile
        self.monitor = Monitor()
        self.versions: dict[int, Sketch] = {}
        self.has_checks = False  # a rollout asks
        self._shown: dict[tuple[str, str], FieldDrift] = {}  # of the latest full window
        self._shown_of: tuple[str, int] = ("", -1)

    def use_profile(self, profile: Profile, stamp: str, backend: str = "") -> None:
        """Compare with this one from now on."""
        fields = self.config.fields
        chosen = {name: profile.fields[name] for name in fields if name in profile.fields}
        self.profile = replace(profile, fields=chosen) if fields else profile
        self.whole = profile
        absent = [name for name in fields if name not in profile.fields]
        self.trouble = f"the profile has no field {', '.join(absent)}" if absent else ""
        # Windows of another length, or judged by another tolerance, are no evidence for these either.
        parts = [stamp, f"{self.config.window:g}", f"{self.config.tolerance:g}", *fields]
        self.stamp = stamp = "-".join(parts)
        self.backend = backend
        if self.monitor.stamp != stamp:
            self.monitor.begin(stamp)
            self.versions = {}

    def use_profiles(self, profiles: dict[str, tuple[Profile, str]]) -> None:
        """One for each backend: inputs are compared with the champion's."""
        self.profiles = profiles
        self.scores = {name: found.score for name, (found, _) in profiles.items() if found.score is not None}
        self.profile = None
        self._use_champions()

    def serve(self, champion: str) -> None:
        """The backend with most of the traffic, which may be another one now."""
        if champion != self.champion:
            self.champion = champion
            self.monitor.detectors.pop(SCORE, None)
            if self.profiles:
                self._use_champions()

    def _use_champions(self) -> None:
        """Where the champion has no profile, its inputs are compared with the first one: they are the same for all."""
        named = self.champion if self.champion in self.profiles else next(iter(self.profiles))
        stamps = [stamp for _, stamp in self.profiles.values()]
        self.use_profile(self.profiles[named][0], "-".join([named, *stamps]))

    def score_field(self, backend: str) -> NumberField | None:
        """What the scores of this backend are compared with."""
        if self.profiles:
            return self.scores.get(backend)
        if self.profile is None or self.backend not in ("", backend):
            return None
        return self.profile.score

    def watched(self) -> Watched:
        """What the observer is to do."""
        profile = self.profile
        if profile is not None and not self.config.together:  # the sample is long, and nobody asks for it
            profile = replace(profile, columns=(), sample=())
        return Watched(
            window=self.config.window,
            profile=profile,
            stamp=self.stamp,
            fields=self.config.fields,
            keys=self.keys,
            scores=self.scores,
            learn=self.config.rows if self.attempt else 0,
            attempt=self.attempt,
            by_version=self.has_checks,
            together=self.config.together,
        )

    def loss_of(self, backend: str) -> tuple[float | None, int]:
        """What its profile says of its mean loss, and of how many labels."""
        found = self.profiles.get(backend, (None, ""))[0] if self.profiles else self.whole
        if found is None or self.backend not in ("", backend):
            return None, 0
        return found.loss, found.loss_n

    @property
    def comparison(self) -> Comparison | None:
        if self.profile is None:
            return None
        return Comparison(
            self.profile,
            self.config.window,
            self.config.tolerance,
            self.champion,
            self.score_field(self.champion),
        )

    def see(self, sketched: Sketched, now: float) -> list[Alarm]:
        """What the observer saw, unless it was beside another profile. `now`: wall time."""
        given = self.comparison
        if given is None or sketched.stamp != self.stamp:
            return []
        for version, sketch in sketched.versions.items():
            self.versions.setdefault(version, Sketch()).add(sketch)
        while len(self.versions) > VERSIONS:
            del self.versions[min(self.versions)]
        return add_window(self.monitor, sketched.slot, sketched.window, given, now)

    def see_together(self, found: Together, now: float) -> list[Alarm]:
        given = self.comparison
        if given is None or found.stamp != self.stamp:
            return []
        alarm = self.monitor.bet_together(found, given.together_limit(found.batches), now)
        return [] if alarm is None else [alarm]

    def readings(self, rollout: RolloutRuntime) -> dict[str, DriftReading]:
        """What was seen in the present step of a rollout, by title of its checks."""
        step = rollout.judged.step
        sketch = Sketch()
        for version in {stratum.version for stratum in rollout.evidence.of_step(step)}:
            if version in self.versions:
                sketch.add(self.versions[version])
        return {
            check.title: self._reading(check, sketch, step, rollout.challenger)
            for check in rollout.drift_checks
        }

    def _reading(self, check: Check, sketch: Sketch, step: int, challenger: str) -> DriftReading:
        if self.profile is None:
            return DriftReading(
                step, 0, trouble=f"there is no profile to compare with: {self.trouble or 'it is being made'}"
            )
        if check.metric == DATA_DRIFT:
            found = {
                name: field_drift(field, sketch.fields[name], check.limit)
                for name, field in self.profile.fields.items()
                if name in sketch.fields
            }
            n = sketch.rows
        else:
            field = self.score_field(challenger)
            if field is None:
                return DriftReading(step, 0, trouble=f"the profile has no scores of {challenger}")
            scores = sketch.scores.get(challenger)
            found = {} if scores is None else {challenger: field_drift(field, scores, check.limit)}
            n = 0 if scores is None else scores.n
        if not found:
            return DriftReading(step, 0)
        subject = max(found, key=lambda name: found[name].farthest)
        log_e = log_mean_exp([each.log_e for each in found.values()])
        return DriftReading(step, n, log_e, subject, found[subject].farthest)

    def look(self, now: float) -> list[Alarm]:
        """Close a window whose time is over."""
        given, monitor = self.comparison, self.monitor
        ends = (monitor.slot + 1) * self.config.window + GRACE
        if given is None or monitor.window.is_empty or now < ends:
            return []
        return close_window(monitor, given, now)

    @property
    def drifting(self) -> list[str]:
        """The detectors that have an alarm now."""
        return [name for name, found in self.monitor.detectors.items() if found.alarm_at is not None]

    @property
    def lasting(self) -> list[Alarm]:
        """The alarms that there are now."""
        since = {found.alarm_at for found in self.monitor.detectors.values()} - {None}
        return [alarm for alarm in self.monitor.alarms if alarm.at in since]

    def shown(self, what: str, name: str, field: Field, counts: FieldCounts) -> FieldDrift:
        """Of the latest full window; computed once, however often it is asked for."""
        of = self.stamp, self.monitor.windows
        if of != self._shown_of:
            self._shown, self._shown_of = {}, of
        found = self._shown.get((what, name))
        if found is None:
            found = self._shown[what, name] = field_drift(field, counts, self.config.tolerance)
        return found

    def monitor_alarm(self, detector: str) -> float | None:
        """Since when there is an alarm."""
        found = self.monitor.detectors.get(detector)
        return None if found is None else found.alarm_at

    def needs_profile(self) -> bool:
        """Whether the first requests become one."""
        return self.is_read and self.profile is None and self.config.baseline == LIVE and not self.trouble
