"""The laws over a record: what each request may have met, and what must not grow. Pure.

A failure of a request needs a fault that explains it: one of the kinds below, in force during the request or less than `SLACK`
seconds before. Limits are generous, since the machine may be slow; `starved` is the fault that this process itself ran late.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.soak.record import End, Fault, Record, Request, Usage, Violation

SLACK = 20.0  # seconds; ejection of an endpoint (10 s), probes and its slow start outlive the fault
PATIENCE = 90.0  # seconds until a request must have ended
MOST_SENT = (
    4  # times that a request may reach a backend where a POST may be repeated: two on each of two backends
)

DEAD, FAILS, REJECTS, HANGS, CUTS = (
    "endpoint dead",
    "backend fails",
    "backend rejects",
    "backend hangs",
    "backend cuts",
)
PROBES, OUT, KILLED, STARVED, DESCRIPTORS = (
    "probes fail",
    "route out",
    "worker killed",
    "starved",
    "few descriptors",
)

WORKER_DESCRIPTORS = "few descriptors of a worker"  # uv accepts and closes what it has no descriptor for
STOPPED = "stopped in order"
ENDED = "all ended"  # by the soak itself, to go on after a violation

EXPLAINED_BY: dict[str, frozenset[str]] = {
    "upstream/connect": frozenset({DEAD, STARVED}),
    "upstream/reset": frozenset({DEAD, CUTS}),
    "upstream/stale_connection": frozenset({DEAD, CUTS}),
    "upstream/first_byte_timeout": frozenset({HANGS, STARVED}),
    "upstream/total_timeout": frozenset({HANGS, STARVED}),
    "upstream/no_endpoint": frozenset({DEAD, FAILS, HANGS, CUTS, PROBES, STARVED}),
    "internal/overload": frozenset({HANGS, STARVED, WORKER_DESCRIPTORS}),
    "internal/no_route": frozenset({OUT}),
    "downstream/head_timeout": frozenset({STARVED}),
    "500": frozenset({FAILS}),
    "404": frozenset({REJECTS}),
    End.CUT: frozenset({KILLED, ENDED, CUTS, DEAD, HANGS}),
    End.CLOSED: frozenset({KILLED, ENDED, WORKER_DESCRIPTORS}),
    End.REFUSED: frozenset({ENDED, STOPPED}),
}


def explained(what: str, request: Request, faults: list[Fault]) -> bool:
    kinds = EXPLAINED_BY.get(what, frozenset())
    return any(f.kind in kinds and f.near(request.begun, request.ended, SLACK) for f in faults)


def failure_of(request: Request) -> str:
    """The key in `EXPLAINED_BY`; "" for a success."""
    if request.end is End.ANSWERED:
        return request.error or ("" if request.status == 200 else str(request.status))
    return "" if request.end in (End.LEFT, End.UNSERVED) else str(request.end)


def requests_violations(record: Record, pure_paths: frozenset[str]) -> Iterator[Violation]:
    """Laws 1, 8 and 9. `pure_paths`: where the proxy may send a POST once more."""
    for request in record.requests.values():
        at = min(request.ended, request.begun + PATIENCE)
        if request.wrong:
            yield Violation("8" if "incomplete" in request.wrong else "1", at, f"{request}: {request.wrong}")
        failure = failure_of(request)
        if failure and not explained(failure, request, record.faults):
            yield Violation("9", at, f"{request}: no fault explains it")
        if request.end is End.UNSERVED and request.seen:
            yield Violation("1", at, f"{request}, but {request.seen[0]} has received it")
        if len(request.seen) > (MOST_SENT if request.path in pure_paths else 1):
            yield Violation(
                "1", at, f"{request}: sent {len(request.seen)} times, to {', '.join(request.seen)}"
            )
        if request.end is End.ANSWERED and request.status == 200 and not request.seen:
            yield Violation("1", at, f"{request}: no backend has received it")


def usage_violations(usage: list[Usage]) -> Iterator[Violation]:
    """Memory and descriptors of the last third against the first third, by role."""
    for role in sorted({each.role for each in usage}):
        mine = [each for each in usage if each.role == role]
        third = len(mine) // 3
        if third < 5:
            continue
        first, last = mine[:third], mine[-third:]
        for what, limit in (("megabytes", 64.0), ("descriptors", 200.0)):
            before, after = (median(getattr(each, what) for each in part) for part in (first, last))
            if after > 2 * before + limit:
                yield Violation(
                    "growth", last[-1].at, f"{what} of {role}: median {before:.0f}, then {after:.0f}"
                )
