"""Which endpoints of a backend are bad, and what is left of the counts without them."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from crossfade.rollout.evidence import Evidence, split_counts
from crossfade.rollout.instances import (
    SIDES,
    BadEndpoint,
    bad_endpoints,
    has_one_endpoint,
    proven_bad,
    without_endpoints,
)
from crossfade.stats.counts import ERROR, REQUESTS, Cell
from crossfade.stats.sequential import SplitCounts

from .counting import cell, check, gather

ERRORS = [check("error_rate", max=0.05)]


def with_endpoints(backend: str, second: int = 0, **counts: tuple[int, int]) -> Cell:
    """By endpoint: (errors, requests)."""
    made = cell(backend, sum(n for _, n in counts.values()), sum(x for x, _ in counts.values()))
    made.second = second
    made.by_endpoint = {name: {REQUESTS: n, ERROR: x} for name, (x, n) in counts.items()}
    return made


def gathered(*cells: Cell, share: float = 0.5) -> Evidence:
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, share)
    for one in cells:
        gather(made, [one], ERRORS)
    return made


@pytest.mark.parametrize(
    ("counts", "bad"),
    [
        ({"a": (42, 300), "b": (2, 450), "c": (1, 450)}, ["a"]),
        ({"a": (3, 300), "b": (2, 300), "c": (4, 300)}, []),
        ({"a": (90, 300), "b": (90, 300), "c": (90, 300)}, []),  # the model is bad, no instance
        ({"a": (90, 300), "b": (88, 300), "c": (0, 300)}, []),  # more than half of them are bad
        ({"a": (90, 300), "b": (60, 300), "c": (1, 300), "d": (0, 300)}, ["a", "b"]),  # one hides no other
        ({"a": (100, 200), "b": (0, 200)}, ["a"]),
        ({"a": (19, 19), "b": (0, 200)}, []),  # too few requests
        ({"a": (100, 200)}, []),
        (
            {"a": (5600, 100_000), "b": (5000, 100_000), "c": (5000, 100_000)},
            [],
        ),  # proven, but not much worse
        ({}, []),
    ],
)
def test_an_endpoint_is_bad_if_the_others_are_not(counts, bad):
    for side, backend in zip(SIDES, ("v3", "v2"), strict=True):
        strata = gathered(with_endpoints(backend, **counts)).strata
        assert [each.endpoint for each in bad_endpoints(strata, ERROR, side)] == bad


def test_a_finding_has_the_numbers_and_the_words():
    strata = gathered(with_endpoints("v3", a=(42, 300), b=(2, 450), c=(1, 450))).strata
    [found] = bad_endpoints(strata, ERROR)
    assert found == BadEndpoint("v3", "a", ERROR, 42, 300, 3, 900)
    assert str(found) == "42 of 300 requests failed there (14%), 3 of 900 at its other endpoints"


def test_strata_are_compared_each_with_its_own_shares():
    """An endpoint that was alone in the worse hour of all is not bad."""
    made = gathered(with_endpoints("v3", a=(0, 1000), b=(0, 0), c=(0, 1000)))
    made.open("r", 3, 0, 0.5)
    late = with_endpoints("v3", a=(0, 0), b=(150, 1000), c=(150, 1000))
    late.ledger_version = 3
    gather(made, [late], ERRORS)
    assert bad_endpoints(made.strata, ERROR) == []


def test_the_counts_without_an_endpoint_have_its_requests_and_its_share_taken_away():
    strata = gathered(with_endpoints("v3", a=(40, 100), b=(5, 150), c=(5, 150)), cell("v2", 400, 10)).strata
    assert split_counts(strata, ERROR) == [SplitCounts(0.5, 50, 10, 400, 400)]
    [left] = without_endpoints(strata, ERROR, ["a"])
    assert left[0] == pytest.approx(0.375 / 0.875)
    assert left[1:] == (10, 10, 300, 400)
    assert without_endpoints(strata, ERROR, []) == split_counts(strata, ERROR)
    assert without_endpoints(strata, "a kind that nobody counts", ["a"]) == []


def test_of_the_first_events_of_keys_the_same_part_is_taken_away():
    strata = gathered(with_endpoints("v3", a=(40, 100), b=(10, 300))).strata
    strata[0].events[ERROR].challenger.first = 5
    assert without_endpoints(strata, ERROR, ["a"])[0].here == 1


def test_to_be_ejected_an_endpoint_must_be_bad_for_some_time():
    burst = gathered(with_endpoints("v3", second=7, a=(50, 100), b=(0, 100), c=(0, 100)))
    assert bad_endpoints(burst.strata, ERROR)
    assert not proven_bad(burst.strata, burst.instances, "challenger")
    lasting = gathered(
        *(with_endpoints("v3", second=s, a=(3, 10), b=(0, 10), c=(0, 10)) for s in range(7, 70))
    )
    found = proven_bad(lasting.strata, lasting.instances, "challenger")
    assert [each.endpoint for each in found] == ["a"]
    assert not proven_bad(lasting.strata, lasting.instances, "champion")


@pytest.mark.parametrize(
    ("one", "known"),
    [
        (with_endpoints("v3", 7, a=(1, 10)), True),
        (with_endpoints("v3", 7, a=(1, 10), b=(0, 10)), False),
        (replace(cell("v3", 10), second=7), True),  # workers count by endpoint where there are several
        (cell("v3", 10), False),
        (replace(cell("v2", 10), second=7), False),
    ],
)
def test_whether_a_backend_has_one_endpoint_is_known_from_the_counts(one, known):
    assert has_one_endpoint(gathered(one).strata, "challenger") is known


def test_a_healthy_challenger_hardly_ever_has_a_bad_endpoint():
    """At all looks; three endpoints get requests in random shares."""
    called = 0
    for run in range(100):
        rng = random.Random(run)
        made = gathered()
        for second in range(1, 40):
            counts = dict.fromkeys("abc", (0, 0))
            for _ in range(60):
                name = rng.choice("aabbc")
                x, n = counts[name]
                counts[name] = x + (rng.random() < 0.03), n + 1
            gather(made, [with_endpoints("v3", second, **counts)], ERRORS)
            if bad_endpoints(made.strata, ERROR):
                called += 1
                break
    assert called <= 1
