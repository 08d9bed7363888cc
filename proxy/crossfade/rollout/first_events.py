"""The first event of each key: what a customer who keeps one side can say about the coin.

Rule: on a sticky route the coin is tossed once for each key, not for each request. Which keys are on trial
was settled before the first of them came: by the place of the key's bucket in the route's salted order,
which is uniform, against the challenger's share w. If the challenger is as good as the champion, which keys
meet an event, and when, does not depend on the sides that they are on. Given the keys that meet one in
a step, in the order in which they first do, each is then at the challenger with chance w, independent of
the others: one toss each, as the tests of `stats.sequential` want them. The second event of a key is where
the first was; to count it as well is to look at one toss twice, and a few customers who fail again and again
would throw out a healthy challenger.

When the weight grows, whole buckets move, in the same order: a key at the challenger stays there, and one
that failed at the champion may move. So what is known of a key from earlier steps tells something of its
side in this one, and tosses of two steps must not meet in one test. They do not: each step has a test and
an alpha of its own (`checks`), which counts the first event *in the step*, of keys that moved as of those
that did not; over all keys its share is w again. That the alphas add up takes no independence of the steps.
It takes that a step begins at a moment that has nothing to do with the sides. It begins after a PASS,
that is, rather when those who fail sit at the champion: an error on the safe side.

A challenger that is better than the champion keeps its keys for longer. Since the test of a step goes by
the sums at each look, and each key's first event comes no sooner than it would at the champion, the evidence is
never above that of an equal one. The parts of it that begin late (`stats.restarts`) are right for an equal one.

For a limit of the challenger alone, the first events stand against all requests. They are no more than
all events, and a key that has met none so far is no likelier than another to meet one: the test is
valid for the share of requests over the customers that might have come, and weaker where few
customers have most of the errors. Estimates shown to people are of requests, events repeated or not.

A key that has met its event says nothing more in its step. Where all keys have, there is no proof any more,
but the estimate still withholds the PASS, and the fuse still sees each outcome.

`seen` is bounded: when full, every second key is left out of account from then on, by its hash, which knows
nothing of sides. Hashes that a worker had no room for are lost the same way: as many of a report and a route
are kept as come first, on both sides together. Both cost power, not validity.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

LIMIT = 10_000  # keys remembered, for each kind of event of a step
BITS = 64


class FirstEvents(msgspec.Struct):
    """Keys that met an event in one step; of all keys, those whose hash begins with `halvings` zero bits count."""

    seen: set[int] = msgspec.field(default_factory=set)
    halvings: int = 0

    def count(self, keys: Iterable[int]) -> int:
        """How many of these meet their first event now; they are remembered."""
        found = 0
        for key in keys:
            if key in self.seen or key >> (BITS - self.halvings):
                continue
            self.seen.add(key)
            found += 1
            if len(self.seen) >= LIMIT:
                self.halve()
        return found

    def halve(self) -> None:
        self.halvings += 1
        self.seen = {key for key in self.seen if not key >> (BITS - self.halvings)}
