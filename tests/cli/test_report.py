"""`crossfade report`: a page or JSON of what the admin API knows of a challenger."""

from __future__ import annotations

from pathlib import Path

import msgspec

from crossfade.report.inputs import Report
from tests.admin.site import Site
from tests.admin.test_labels import fill
from tests.cli.conftest import Shell
from tests.quality.worlds import BEGUN, World, table_of


def compare(site: Site, challenger: str, n: int = 60) -> None:
    comparisons = site.harness.seam.comparisons
    comparisons.add("churn", challenger, "v2", table_of(World(shift=0.2), n), BEGUN)


async def test_a_rollout_without_mirrors_is_reported(site: Site, shell: Shell) -> None:
    await site.harness.run(2)
    result = await shell.run_with_admin("report", "churn")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("<!doctype html>")
    assert "v3 beside v2" in result.out
    assert "What mirrored pairs" not in result.out


async def test_json_has_the_same_numbers(site: Site, shell: Shell) -> None:
    compare(site, "v3")
    await site.harness.run(2)
    found = (await shell.run_with_admin("report", "churn", "--json")).json
    assert found["comparison"] == await site.get("/api/v1/comparisons/churn")
    assert found["rollout"]["challenger"] == "v3"
    assert found["decisions"][0]["action"] == "start"
    report = msgspec.convert(found, Report)
    assert report.comparison is not None
    assert report.comparison.pairs == 60


async def test_a_file_is_written(site: Site, shell: Shell, tmp_path: Path) -> None:
    compare(site, "v3")
    path = tmp_path / "churn.html"
    result = await shell.run_with_admin("report", "churn", "-o", str(path))
    assert (result.code, result.out, result.err) == (0, "", "")
    assert 'id="score-pairs"' in path.read_text("utf-8")


async def test_a_file_that_cannot_be_written_exits_with_1(site: Site, shell: Shell, tmp_path: Path) -> None:
    result = await shell.run_with_admin("report", "churn", "-o", str(tmp_path / "nowhere" / "r.html"))
    assert result.code == 1
    assert "cannot write" in result.err


async def test_a_mirror_without_a_rollout_is_reported_by_its_name(site: Site, shell: Shell) -> None:
    compare(site, "v3")
    compare(site, "v4")
    found = (await shell.run_with_admin("report", "churn", "--json", "--challenger", "v4")).json
    assert found["comparison"]["challenger"] == "v4"
    assert found["rollout"] is None
    assert "v4 beside v2" in (await shell.run_with_admin("report", "churn", "--challenger", "v4")).out


async def test_decisions_are_those_of_the_latest_attempt(site: Site, shell: Shell) -> None:
    for verb in ("abort", "retry"):
        await site.ask("POST", f"/api/v1/rollouts/churn/{verb}")
    found = (await shell.run_with_admin("report", "churn", "--json")).json
    assert [d["action"] for d in found["decisions"]] == ["retry"]


async def test_names_that_are_not_there_exit_with_4(site: Site, shell: Shell) -> None:
    assert (await shell.run_with_admin("report", "nope")).code == 4
    result = await shell.run_with_admin("report", "churn", "--challenger", "v9")
    assert result.code == 4
    assert "route churn has no rollout of v9" in result.err


async def test_labels_are_in_the_report_of_a_route_with_feedback(site: Site, shell: Shell) -> None:
    await fill(site)
    found = (await shell.run_with_admin("report", "churn", "--json")).json
    assert found["labels"]["backends"]["v3"]["accuracy"]["estimate"] == 1.0
    assert "Labels and KPIs" in (await shell.run_with_admin("report", "churn")).out
