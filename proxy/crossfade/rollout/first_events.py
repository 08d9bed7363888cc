"""The first event of each sticky key: which events a test may count on a sticky route.

Rule: on a sticky route the assignment is random per key, not per request. The side of a key was fixed before its first
request: by the position of the key's bucket in the route's salted order, which is uniform, against the challenger's
share w. If the challenger is as good as the champion, which keys have an event, and when, does not depend on their
sides. Given the keys that have an event in a step, in the order of their first events, each is at the challenger with
probability w, independently of the others: one Bernoulli trial each, as the tests of `stats.sequential` need. The
second event of a key is on the same side as the first. Counting it would count one trial twice, and a few
customers who fail again and again would abort a healthy challenger.

When the weight grows, whole buckets move, in the same order: a key at the challenger stays there, and a key that
failed at the champion may move. So events of earlier steps tell something about the side of a key in this step, and
trials of two steps must not be in one test. They are not: each step has a test and an alpha of its own (`checks`),
which counts the first event *in the step*, of keys that moved and of keys that did not; over all keys the challenger's
share is w again. That alphas add up does not need independent steps. It needs that a step begins at a time
that does not depend on the sides. A step begins after a PASS, so rather when failing keys are at the champion:
an error on the safe side.

A challenger that is better than the champion keeps its keys without an event for longer. The test of a step uses the
sums at each look, and the first event of each key comes no sooner than it would at the champion, so the evidence is
never above that of an equal challenger. Its parts that begin late (`stats.restarts`) are valid for an equal challenger.

For an absolute limit of the challenger, the first events are compared with all requests. They are at most all events,
and a key without an event so far is no more likely than another to have one. So the test is valid for the share of
requests over the customers that might have come, and weaker if few customers have most of the errors. Estimates shown
to people are of all requests, repeated events included.

A key that has had its event gives no more evidence in its step. If all keys have, there is no proof any more, but the
estimate still withholds the PASS, and the fuse still sees each outcome.

`seen` is bounded. When it is full, every second key is left out from then on, by its hash, which does not depend on
the side. Hashes that a worker had no room for are lost the same way: a report keeps the first hashes of a route, of
both sides together. Both cost power, not validity.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

LIMIT = 10_000  # keys remembered for each kind of event of a step
BITS = 64


class FirstEvents(msgspec.Struct):
    """Keys that had an event in one step. Only keys whose hash begins with `halvings` zero bits count."""

    seen: set[int] = msgspec.field(default_factory=set)
    halvings: int = 0

    def count(self, keys: Iterable[int]) -> int:
        """How many of these keys have their first event now; they are remembered. `keys`: 64-bit hashes."""
        found = 0
        for key in keys:
            if key in self.seen or key >> (BITS - self.halvings):
                continue
            self.seen.add(key)
            found += 1
            if len(self.seen) >= LIMIT:
                self._halve()
        return found

    def _halve(self) -> None:
        self.halvings += 1
        self.seen = {key for key in self.seen if not key >> (BITS - self.halvings)}
