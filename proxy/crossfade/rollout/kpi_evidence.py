"""What is kept of feedback for one check of a KPI: sums that the check needs, and per customer what the sums need.

Rule: a customer is one unit, however many numbers it gives. What depends on the side is counted in two ways.

- *Exact tests* (events, declared ranges) count a number only if a new coin decided its side. A customer has a position in the
  route's order, uniform in 0 to 1, and is on trial while its position is below the challenger's share. Each number says whether
  it is, so it narrows the interval [low, high) of that position. At a share w inside the interval, the customer is on trial with
  probability (w − low)/(high − low), whatever came before: a new coin. At other shares nothing is left to chance, and the number
  is not counted. So of each customer the first number counts, and after a change of weights the first one again if it could have
  moved. Exact, whichever customers give numbers, and when.
- *Means* count all numbers of a customer as one unit (stats.means).

The first FIRST_UNITS units fix the scale (ρ, and c of the exact test of a range) and are left out: later numbers of these
customers count as those of others. The centre of a tick is the mean of everything before the tick.

The journal keeps the sums only. Customers are bounded as in `first_events`: when there are too many, those whose hash does not
begin with one more zero bit are closed. Their sums stay, and their later numbers are not counted, on either side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.rollout.plan import Check
from crossfade.stats.bounded import LEVELS, level_of, toss_of
from crossfade.stats.counts import KEY_BITS
from crossfade.stats.means import LARGEST, PLANNED_UNITS, MeanSums, Unit

LIMIT = 10_000  # customers remembered for each check
FIRST_UNITS = 200  # units that fix the scale
_SHARES = 64  # different probabilities of a coin; more come only of very many changes of weights


class Number(NamedTuple):
    """What feedback says of one prediction. `unit`: as `Ripe` has it; `keyed`: it is of a sticky key.

    `value`: a text where the feedback is none that a KPI can use.
    """

    value: float | str
    unit: int
    keyed: bool = True


class Fed(NamedTuple):
    """A number, whether its request was the challenger's (`here`), and the challenger's share then."""

    number: Number
    here: bool
    share: float


class SideNumbers(msgspec.Struct):
    """Counted numbers of one side, and their customers or requests."""

    n: int = 0
    total: float = 0.0
    units: int = 0

    def add(self, value: float, is_new: bool) -> None:
        self.n += 1
        self.total += value
        self.units += is_new

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0


class Coins(msgspec.Struct):
    """Units whose side a coin of this probability decided, by level: all in one for a mean, 0 and 1 for an event."""

    share: float
    here: list[int]
    rest: list[int]


class Customer(msgspec.Struct, omit_defaults=True):  # as it is saved for each of thousands
    """The interval of its position, how many coins it had, the sums of its numbers, and whether it has counted on a side."""

    low: float = 0.0
    high: float = 1.0
    coins: int = 0
    total: float = 0.0
    beyond: float = 0.0  # Σ(Y − limit) at the challenger
    unit: Unit = msgspec.field(default_factory=Unit)
    sides: tuple[bool, bool] = (False, False)


class First(msgspec.Struct):
    """Numbers of the first units: (how many, sum) by unit; `weights`: Σw(1 − w) over the numbers; `known`: how many units."""

    units: dict[int, tuple[int, float]] = msgspec.field(default_factory=dict)
    weights: float = 0.0
    known: int = 0

    def add(self, unit: int, value: float, share: float) -> None:
        n, total = self.units.get(unit, (0, 0.0))
        self.units[unit] = (n + 1, total + value)
        self.weights += share * (1 - share)
        self.known = max(self.known, len(self.units))

    def around(self, centre: float) -> float:
        """The mean over units of (Σ(Y − centre))²."""
        return sum([(total - n * centre) ** 2 for n, total in self.units.values()]) / len(self.units)

    def scale(self, limit: float) -> Scale | None:
        """None while there are too few units, or all are alike."""
        if len(self.units) < FIRST_UNITS:
            return None
        numbers = sum([n for n, _ in self.units.values()])
        centre = sum([total for _, total in self.units.values()]) / numbers
        spread = self.around(centre)
        if spread <= 0:
            return None
        coin = self.weights / numbers
        return Scale(
            centre, spread * coin * PLANNED_UNITS, max(spread, self.around(limit)) * PLANNED_UNITS, numbers
        )


class Scale(NamedTuple):
    """`centre`: the mean; `planned`: the variance for which ρ of the difference is chosen; `beyond`: for the distance from the limit."""

    centre: float
    planned: float
    beyond: float
    n: int


class Base(msgspec.Struct):
    """Σw(1 − A)Y and Σw(1 − A): what is left of S where it is the champion's turn. `mean` has the weights of the difference."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, share: float, value: float) -> None:
        self.total += share * value
        self.weight += share

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else 0.0


class KpiEvidence(msgspec.Struct):
    """`scale`: None while the first units fix it. `base`: the champion at the weights of the difference. `n`, `total`: of everything that counts for the centre; `centre`: of this tick.

    `largest`: the largest |sum| of one unit, of `absolute`, the sum of |sum| over all units; `clipped`: numbers outside the range.
    `unusable`: the latest number that the check cannot use.
    """

    here: SideNumbers = msgspec.field(default_factory=SideNumbers)
    rest: SideNumbers = msgspec.field(default_factory=SideNumbers)
    coins: list[Coins] = msgspec.field(default_factory=list)
    difference: MeanSums = msgspec.field(default_factory=MeanSums)
    beyond: MeanSums = msgspec.field(default_factory=MeanSums)
    base: Base = msgspec.field(default_factory=Base)
    scale: Scale | None = None
    centre: float = 0.0
    n: int = 0
    total: float = 0.0
    clipped: int = 0
    largest: float = 0.0
    absolute: float = 0.0
    keyed: bool = False
    unusable: float | str | None = None
    first: First = msgspec.field(default_factory=First)
    customers: dict[int, Customer] = msgspec.field(default_factory=dict)
    halvings: int = 0

    def sums(self) -> KpiEvidence:
        """A copy without what is kept per customer."""
        return replace(self, first=First(known=self.first.known), customers={})

    def add(self, check: Check, fed: Iterable[Fed]) -> None:
        """Add the numbers of one tick."""
        for each in fed:
            value, unit, keyed = each.number
            if isinstance(value, str) or not is_usable(check, value):
                self.unusable = value
            elif not (keyed and unit >> (KEY_BITS - self.halvings)):
                self._add_usable(check, each, value)
        self._end_tick(check)

    def _add_usable(self, check: Check, fed: Fed, given: float) -> None:
        value = clipped(check, given)
        if check.kind == "amount" and self.scale is None:
            self.first.add(fed.number.unit, value, fed.share)
            return
        customer = self._customer_of(fed.number)
        tossed = self._toss(check, customer, fed, given)
        if check.is_exact and not tossed:
            return
        if not check.is_exact:
            self._add_to_means(check, customer, fed, given)
        self.clipped += value != given
        self.n += 1
        self.total += value
        (self.here if fed.here else self.rest).add(value, not customer.sides[fed.here])
        customer.sides = (True, customer.sides[1]) if not fed.here else (customer.sides[0], True)

    def _customer_of(self, number: Number) -> Customer:
        if not number.keyed:
            return Customer()
        self.keyed = True
        return self.customers.setdefault(number.unit, Customer())

    def _toss(self, check: Check, customer: Customer, fed: Fed, value: float) -> bool:
        """Whether a new coin decided the side of this number. The coin is counted, and the interval narrowed."""
        low, high = customer.low, customer.high
        if not low < fed.share < high:
            return False
        chance = (fed.share - low) / (high - low)
        coins = next((c for c in self.coins if c.share == chance), None)
        if coins is None:
            if len(self.coins) >= _SHARES or not 0 < chance < 1:
                return False
            coins = Coins(chance, [0] * _levels(check), [0] * _levels(check))
            self.coins.append(coins)
        level = _level_of(check, value, fed.number.unit, customer.coins)
        (coins.here if fed.here else coins.rest)[level] += 1
        customer.coins += 1
        customer.low, customer.high = (low, fed.share) if fed.here else (fed.share, high)
        return True

    def _add_to_means(self, check: Check, customer: Customer, fed: Fed, value: float) -> None:
        self.difference.add(customer.unit, fed.here, fed.share, value - self.centre)
        if fed.here:
            self.beyond.add_alone(customer.beyond, value - check.limit)
            customer.beyond += value - check.limit
        else:
            self.base.add(fed.share, value)
        before = customer.total
        customer.total += value
        self.absolute += abs(customer.total) - abs(before)
        self.largest = max(self.largest, abs(customer.total))

    def _end_tick(self, check: Check) -> None:
        """Enough first units fix the scale; the mean so far is the centre of the next tick; too many customers are halved."""
        if self.scale is None and check.kind == "amount":
            self.scale = self.first.scale(check.limit)
            if self.scale:
                self.n, self.total, self.first = self.scale.n, self.scale.n * self.scale.centre, First()
        self.centre = self.total / self.n if self.n else 0.0
        while max(len(self.customers), len(self.first.units)) >= LIMIT:
            self.halvings += 1
            closed = KEY_BITS - self.halvings
            self.customers = {key: c for key, c in self.customers.items() if not key >> closed}
            self.first.units = {key: found for key, found in self.first.units.items() if not key >> closed}


def is_usable(check: Check, value: float) -> bool:
    return value in (0, 1) if check.kind == "event" else abs(value) <= LARGEST


def clipped(check: Check, value: float) -> float:
    return value if check.range is None else min(max(value, check.range[0]), check.range[1])


def _levels(check: Check) -> int:
    """Of counts: all units in one for a mean, 0 and 1 for an event."""
    if check.kind == "event":
        return 2
    return 1 if check.range is None else LEVELS + 1


def _level_of(check: Check, value: float, unit: int, coins: int) -> int:
    if check.kind == "event":
        return int(value)
    return 0 if check.range is None else level_of(value, *check.range, toss_of(unit, coins))
