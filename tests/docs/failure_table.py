"""docs/failures.md: the table of errors.py, as a page."""

from __future__ import annotations

from crossfade.errors import FAILURES, Failure, Fallback

_FALLBACK = {
    Fallback.NEVER: "no",
    Fallback.PURE: "if the route is `pure`",
    Fallback.ALWAYS: "yes: nothing was sent",
}
_CUT = {"body": "the connection is cut", "status": "the model's answer, passed on"}


def _row(failure: Failure) -> str:
    client = f"{failure.status}" if failure.status else _CUT[failure.stage]
    if failure.stage == "client_left":
        client = "nothing; 499 in the log"
    cells = [
        f"`{failure.source}/{failure.stage}`",
        client,
        failure.detail or "–",
        "yes" if failure.blames_backend else "no",
        "yes" if failure.retries_endpoint else "no",
        _FALLBACK[failure.fallback],
    ]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    head = "| `x-crossfade-error` | client gets | `detail` | blames the backend | another endpoint is tried | the fallback answers |"
    return "\n".join([head, "|---|---|---|---|---|---|", *(_row(failure) for failure in FAILURES.values())])
