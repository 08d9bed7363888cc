"""Whether one member of a group has more events than the others, from blocks of time; valid at every look.

Members of a group (endpoints of a backend) get requests at the same time. In a block with X events, of which x_e are of
member e with its share w_e of the requests, L_e = exp(x_e ln δ − X ln(w_e δ + 1 − w_e)) says how much likelier the events are
if each is δ times as likely at e. The factor of the block is f_e = L_e / Σ_i w_i L_i, so Σ_e w_e f_e = 1.

If the members are alike, each is as likely as any other to have had the numbers of any other in this block. With equal shares
the expectation of f_e is therefore exactly 1, however the events of one block depend on each other: a burst of a thousand
events at one member is one throw of a die. Rule: no block multiplies the wealth by more than MOST, so a member has to be the
worst in a dozen blocks before it is called bad, and a pause of some seconds never suffices.

A member may turn bad late, so part p_t of the wealth is bet from block t on, with Σ p_t = 1: W ← (W + p_t) f, a convex
combination of products (as stats.restarts). With p_t = 1/ln(t + e − 1) − 1/ln(t + e), 1/ln(t + e) is not bet yet after t blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import e, exp, log, log1p
from typing import NamedTuple

import msgspec

from crossfade.stats.counts import ANY_SECOND, REQUESTS
from crossfade.stats.restarts import log_add_exp
from crossfade.stats.sequential import bound, log_mean_exp
from crossfade.stats.sums import add_up

BLOCK = 3  # seconds; a pause of a second is in one block or two
TIMES = (2.0, 5.0, 20.0)  # alternatives δ
MOST = 2.0  # times the wealth, by one block
Logs = list[float]  # one for each alternative


class Member(NamedTuple):
    """`x` events among `n` requests."""

    x: int
    n: int


class Wealth(msgspec.Struct):
    """Of one kind of event. `blocks`: closed blocks with an event; `logs`: log W by member."""

    blocks: int = 0
    logs: dict[str, Logs] = msgspec.field(default_factory=dict)

    def close(self, members: Mapping[str, Member]) -> None:
        """Bet on a block; members without requests do not take part."""
        factors = block_logs(members)
        if not factors:
            return
        self.blocks += 1
        new = log(_part(self.blocks))
        for name, gained in factors.items():
            before = self.logs.get(name)
            held = [new] * len(TIMES) if before is None else [log_add_exp(w, new) for w in before]
            self.logs[name] = [w + f for w, f in zip(held, gained, strict=True)]

    def log_e(self, name: str) -> float:
        """Log e-value against "this member is like the others"."""
        held = self.logs.get(name)
        return 0.0 if held is None else log_add_exp(log_mean_exp(held), -log(log(self.blocks + e)))


class Group(msgspec.Struct):
    """The members of one group. `block`: number of the open block; `counted`: its requests and events by kind, by member."""

    block: int = 0
    counted: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    wealth: dict[str, Wealth] = msgspec.field(default_factory=dict)

    def add(self, second: int, by_member: Mapping[str, dict[str, int]]) -> None:
        """Count what ended; requests that end late are in the block in which they are counted."""
        block = second // BLOCK
        if block > self.block:
            self.close()
            self.block = block
        for name, counts in by_member.items():
            add_up(self.counted.setdefault(name, {}), counts)
        if second == ANY_SECOND:
            self.close()

    def close(self) -> None:
        counted, self.counted = self.counted, {}
        for kind in {kind for counts in counted.values() for kind in counts} - {REQUESTS}:
            members = {
                name: Member(counts.get(kind, 0), counts.get(REQUESTS, 0)) for name, counts in counted.items()
            }
            self.wealth.setdefault(kind, Wealth()).close(members)

    def forget(self, name: str) -> None:
        """What is known of this member; it begins again as one of those that are alike."""
        self.counted.pop(name, None)
        for wealth in self.wealth.values():
            wealth.logs.pop(name, None)

    def proven(self, kind: str, alpha: float) -> set[str]:
        """The members that are not like the others, at this level for all members together."""
        found = self.wealth.get(kind)
        if found is None or not found.logs:
            return set()
        limit = bound(alpha / len(found.logs))
        # Cheap, as it is asked at each look: the e-value is at most the best alternative's wealth plus 1.
        near = [name for name, held in found.logs.items() if max(held) > limit - 1]
        return {name for name in near if found.log_e(name) >= limit}

    def log_e(self, kind: str, name: str) -> float:
        found = self.wealth.get(kind)
        return 0.0 if found is None else found.log_e(name)


def block_logs(members: Mapping[str, Member]) -> dict[str, Logs]:
    """ln f_e for each alternative, at most ln MOST; empty if there are no two members, or no events."""
    # An event may be counted before its request has ended.
    counted = {name: Member(m.x, max(m.n, m.x)) for name, m in members.items() if m.n or m.x}
    events, requests = sum(m.x for m in counted.values()), sum(m.n for m in counted.values())
    if len(counted) < 2 or not events:
        return {}
    out: dict[str, Logs] = {name: [] for name in counted}
    for times in TIMES:
        likelier = {
            name: m.x * log(times) - events * log(m.n / requests * (times - 1) + 1)
            for name, m in counted.items()
        }
        top = max(likelier.values())
        mean = top + log(sum(m.n / requests * exp(likelier[name] - top) for name, m in counted.items()))
        for name, value in likelier.items():
            out[name].append(min(value - mean, log(MOST)))
    return out


def _part(block: int) -> float:
    """p_t of the wealth that is bet from this block on; the first is block 1."""
    before = block + e - 1
    return log1p(1 / before) / (log(before) * log(before + 1))
