"""Why an answer says nothing: reasons of `Answer.unread`, and classes of `Answer.error`; docs/answers.md explains them.

Rule: an error is what the backend does wrong for its client. What only this reader cannot read is unread.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One of the two is said."""

    error: str = ""
    unread: str = ""


class Unreadable(Exception):
    """Raised and caught inside of this package."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.error or problem.unread)
        self.problem = problem


STATUS: Final = Problem(unread="status")  # no answer, or its status is not 2xx
BROKEN: Final = Problem(unread="broken")
SIZE: Final = Problem(unread="size")
ENCODING: Final = Problem(unread="encoding")
CORRUPT: Final = Problem(unread="corrupt")
UTF8: Final = Problem(unread="utf8")
NOT_JSON: Final = Problem(unread="not_json")
DEPTH: Final = Problem(unread="depth")
SHAPE: Final = Problem(unread="shape")
MISSING: Final = Problem(unread="missing")
TYPE: Final = Problem(unread="type")
RANGE: Final = Problem(unread="range")

OIP_ERROR: Final = Problem(error="oip_error")
ERROR_MEMBER: Final = Problem(error="error_member")
SSE_ERROR: Final = Problem(error="sse_error")
NOT_A_NUMBER: Final = Problem(error="not_a_number")
EMPTY: Final = Problem(error="empty")

UNREAD: Final = tuple(
    problem.unread
    for problem in (
        STATUS,
        BROKEN,
        SIZE,
        ENCODING,
        CORRUPT,
        UTF8,
        NOT_JSON,
        DEPTH,
        SHAPE,
        MISSING,
        TYPE,
        RANGE,
    )
)
ERRORS: Final = tuple(problem.error for problem in (OIP_ERROR, ERROR_MEMBER, SSE_ERROR, NOT_A_NUMBER, EMPTY))
