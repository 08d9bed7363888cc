"""What the control plane shows: the values that the admin API, the metrics and the terminal read.

The JSON names are the contract of design 3.3. Views are built on demand and never kept as state,
except `Decision`, which is also the record that the journal holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from crossfade.control.config_views import ConfigView
from crossfade.control.seam import QueueStatus, WorkerStatus
from crossfade.rollout.retraining import EndedOrder
from crossfade.stats.counts import Cell, Exemplar
from crossfade.stats.histogram import Histogram


class Verb(StrEnum):
    """An operator's command to a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"
    RETRY = "retry"
    RESTART = "restart"


class BackendNumbers(msgspec.Struct):
    """Counts since the start; rate (requests/s), error share and times (seconds) of the last 10 s."""

    role: str
    requests: int
    errors: int
    fell_back: int
    rate: float
    error_share: float
    p50: float | None
    p99: float | None
    first_byte_p50: float | None


class MirrorView(msgspec.Struct):
    to: str
    sample: float


class Disagreement(msgspec.Struct):
    """Where the file and the state of a route differ. `key`: of the route in the file. `edit`: what to write there; "" to take it out."""

    key: str
    file: str
    state: str
    edit: str

    def __str__(self) -> str:
        advice = f"write `{self.key}: {self.edit}`" if self.edit else f"take `{self.key}` out"
        return f"{self.key}: the file says {self.file}, the state has {self.state}: {advice}"


class RouteView(msgspec.Struct):
    """`split` are fractions that add up to 1; `sticky` like `json:customer_id`. `config_differs`: from the state, with the edit.

    `drift`: what there is an alarm about now, as `field total_amount_30d` or `score`. `compared`: challengers of which there are
    mirrored pairs, the latest first; `labelled`: names of labels, where there is feedback; `has_drift`: whether drift is watched for. `slo`: the
    class of its latency, with its `latency_target` for the p99 in seconds; null where the file names none.
    """

    name: str
    split: dict[str, float]
    ledger_version: int
    champion: str | None
    sticky: list[str]
    mirrors: list[MirrorView]
    fallback: str | None
    backends: dict[str, BackendNumbers]
    config_differs: list[Disagreement]
    drift: list[str] = []
    compared: list[str] = []
    labelled: list[str] = []
    has_drift: bool = False
    slo: str | None = None
    latency_target: float | None = None


class EndpointView(msgspec.Struct):
    """`ejected`: why the evidence of a rollout has taken it out; "" if it has not. `weight` 0, or `drained`: it gets no new requests.

    `in_flight`: what it still has, mirrored copies included, if it gets no new requests; null until all workers have told.
    """

    url: str
    up: bool
    ejected: str = ""
    weight: int = 1
    drained: bool = False
    in_flight: int | None = None


class BackendView(msgspec.Struct):
    """`panic`: no endpoint passes its probes, so all get the requests that no fallback can answer.

    `queued`: requests that wait for a place in flight.
    """

    name: str
    endpoints: list[EndpointView]
    in_flight: int
    version: str | None
    panic: bool
    queued: int = 0


class VerdictView(msgspec.Struct):
    """`verdict`: PASS, FAIL, UNDECIDED or VOID. `evidence`: a log e-value; at `bound` the check FAILs.

    `in_words`: the evidence and the bound as odds. `eta_requests`: requests on the challenger until a verdict, at the present rates, null once the rollout has ended. `proof`: a log e-value
    that the limit is kept, for `advance_early`. `limit`: what the estimate is compared with, in its `unit`: share, seconds, ratio or
    number; values beyond it are bad, or below it where it `is_least`. Null where the verdict is of no check of the plan.
    """

    check: str
    verdict: str
    reason: str
    n: int
    estimate: float | None
    interval: tuple[float, float] | None
    evidence: float | None
    bound: float | None
    eta_requests: int | None
    proof: float | None = None
    in_words: str = ""
    limit: float | None = None
    unit: str = "number"
    is_least: bool = False


class StepView(msgspec.Struct):
    """`weight` and `mirror` fractions, `hold` and `approval_within` in seconds. `gate`: a webhook must say go."""

    weight: float
    hold: float
    approval: bool
    mirror: float
    approval_within: float | None
    approval_then: str
    gate: bool = False


class RecommendationView(msgspec.Struct):
    """`recommendation`: PROMOTE, KEEP or UNDECIDED, by the number of the check `primary`. `lift`: the relative gain, positive where the
    challenger is better; `interval`: it at all looks, null at an open end. `p_value`: of "no difference", valid at every look.

    `evidence`: log e-values for PROMOTE and for KEEP; each is proven at `bound`, if no other challenger is tested for this number.
    Units are customers or requests of the smaller side: `eta_units` until a verdict as the numbers are now, `planned_units` in all
    for a gain that is `min_effect` off `min_lift`; with the seconds that these take at the present rate. `others`: the lifts of other challengers.
    """

    recommendation: str
    primary: str
    min_lift: float
    act: bool
    reason: str
    n: int
    lift: float | None
    interval: tuple[float | None, float | None] | None
    p_value: float | None
    evidence: dict[str, float]
    bound: float
    eta_units: int | None
    eta_seconds: float | None
    planned_units: int | None
    planned_seconds: float | None
    others: dict[str, float | None]


class RolloutView(msgspec.Struct):
    """`weight`: the challenger's fraction now. `since`: wall time at which the step began; `elapsed`: seconds served since.
    `watched`: promoted, and the traffic may still go back.

    `not_durable`: in the answer to a command that is in force and not in the journal yet, where it is kept. `recommendation`: where the
    plan names a number to go by, and the challenger is on trial.
    """

    route: str
    strategy: str
    champion: str
    challenger: str
    phase: str
    step: int
    steps: list[StepView]
    weight: float
    since: float
    elapsed: float
    waiting_for: str
    no_way_back: bool
    watched: bool
    verdicts: list[VerdictView]
    not_durable: str = ""
    recommendation: RecommendationView | None = None


class Model(msgspec.Struct, omit_defaults=True):
    """What served under a backend's name at a decision. `more`: endpoints beyond those that are listed."""

    endpoints: list[str]
    version: str | None = None
    more: int = 0


class Decision(msgspec.Struct, omit_defaults=True):
    """One line of the journal. `hash` is sha256 over the canonical JSON of the others.

    `from` and `to` say what changed: `{phase, step, weight, split, ledger_version}`, with what does not
    apply left out. `route` is "" for `drain` and `undrain`, which say `{backend, endpoint, drained}`; `retrain` and its end say `{order}`. `at`: wall time; `served`: the served time that the decision was made by (law 14). `forced`: which
    backends were down for it when an operator forced it. `backends`: those on trial or with traffic, before or after.
    """

    id: int
    at: float
    route: str
    action: str
    actor: str
    from_: dict[str, Any] = msgspec.field(name="from")
    to: dict[str, Any]
    reason: str
    evidence: dict[str, Any]
    ledger_version: int
    config_hash: str
    previous_hash: str
    hash: str
    format: int = 3  # of the state file that it was written to; records of format 3 do not name it
    served: float = 0.0
    forced: str = ""
    backends: dict[str, Model] = {}


class StatusChange(msgspec.Struct):
    """A change that is no decision. `what`: config, endpoints, store, clock, mirror, recommendation or drift. `ok`: nothing is wrong."""

    at: float
    what: str
    route: str | None
    detail: str
    ok: bool = True


class WhyView(msgspec.Struct):
    """`would_change`: one sentence for each condition that would lead to another decision. `now`: the part of the rollout that
    is under way, and for how long.
    """

    route: str
    decision: Decision | None
    phase: str | None
    would_change: list[str]
    verdicts: list[VerdictView]
    now: str = ""
    recommendation: RecommendationView | None = None


class OrderView(msgspec.Struct):
    """An order to train a model again that is under way. `attempts`: those that did not succeed; `detail`: why the last one did not."""

    id: str
    reason: str
    at: float
    attempts: int
    detail: str


class RetrainView(msgspec.Struct):
    """`on`: the occasions. `cooldown_left` and `schedule_left`: in seconds served; null without a schedule."""

    route: str
    on: list[str]
    cooldown_left: float
    schedule_left: float | None
    order: OrderView | None
    last: EndedOrder | None


class StatusView(msgspec.Struct):
    """`uptime` in seconds. `store_ok`: False while decisions cannot be written; exposure does not rise then.

    `gap`: the latest time that did not count for holds (law 14), and why; "" if there was none since the start.
    `store_error`: why not. `silent_mirrors`: mirrors that got no copy for a minute, though their routes had requests.
    `retrain`: of the routes that have it.
    """

    version: str
    uptime: float
    generation: int
    config: ConfigView
    workers: list[WorkerStatus]
    routes: list[RouteView]
    rollouts: list[RolloutView]
    backends: list[BackendView]
    store_ok: bool
    gap: str
    store_error: str = ""
    silent_mirrors: list[str] = []
    retrain: list[RetrainView] = []


class SplitView(msgspec.Struct):
    route: str
    split: dict[str, float]
    ledger_version: int


class TrafficView(msgspec.Struct):
    """Counts since the start. `cells`: one for each route, backend and role; the keys of the rest are labels."""

    cells: Collection[Cell]
    mirrors: Mapping[tuple[str, str, str], int]  # (route, backend, outcome)
    refused: Mapping[str, int]  # "status:stage"
    dropped: Mapping[str, int]  # by reason
    ejections: Mapping[tuple[str, str], int]  # (backend, endpoint)
    unread: Mapping[str, int]  # "route:reason"
    cache: Mapping[str, int]  # "route:outcome"
    observations: Mapping[str, int]  # by route
    exemplars: Mapping[
        tuple[str, str, str], Exemplar
    ]  # by route, backend and role: the latest exchange with a trace


class PredictionLogsView(msgspec.Struct):
    """By route with `feedback`; rows count since the start."""

    rows: Mapping[str, int]
    dropped: Mapping[tuple[str, str], int]  # by (route, reason)
    sizes: Mapping[str, int]  # bytes on disk
    errors: Mapping[str, str]  # why a log cannot be written now; empty for one that can


class DriftNumbers(msgspec.Struct):
    """Of one route. `distances`: by field, of the latest full window; `alarms`: how many ever, by kind; `active`: by detector."""

    route: str
    distances: dict[str, float]
    alarms: dict[str, int]
    active: list[str]


class MetricsView(msgspec.Struct):
    """What one scrape shows."""

    version: str
    config: ConfigView
    store_ok: bool
    workers: list[WorkerStatus]
    traffic: TrafficView
    splits: list[SplitView]
    differing: Mapping[str, int]  # by route: keys that the file and the state disagree about
    backends: list[BackendView]
    max_in_flight: Mapping[str, int]  # by backend
    latency_targets: Mapping[str, float]  # by route with a `slo`: seconds, of the p99
    queues: Mapping[str, QueueStatus]  # by backend
    rollouts: list[RolloutView]
    decisions: Mapping[tuple[str, str], int]  # (route, action), since the start
    decision_to_traffic: Histogram  # seconds
    buckets: tuple[float, ...]  # upper edges of histograms, in seconds
    silent_mirrors: Mapping[tuple[str, str], bool]  # by (route, backend), of those that are configured
    drift: list[DriftNumbers]
    retrains: Mapping[
        tuple[str, str], int
    ]  # (route, outcome), since the start; each route that has `retrain` has all
    messages: Mapping[str, int]  # by outcome, since the start
    messages_waiting: int
    feedback: Mapping[tuple[str, str, str], int]  # rows by (route, name, outcome)
    feedback_delays: Mapping[tuple[str, str], Histogram]  # seconds, by (route, name)
    prediction_logs: PredictionLogsView
