"""What the configuration file last said of a route: the third side of a reload, beside the new file and the state.

Rule (law 13): a reload applies the difference between this and the new file. So the state keeps it with the route.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.rollout.plan import Plan


class Applied(msgspec.Struct, frozen=True):
    """`plans` by challenger; `versions` of the route's backends; `settings`: the other keys of the route, as JSON values.

    A state of format 4 knows the split only; then the others are empty.
    """

    split: dict[str, int]
    plans: dict[str, Plan] = {}
    versions: dict[str, str | None] = {}
    settings: dict[str, Any] = {}
