"""The value of another policy: right on average, refused where nothing can be said."""

from __future__ import annotations

import random

import pytest

from crossfade.rollout.policy import PolicyRule
from crossfade.rollout.policy_value import PolicyQuestion, PolicyValue, RowGroup, Segment, value_of

RAMP = {1: {"v2": 0.95, "v3": 0.05}, 2: {"v2": 0.5, "v3": 0.5}}
HALF = [PolicyRule(None, "", {"v2": 0.5, "v3": 0.5})]
ALL = [PolicyRule(None, "", {"v3": 1.0})]
GERMANS = [PolicyRule(0, "DE", {"v3": 1.0})]


def world(rng: random.Random, n: int, means, labelled: float = 1.0, versions=(1, 2)) -> list[RowGroup]:
    """`means(backend, country, block)`: the probability of an event."""
    out = []
    for i in range(n):
        block = i * 20 // n
        version = versions[i * len(versions) // n]
        backend = "v3" if rng.random() < RAMP[version]["v3"] else "v2"
        country = "DE" if rng.random() < 0.3 else "FR"
        value = float(rng.random() < means(backend, country, block)) if rng.random() < labelled else None
        out.append(RowGroup(block, version, backend, (country,), value, 1))
    return out


def asked(rules, between: tuple[float, float] | None = (0.0, 1.0)) -> PolicyQuestion:
    return PolicyQuestion(rules, RAMP, between, 0.05)


def drifting(backend: str, country: str, block: int) -> float:
    """v3 is good for Germans and bad for the others; the base rate rises while v3 gets more traffic."""
    base = 0.1 + block * 0.01
    return base + (0.15 if country == "DE" else -0.05) * (backend == "v3")


def truth(share_of) -> float:
    """Of a policy that gives v3 this share of a country's requests."""
    total = 0.0
    for block in range(20):
        for country, weight in (("DE", 0.3), ("FR", 0.7)):
            share = share_of(country)
            good, other = drifting("v3", country, block), drifting("v2", country, block)
            total += weight * (share * good + (1 - share) * other) / 20
    return total


@pytest.mark.parametrize(
    ("rules", "share"),
    [(HALF, lambda country: 0.5), (ALL, lambda country: 1.0), (GERMANS, None)],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_value_is_that_of_the_policy_though_weights_and_base_rate_moved(rules, share, seed):
    """Pooled means would give v3 what the time gave it. For the countries without a rule, the split was 27.5 % on average."""
    found = value_of(world(random.Random(seed), 20_000, drifting), asked(rules))
    if share is None:
        expected = 0.0
        for block in range(20):
            kept = 0.05 if block < 10 else 0.5
            expected += 0.3 * drifting("v3", "DE", block) / 20
            expected += (
                0.7 * (kept * drifting("v3", "FR", block) + (1 - kept) * drifting("v2", "FR", block)) / 20
            )
    else:
        expected = truth(share)
    assert found.refused == ""
    assert found.value == pytest.approx(expected, abs=0.03)
    assert found.interval is not None
    assert found.interval[0] < expected < found.interval[1]
    assert found.change is not None
    assert found.value is not None
    assert found.as_it_was is not None
    assert found.change == pytest.approx(found.value - found.as_it_was)
    assert found.change_interval is not None
    assert found.change_interval[0] < found.change < found.change_interval[1]
    assert found.exact
    assert found.units == 20_000


def test_a_good_policy_by_segment_is_proven_better():
    found = value_of(world(random.Random(4), 60_000, drifting, versions=(2,)), asked(GERMANS))
    assert found.change_interval is not None
    assert found.change_interval[0] > 0.005


def test_the_present_policy_changes_nothing():
    """Each row keeps the split that it had: its weight is 1."""
    found = value_of(world(random.Random(5), 5000, drifting), asked([PolicyRule(0, "IT", {"v3": 1.0})]))
    assert found.value == pytest.approx(found.as_it_was, abs=0.01)
    assert found.size == pytest.approx(5000)
    assert found.snips == pytest.approx(found.as_it_was)


def test_amounts_without_a_range_have_an_interval_for_many_rows():
    rng = random.Random(6)
    rows = [
        RowGroup(
            i // 500, 2, backend, None, rng.lognormvariate(1, 0.5) * (1.2 if backend == "v3" else 1.0), 1
        )
        for i in range(10_000)
        for backend in [rng.choice(["v2", "v3"])]
    ]
    found = value_of(rows, asked(ALL, None))
    expected = 1.2 * 2.718281828 ** (1 + 0.125)
    assert not found.exact
    assert found.interval is not None
    assert found.interval[0] < expected < found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.5


def test_a_range_gives_values_in_its_own_unit():
    rng = random.Random(7)
    rows = [
        RowGroup(i // 200, 2, rng.choice(["v2", "v3"]), None, rng.choice([0.0, 5.0, 99.0]), 1)
        for i in range(4000)
    ]
    found = value_of(rows, asked(ALL, (0.0, 10.0)))
    assert found.value == pytest.approx(5.0, abs=0.5)  # 99 counts as 10
    assert found.interval is not None
    assert found.interval[0] < 5.0 < found.interval[1]


def test_groups_count_as_their_rows():
    rows = world(random.Random(8), 4000, drifting, versions=(2,))
    counts: dict[RowGroup, int] = {}
    for row in rows:
        counts[row] = counts.get(row, 0) + 1
    grouped = [row._replace(n=n) for row, n in counts.items()]
    one, many = value_of(rows, asked(HALF)), value_of(grouped, asked(HALF))
    assert many.value == pytest.approx(one.value)
    assert many.interval == pytest.approx(one.interval, abs=1e-6)
    assert many.units == one.units
    assert many.size == pytest.approx(one.size)


def refusal(rows: list[RowGroup], rules=HALF) -> PolicyValue:
    found = value_of(rows, asked(rules))
    assert found.refused
    assert found.value is None
    assert found.interval is None
    return found


def test_a_backend_without_traffic_has_no_value():
    rows = [RowGroup(0, 3, "v2", None, 1.0, 500)]
    question = PolicyQuestion(ALL, {3: {"v2": 0.995, "v3": 0.005}}, (0.0, 1.0), 0.05)
    found = value_of(rows, question)
    assert found.refused == "no support: v3 had 0.5% of the requests; 1% is the least"
    assert found.left_out == 500


def test_rows_of_a_time_without_the_backend_are_left_out():
    rows = world(random.Random(9), 4000, drifting, versions=(2,))
    old = [RowGroup(0, 0, "v2", ("DE",), 1.0, 900)]
    question = PolicyQuestion(HALF, RAMP | {0: {"v2": 1.0}}, (0.0, 1.0), 0.05)
    found = value_of(old + rows, question)
    assert (found.left_out, found.units) == (900, 4000)
    assert found.value == pytest.approx(value_of(rows, asked(HALF)).value, abs=1e-9)


def test_a_small_effective_sample_is_refused():
    found = refusal(world(random.Random(10), 300, drifting, versions=(2,)), ALL)
    assert "the effective sample is" in found.refused
    assert 0 < found.size < 200


def test_without_rows_or_labels_nothing_is_said():
    assert refusal([]).refused == "there are no ripe predictions"
    found = refusal([RowGroup(0, 2, "v2", None, None, 50)])
    assert found.refused == "none of the predictions has a label"
    assert found.unlabelled == 50


def test_labels_that_come_for_one_side_only_are_refused():
    """Half of the refused loans are never labelled: what is left of v3 looks better than it is."""
    rows = world(random.Random(11), 8000, drifting, versions=(2,))
    rows = [row._replace(value=None) if row.backend == "v3" and i % 2 else row for i, row in enumerate(rows)]
    assert refusal(rows).refused.startswith("labels do not come alike: 65.6% of them are of v2")


def test_labels_that_are_missing_alike_are_no_reason():
    found = value_of(world(random.Random(12), 8000, drifting, labelled=0.5, versions=(2,)), asked(HALF))
    assert found.refused == ""
    assert 3500 < found.unlabelled < 4500


def test_a_segment_that_is_not_known_keeps_its_split():
    unknown: Segment = None
    rows = [
        RowGroup(i // 100, 2, backend, unknown, float(i % 3 == 0), 1)
        for i in range(2000)
        for backend in ["v2", "v3"][i % 2 : i % 2 + 1]
    ]
    found = value_of(rows, asked(GERMANS))
    assert found.snips == pytest.approx(found.as_it_was)
