"""Who may call what of the admin API.

Rule: an operator may do all. A viewer may read, and ask for what changes nothing. Those who send feedback may do that alone,
so that the token of a batch job does not show the customers whom it knows of.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What an endpoint needs, and, but for OPEN, what a caller has."""

    OPEN = "open"  # for everybody, without a token
    VIEWER = "viewer"
    FEEDBACK = "feedback"
    OPERATOR = "operator"

    def allows(self, needed: Role) -> bool:
        return self in (Role.OPERATOR, needed) or needed is Role.OPEN
