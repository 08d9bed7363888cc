"""Alerts, recording rules and runbooks: each alert is tested by promtool, can fire, and says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.admin.test_metrics import NAMES
from tests.deploy.project import ROOT
from tests.deploy.promql import ALERTS, FOLDER, RULES, UNIT_TESTS, families, recorded, rules_in, unit_tests

RUNBOOKS = ROOT / "docs/runbooks"
PAGES = sorted(page for page in RUNBOOKS.glob("*.md") if page.name != "index.md")
LINK = "{{ $externalLabels.crossfade_docs }}docs/runbooks/"
NEEDS_PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")


def runbook_of(alert: dict[str, dict[str, str]]) -> Path:
    url = alert["annotations"]["runbook_url"]
    assert url.startswith(LINK), url
    return RUNBOOKS / url.removeprefix(LINK)


@NEEDS_PROMTOOL
@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.name)
def test_the_unit_tests_of_the_rules_pass(file: Path) -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", file.name], cwd=FOLDER, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", rules_in(ALERTS), ids=lambda rule: str(rule["alert"]))
def test_each_alert_has_a_test_in_which_it_fires_between_times_in_which_it_does_not(
    alert: dict[str, str],
) -> None:
    looks = [
        bool(look.get("exp_alerts"))
        for test in unit_tests()
        for look in test["alert_rule_test"]
        if look["alertname"] == alert["alert"]
    ]
    assert looks and looks[0] is False and looks[-1] is False and any(looks)


@pytest.mark.parametrize("alert", rules_in(ALERTS), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_how_urgent_it_is_and_leads_to_a_runbook_about_it(
    alert: dict[str, dict[str, str]],
) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    page = runbook_of(alert).read_text()
    assert f"`{alert['alert']}`" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_what_to_look_at_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:3] == ["What it means", "Look at", "Do"]
    named = set(re.findall(r"`(Crossfade\w+)`", text.partition("## What it means")[0]))
    of_page = {rule["alert"] for rule in rules_in(ALERTS) if runbook_of(rule) == page}
    assert named == of_page and named


def test_the_index_of_runbooks_lists_each_alert() -> None:
    rows = re.findall(r"^\| `(\w+)` .*\((\S+)\) \|$", (RUNBOOKS / "index.md").read_text(), re.MULTILINE)
    assert dict(rows) == {rule["alert"]: runbook_of(rule).name for rule in rules_in(ALERTS)}


def test_rules_ask_for_metrics_that_the_proxy_has() -> None:
    alerts = rules_in(ALERTS)
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 20
    assert len(recorded()) == len(rules_in(RULES)) > 5
    for rule in (*alerts, *rules_in(RULES)):
        assert families(rule["expr"]) <= NAMES, rule
    for name in recorded():
        assert not name.startswith("crossfade")
