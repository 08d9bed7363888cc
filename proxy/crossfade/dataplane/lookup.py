"""What the response cache of a route has to do with one exchange."""

from __future__ import annotations

from crossfade.http1.response_head import ResponseHead
from crossfade.routing.caching import AnswerCache


class Lookup:
    """`accepted`: as `CacheRules.asks` says. `key`: empty until the whole request is there.

    `gathered`: the body of an answer that arrives in parts, `head` its head and `times` since when and how long it is fresh.
    """

    __slots__ = ("accepted", "cache", "gathered", "head", "key", "times")

    def __init__(self, cache: AnswerCache, accepted: float) -> None:
        self.cache = cache
        self.accepted = accepted
        self.key = b""
        self.head: ResponseHead | None = None
        self.gathered = bytearray()
        self.times = (0.0, 0.0)

    def end(self) -> None:
        """What was gathered is kept now, or dropped."""
        self.cache.gathered -= len(self.gathered)
        self.gathered = bytearray()
