"""The cookie of a sticky key that the proxy assigns, as a value of the snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # as in `snapshot`
    from crossfade.config.assign import AssignConfig


class Assigned(msgspec.Struct, frozen=True):
    """The cookie of a sticky key that the proxy assigns. `max_age` is in seconds; `secure` is auto, true or false."""

    cookie: str
    max_age: float
    secure: str = "auto"
    same_site: str = "lax"
    domain: str = ""
    path: str = "/"


def compile_assigned(assign: AssignConfig | None) -> Assigned | None:
    if assign is None:
        return None
    return Assigned(
        assign.cookie, assign.max_age, assign.secure, assign.same_site, assign.domain or "", assign.path
    )
