"""`mirror`: a backend that gets copies of a route's requests."""

from __future__ import annotations

from pydantic import Field

from crossfade.config.section import Flag, Name, Section, Weight
from crossfade.scale import WHOLE


class MirrorConfig(Section):
    """A copy of each sampled request; the client never sees the copy's answer or waits for it."""

    to: Name = Field(description="the backend that gets the copies")
    sample: Weight = Field(
        default=WHOLE,
        description="the share of requests that is copied",
        json_schema_extra={"default": "100%"},
    )
    noise: Weight = Field(
        default=0,
        description="the share of the mirrored requests that is also sent to the champion a second time, to measure "
        "its noise; it adds this much traffic, and must be 0 for requests with side effects",
        json_schema_extra={"default": "0%"},
    )
    safe: Flag = Field(
        default=False,
        description="true: copies change nothing, also of requests with POST and other methods that are not safe",
    )
