"""`mirror`: a backend that gets copies of a route's requests.

Rule: where a mirror and its backend rewrite the same thing, the mirror's word counts.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from crossfade.config.match import JsonPath
from crossfade.config.request import NewJsonValue, RequestConfig, RequestHeadersConfig, RequestPathConfig
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
    abandoned: Flag = Field(
        default=True,
        description="false: a copy that is not answered yet is taken back when the client of its request leaves",
    )
    path: RequestPathConfig | None = Field(
        default=None,
        description="how the path of copies is rewritten; as `request` of the backend says if not given",
    )
    headers: RequestHeadersConfig = Field(
        default_factory=RequestHeadersConfig,
        description="header fields of copies that are set, added and removed, beside what `request` of the backend says",
    )
    json_fields: dict[JsonPath, NewJsonValue] = Field(
        default_factory=dict,
        alias="json",
        description="fields of a JSON body and their new values in copies, beside what `request` of the backend says",
    )

    @property
    def rewrites(self) -> bool:
        """Whether copies differ from the backend's other requests."""
        return self.path is not None or self.headers != RequestHeadersConfig() or bool(self.json_fields)

    def over(self, request: RequestConfig | None) -> RequestConfig:
        """The backend's `request`, and this mirror's keys over it."""
        below = request or RequestConfig()
        own, its = self.headers, below.headers
        named = {*own.set, *own.remove}
        headers = RequestHeadersConfig(
            set={**_without(its.set, {*named, *own.add}), **own.set},
            add={**_without(its.add, named), **own.add},
            remove=tuple(dict.fromkeys((*its.remove, *own.remove))),
        )
        kept = {
            path: value
            for path, value in below.json_fields.items()
            if not any(_overlap(path, other) for other in self.json_fields)
        }
        return RequestConfig(
            host=below.host, path=self.path or below.path, headers=headers, json={**kept, **self.json_fields}
        )


def _without(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _overlap(path: str, other: str) -> bool:
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")
