"""The fuse looks at the latest outcomes of the challenger, and of the champion over the same time."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfade.rollout.fuse import PROVEN, Came, Reached, evaluate_fuse, next_reached, reach
from crossfade.rollout.guard import is_failing
from crossfade.rollout.plan import Fuse
from crossfade.rollout.recent import RecentOutcomes, Tick
from crossfade.rollout.verdict import Verdict
from crossfade.stats.counts import key_of, outcome_of

FUSE = Fuse(consecutive_errors=5, error_share=0.5, of_last=20)


def recent(*ticks: str) -> RecentOutcomes:
    """Outcomes by tick, one second apart: `x` is an error."""
    made = RecentOutcomes()
    for at, outcomes in enumerate(ticks):
        made.add([int(o == "x") for o in outcomes], float(at))
    return made


HEALTHY = recent(*["." * 50] * 10)


@pytest.mark.parametrize(
    ("challenger", "fails"),
    [
        (recent(), False),
        (recent("xxxx"), False),
        (recent("xxxxx"), True),
        (recent("xxx", "xx"), True),
        (recent("xxxxx."), False),
        (recent("x." * 9 + "x"), False),  # 19 outcomes are not 20
        (recent("x." * 10), True),
        (recent("x." * 9, ".."), False),
        (recent("x" * 4 + "." * 200), False),
        (recent("x" * 20, "." * 20), False),  # long before the latest 20
    ],
)
def test_errors_in_a_row_or_a_share_of_the_latest_outcomes_fail(challenger, fails):
    finding = evaluate_fuse(FUSE, challenger, HEALTHY)
    assert (finding.verdict if finding else None) == (Verdict.FAIL if fails else None)


def test_the_reason_contains_the_observed_value_and_the_limit():
    row = evaluate_fuse(FUSE, recent("xxxxxx"), HEALTHY)
    share = evaluate_fuse(FUSE, recent("x." * 10), HEALTHY)
    assert row is not None
    assert share is not None
    assert row.reason == "5 errors in a row; the limit is 5"
    assert share.reason == "10 of the last 20 requests failed; the limit is 50%"
    assert (row.check, share.n, share.estimate) == ("fuse", 20, 0.5)


@pytest.mark.parametrize(
    ("champion", "void"),
    [
        (recent("....", "xxxxx"), True),
        (recent("." * 400, "." * 40 + "xxxxx"), True),  # the outage began in the middle of the tick
        (recent("." * 40, "." * 40 + "xx.xx" + "." * 40), True),  # and ended in the same tick
        (recent("." * 40, "x...." * 40), False),  # as many errors, but never in a row
        (recent("xxxxx", "....."), False),  # errors before, none at the same time
        (recent(".....", "....x"), False),  # one error of the champion shows no common cause
        (recent("....."), False),  # no outcomes of the same time
        (recent(".....", ".x.xx"), True),  # half as often is enough
    ],
)
def test_the_finding_is_void_if_the_champion_fails_at_the_same_time(champion, void):
    finding = evaluate_fuse(FUSE, recent(".", "x" * 100), champion)
    assert finding is not None
    assert finding.verdict is (Verdict.VOID if void else Verdict.FAIL)
    assert ("a common cause" in finding.reason) == void


def test_the_champion_is_compared_over_the_whole_time_of_the_challengers_errors():
    """The outage is over. The champion's latest outcomes do not show it, and the challenger has had no requests since."""
    finding = evaluate_fuse(FUSE, recent("x" * 10), recent("x" * 40, "." * 200, "." * 200))
    assert finding is not None
    assert finding.verdict is Verdict.VOID


def test_outcomes_with_a_key_are_read_by_their_lowest_bit():
    """A key's hash is a large number, which is no number of errors."""
    well, badly = RecentOutcomes(), RecentOutcomes()
    well.add([outcome_of(key << 20, False) for key in range(1, 21)], 0.0)
    badly.add([outcome_of(key << 20, True) for key in range(1, 21)], 0.0)
    assert evaluate_fuse(FUSE, well, HEALTHY) is None
    failed = evaluate_fuse(FUSE, badly, well)
    assert failed is not None
    assert failed.verdict is Verdict.FAIL
    common = evaluate_fuse(FUSE, badly, badly)
    assert common is not None
    assert common.verdict is Verdict.VOID
    assert (is_failing(badly, 1.0), is_failing(well, 1.0)) == (True, False)


HELD = Fuse(consecutive_errors=5, error_share=0.1, of_last=20)
FIRST, LAST, NOW = 100, 101, 50.0  # seconds of the monotonic clock, and served time
ROW = RecentOutcomes()
ROW.add([1, 1], NOW, FIRST)
ROW.add([1, 1, 1], NOW, LAST)


def at_seconds(outcomes: dict[int, str], at: float = NOW) -> list[Tick]:
    return [Tick(at, [int(o == "x") for o in text], second) for second, text in outcomes.items()]


@pytest.mark.parametrize(
    ("waiting", "came", "verdict"),
    [
        ({}, {}, Verdict.FAIL),
        ({99: 50, 103: 50}, {}, Verdict.FAIL),  # of other seconds
        ({102: 50}, {}, Verdict.FAIL),  # only of the second after
        ({100: 1}, {}, Verdict.FAIL),  # one failure would show no common cause
        ({100: 1, 102: 1}, {}, Verdict.VOID),
        ({101: 12}, {}, Verdict.VOID),
        ({101: 12}, {101: "." * 12}, Verdict.VOID),
        ({101: 12}, {101: "." * 13}, Verdict.FAIL),  # more have ended well since
        ({101: 12}, {102: "." * 13}, Verdict.FAIL),
        ({101: 12}, {99: "." * 99}, Verdict.VOID),  # routed before
        ({101: 12, 102: 3}, {101: "." * 13}, Verdict.VOID),
        ({101: 12}, {101: "." * 13 + "xxx"}, Verdict.VOID),  # a common cause after all
        ({}, {101: "xxx"}, Verdict.VOID),
        ({}, {99: "xxx"}, Verdict.FAIL),
    ],
)
def test_the_fuse_holds_while_the_champions_requests_of_the_same_seconds_wait(waiting, came, verdict):
    recents = (ROW, RecentOutcomes())
    reached = next_reached(None, HELD, recents, Came((), {101: 12}, NOW))
    assert reached is not None
    assert reached.is_held
    reached = next_reached(reached, HELD, recents, Came(at_seconds(came), waiting, NOW + 1), horizon=60.0)
    finding = evaluate_fuse(HELD, *recents, reached)
    assert finding is not None
    assert finding.verdict is verdict


def test_a_held_fuse_says_what_it_waits_for_and_decides_at_the_horizon():
    recents, came = (ROW, RecentOutcomes()), Came((), {100: 2, 101: 9, 102: 1}, NOW)
    reached = next_reached(None, HELD, recents, came)
    held = evaluate_fuse(HELD, *recents, reached)
    assert held is not None
    assert held.reason == (
        "5 errors in a row; the limit is 5; the champion has 12 requests of the same seconds that have not been "
        "answered yet, so the cause may be common"
    )
    for seconds, verdict in ((59.0, Verdict.VOID), (60.0, Verdict.FAIL)):
        reached = next_reached(reached, HELD, recents, came._replace(now=NOW + seconds), horizon=60.0)
        decided = evaluate_fuse(HELD, *recents, reached)
        assert decided is not None
        assert decided.verdict is verdict


def test_a_limit_that_nobody_could_act_on_is_forgotten_when_the_challenger_has_recovered():
    recents = (ROW, RecentOutcomes())
    reached = next_reached(None, HELD, recents, Came((), {}, NOW))
    assert next_reached(reached, HELD, recents, Came((), {101: 99}, NOW + 1)) is reached
    recovered = RecentOutcomes([*ROW.ticks, Tick(NOW + 1, [0], LAST)])
    assert next_reached(reached, HELD, (recovered, recents[1]), Came((), {}, NOW + 1)) is None


def test_a_held_fuse_keeps_the_limit_though_the_challenger_has_recovered():
    reached = next_reached(None, HELD, (ROW, RecentOutcomes()), Came((), {101: 9}, NOW))
    recovered = (RecentOutcomes([*ROW.ticks, Tick(NOW + 1, [0] * 20, LAST)]), RecentOutcomes())
    reached = next_reached(reached, HELD, recovered, Came((), {101: 9}, NOW + 1))
    assert reached is not None
    assert reached.is_held
    reached = next_reached(reached, HELD, recovered, Came((), {}, NOW + 2))
    finding = evaluate_fuse(HELD, *recovered, reached)
    assert finding is not None
    assert finding.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("outcomes", "fails"),
    [
        ("a!b!c!d!e!", True),
        ("a!b!c!d!d!", False),  # four keys
        ("a!a!a!a!a!a!a!a!a!a!", False),
        ("a!a.b!c!d!e!", False),  # the latest outcome of a key counts
        ("e.a.a!b!c!d!e!", True),
        ("a!a!-.-!", False),
        ("a!-!-!-!a!-!", True),
    ],
)
def test_a_key_counts_once_with_its_latest_outcome(outcomes, fails):
    """A letter is a key, `-` none; `!` is an error."""
    pairs = zip(
        outcomes.replace("----", "-.-.-.-")[::2], outcomes.replace("----", "-.-.-.-")[1::2], strict=False
    )
    made = RecentOutcomes()
    made.add([outcome_of(None if key == "-" else ord(key) << 8, said == "!") for key, said in pairs], 1.0)
    finding = evaluate_fuse(FUSE, made, HEALTHY)
    assert (finding is not None) == fails
    if finding and "a" in outcomes and "-" not in outcomes:
        assert finding.reason == "5 errors in a row (each key counted once); the limit is 5"


OUTCOMES = st.lists(
    st.builds(outcome_of, st.one_of(st.none(), st.sampled_from([2, 4, 6, 8, 1 << 40])), st.booleans())
)


@given(OUTCOMES, st.data(), st.integers(1, 6), st.integers(2, 8))
def test_a_key_that_repeats_its_outcome_trips_nothing_that_it_does_not_trip_once(outcomes, data, n, of_last):
    """Repeats right after the latest outcome of the key, which keep the order of the units."""
    fuse = Fuse(n, 0.5, of_last)
    at = data.draw(st.integers(0, len(outcomes)))
    times = data.draw(st.integers(0, 30))
    keyed = [one for one in outcomes[:at] if key_of(one)]
    repeated = [*outcomes[:at], *keyed[-1:] * times, *outcomes[at:]]
    assume(not keyed or keyed[-1] == outcomes[at - 1])
    once, often = RecentOutcomes(), RecentOutcomes()
    once.add(outcomes, 0.0)
    often.add(repeated, 0.0)
    assert evaluate_fuse(fuse, once, HEALTHY) == evaluate_fuse(fuse, often, HEALTHY)
    reverse = evaluate_fuse(fuse, HEALTHY_ROW, once), evaluate_fuse(fuse, HEALTHY_ROW, often)
    assert reverse[0] == reverse[1]  # nor does it excuse more


HEALTHY_ROW = recent("xxxxxxxx")


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(2, 8), st.integers(2, 8))
def test_one_key_alone_never_trips_the_fuse_nor_makes_the_champion_fail(bad, n, of_last):
    one = RecentOutcomes()
    one.add([outcome_of(1 << 30, b) for b in bad], 1.0)
    assert evaluate_fuse(Fuse(n, 0.5, of_last), one, HEALTHY) is None
    assert not is_failing(one, 1.0)


# ── a limit that chance may reach ─────────────────────────────────────────────────────────────────


def at_random(rng: random.Random, n: int, share: float) -> list[int]:
    return [int(rng.random() < share) for _ in range(n)]


def is_tripped(rng: random.Random, each_tick: tuple[int, int], shares: tuple[float, float]) -> int:
    """In how many ticks of a quarter of a second the fuse trips, or 240; `each_tick`, `shares`: of (challenger, champion)."""
    challenger, champion, reached = RecentOutcomes(), RecentOutcomes(), None
    for tick in range(40 + 240):
        begun = tick >= 40
        challenger.add(at_random(rng, each_tick[0], shares[0] if begun else 0.01), float(tick), tick)
        champion.add(at_random(rng, each_tick[1], shares[1] if begun else 0.01), float(tick), tick)
        reached = next_reached(reached, DEFAULT, (challenger, champion), Came((), {}, float(tick)))
        finding = evaluate_fuse(DEFAULT, challenger, champion, reached)
        if finding is not None and finding.verdict is Verdict.FAIL:
            return tick - 40
    return 240


DEFAULT = Fuse(consecutive_errors=10, error_share=0.5, of_last=20)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4])
@pytest.mark.parametrize("each_tick", [(6, 6), (12, 1), (1, 12), (60, 60)], ids=str)
def test_a_minute_in_which_both_fail_alike_does_not_trip_the_fuse(each_tick, share):
    """Without the comparison over the same time, 10 of some 20 requests failed by chance in 8 of 40 such minutes."""
    rng = random.Random(12)
    assert [is_tripped(rng, each_tick, (share, share)) for _ in range(10)] == [240] * 10


@pytest.mark.parametrize("each_tick", [(6, 6), (12, 1), (2, 24), (60, 60), (6, 0)], ids=str)
def test_a_challenger_that_fails_alone_trips_the_fuse_within_seconds(each_tick):
    rng = random.Random(13)
    ticks = [is_tripped(rng, each_tick, (1.0, 0.01)) for _ in range(10)]
    assert max(ticks) <= max(20 / each_tick[0], 4)
    assert max(is_tripped(rng, each_tick, (0.7, 0.01)) for _ in range(10)) < 40


def test_without_anybody_to_compare_with_a_share_below_the_limit_does_not_trip_the_fuse():
    rng = random.Random(14)
    assert [is_tripped(rng, (12, 0), (0.25, 0.0)) for _ in range(10)] == [240] * 10


def test_a_limit_that_is_not_proven_holds_with_the_reason_and_is_looked_at_anew():
    challenger, champion = recent("x." * 10), recent("." * 19 + "x")
    reached = next_reached(None, DEFAULT, (challenger, champion), Came((), {}, 0.0))
    assert reached is not None
    finding = evaluate_fuse(DEFAULT, challenger, champion, reached)
    assert finding is not None
    assert (finding.verdict, finding.reason) == (
        Verdict.VOID,
        "10 of the last 20 requests failed; the limit is 50%; with what the champion did over the same time, chance shows so much "
        "once in 598 looks: more requests will tell",
    )
    challenger.add([1] * 100, 1.0)
    champion.add([0] * 100, 1.0)
    later = next_reached(reached, DEFAULT, (challenger, champion), Came((), {}, 1.0))
    assert later is not None
    assert later.is_proven
    assert next_reached(later, DEFAULT, (challenger, champion), Came((), {}, 2.0)) is later


@given(OUTCOMES, OUTCOMES, st.floats(0.1, 1.0))
def test_the_fuse_only_fails_what_is_proven(outcomes, others, share):
    challenger, champion = RecentOutcomes(), RecentOutcomes()
    challenger.add(outcomes, 0.0)
    champion.add(others, 0.0)
    fuse = Fuse(3, share, 4)
    found = reach(fuse, challenger, champion)
    finding = evaluate_fuse(fuse, challenger, champion)
    assert (finding is None) == (found is None)
    if finding is not None and finding.verdict is Verdict.FAIL:
        assert isinstance(found, Reached)
        assert found.chance <= PROVEN
