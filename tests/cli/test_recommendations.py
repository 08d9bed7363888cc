"""`status`, `why` and the verbs show what is recommended, with what it takes."""

from __future__ import annotations

import pytest

from tests.admin.site import Site
from tests.cli.conftest import Shell
from tests.control.test_recommendations import entry, file_of, learn


@pytest.fixture
async def tested(site: Site) -> Site:
    await site.harness.load(file_of(entry("v3", ", min_effect: 2%", weight="5%")))
    await site.harness.run(2)
    return site


async def test_before_any_feedback_it_is_undecided(tested: Site, shell: Shell) -> None:
    out = (await shell.run_with_admin("why", "churn")).out
    assert "Recommendation: UNDECIDED: no lift yet" in out


async def test_it_is_shown_with_its_numbers(tested: Site, shell: Shell) -> None:
    learn(tested.harness, "v3", 0.26, 0.20)
    for words in (("why", "churn"), ("pause", "churn")):
        out = (await shell.run_with_admin(*words)).out
        assert "Recommendation: PROMOTE: v3 gains 30% (" in out
        assert "for no difference, valid at every look" in out
        assert "min_effect takes" in out
        assert "until a verdict" not in out
    assert "Recommendation for churn: PROMOTE" in (await shell.run_with_admin("status")).out


async def test_what_is_not_decided_says_for_how_long(tested: Site, shell: Shell) -> None:
    learn(tested.harness, "v3", 0.2, 0.2, n=400)
    assert "until a verdict at the present rate" in (await shell.run_with_admin("why", "churn")).out
