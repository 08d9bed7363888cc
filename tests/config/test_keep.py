"""`keep` of a route: its defaults, and what it needs."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.quality.keep import Keep
from tests.config.sample import errors, text


def test_the_defaults() -> None:
    config = load(text(route="prediction: {score: s}\n    keep: {dir: pairs}"), "f.yaml", {}).config
    (route,) = config.routes
    assert route.keep is not None
    assert Keep(route.keep.dir, route.keep.max, route.keep.rotate) == Keep("pairs", 2**30, 3600.0)


@pytest.mark.parametrize(
    ("route", "place", "message"),
    [
        ("keep: {dir: pairs}", "keep", "no answer of this route is read"),
        ("prediction: {score: s}\n    keep: {}", "keep", "dir"),
        ("prediction: {score: s}\n    keep: {dir: pairs, max: 1KiB}", "keep.max", "at least"),
        ("prediction: {score: s}\n    keep: {dir: pairs, size: 1GiB}", "keep", "size"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(route: str, place: str, message: str) -> None:
    (found,) = errors(text(route=route))
    assert f"routes[0].{place}" in found
    assert message in found
