"""One line of the access log: a JSON object with the facts of an exchange.

Rule: every line has the same keys, with null for what there was not; `queued` only where a request waited. Durations are in
seconds, sizes are bytes of the bodies, without heads. Text comes from checked parts of a head or from the configuration.
"""

from __future__ import annotations

from time import gmtime, strftime
from typing import Final

from msgspec.json import encode

from crossfade.dataplane.outcome import Outcome
from crossfade.errors import FAILURES, RequestRefused, Stage
from crossfade.http1.lines import Start
from crossfade.routing.router import AssignedBackend, CompiledRoute

LONGEST_TARGET: Final = 1024  # characters
LONGEST_METHOD: Final = 32
MICRO: Final = 1_000_000
SMALL: Final = [b"%d" % n for n in range(1000)]
THREE_DIGITS: Final = [b"%03d" % n for n in range(1000)]
SOURCES: Final = {stage: f"{FAILURES[stage].source}/{stage}" for stage in FAILURES}
UNASSIGNED: Final = b'"route":null,"backend":null,"role":null,"ledger_version":null,"keyed":null,"answered_by":null,"endpoint":null'


class LineWriter:
    """Writes lines. The text of the current second is kept, as most lines are of it. `query`: log it too."""

    def __init__(self, query: bool) -> None:
        self.query = query
        self.second = -1
        self.stamp = b""

    def line(self, outcome: Outcome, now: float) -> bytes:
        """`now`: seconds since the epoch at the outcome's end."""
        duration = outcome.ended_at - outcome.started_at
        assigned, route, first_byte = outcome.assigned, outcome.route, b"null"
        if assigned is None or route is None:
            by = UNASSIGNED
        else:
            by = self.assignment(outcome, assigned, route)
            if outcome.answered_by:
                first_byte = decimal(outcome.first_byte_at - outcome.started_at)
        began = now - duration - outcome.queued
        return b'{"time":"%b","request_id":"%b","client":"%b",%b,%b,"status":%b,"failures":[%b],"bytes_in":%b,' \
            b'"bytes_out":%b,"first_byte":%b,"duration":%b%b}\n' % (
            self.time(began), outcome.request_id, outcome.client, self.asked(outcome.request), by, digits(outcome.status),
            failures_of(outcome.stages) if outcome.stages else b"", digits(outcome.bytes_in), digits(outcome.bytes_out),
            first_byte, decimal(duration), b',"queued":' + decimal(outcome.queued) if outcome.queued else b"",
        )  # fmt: skip

    def refusal(self, refusal: RequestRefused, client: bytes, request_id: bytes, now: float) -> bytes:
        """Of a request that was refused before an exchange began."""
        return b'{"time":"%b","request_id":"%b","client":"%b","method":null,"target":null,%b,"status":%d,' \
            b'"failures":[%b],"bytes_in":0,"bytes_out":0,"first_byte":null,"duration":0.0}\n' % (
            self.time(now), request_id, client, UNASSIGNED, refusal.status, failures_of((refusal.failure.stage,)),
        )  # fmt: skip

    def time(self, at: float) -> bytes:
        """RFC 3339, in UTC."""
        micros = int(at * MICRO)
        second = micros // MICRO
        if second != self.second:
            self.second, self.stamp = second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)).encode()
        return b"%b.%bZ" % (self.stamp, fraction(micros % MICRO))

    def asked(self, start: Start) -> bytes:
        target = start.target if self.query else start.path
        if len(target) > LONGEST_TARGET:
            target = target[:LONGEST_TARGET]
        return b'"method":"%b","target":"%b"' % (start.method[:LONGEST_METHOD], escaped(target))

    def assignment(self, outcome: Outcome, assigned: AssignedBackend, route: CompiledRoute) -> bytes:
        if not assigned.logged:
            assigned.logged = b'"route":%b,"backend":%b,"role":%b,"ledger_version":%d,"keyed":' % (
                encode(route.spec.name), encode(assigned.backend), encode(assigned.role), route.version,
            )  # fmt: skip
        keyed = b"false" if outcome.key is None else b"true"
        if not outcome.answered_by:
            return b'%b%b,"answered_by":null,"endpoint":null' % (assigned.logged, keyed)
        return b'%b%b,"answered_by":"%b","endpoint":"%b"' % (
            assigned.logged, keyed, outcome.answered_by.encode(), outcome.endpoint,
        )  # fmt: skip


def failures_of(stages: tuple[Stage, ...]) -> bytes:
    return b",".join([b'"%b"' % SOURCES[stage].encode() for stage in stages])


def decimal(seconds: float) -> bytes:
    """To the microsecond; a duration is not negative."""
    micros = int(seconds * MICRO + 0.5)
    return b"%b.%b" % (digits(micros // MICRO), fraction(micros % MICRO))


def fraction(micros: int) -> bytes:
    """Six digits."""
    return THREE_DIGITS[micros // 1000] + THREE_DIGITS[micros % 1000]


def digits(number: int) -> bytes:
    return SMALL[number] if 0 <= number < 1000 else b"%d" % number


def escaped(text: bytes) -> bytes:
    """The inside of a JSON string, for visible ASCII. `in` would first try to take the bytes for a number."""
    if text.find(b"\\") >= 0 or text.find(b'"') >= 0:
        return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return text
