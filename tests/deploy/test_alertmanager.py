"""The example for Alertmanager: it is valid, each alert gets to whom its urgency says, and messages lead to what helps."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import ALERTMANAGER, ALERTS, rules_in

FILE = ALERTMANAGER / "alertmanager.yml"
NEEDS_AMTOOL = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not on the PATH")


def amtool(*words: str) -> str:
    done = subprocess.run(["amtool", *words], cwd=ALERTMANAGER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_AMTOOL
def test_amtool_accepts_the_configuration_and_its_templates() -> None:
    assert "SUCCESS" in amtool("check-config", FILE.name)


@NEEDS_AMTOOL
@pytest.mark.parametrize(("severity", "receiver"), [("page", "pages"), ("ticket", "tickets")])
def test_alerts_get_to_whom_their_urgency_says(severity: str, receiver: str) -> None:
    assert amtool("config", "routes", "test", f"--config.file={FILE}", f"severity={severity}").split() == [
        receiver
    ]


def test_alerts_that_say_nothing_new_are_alerts_that_there_are() -> None:
    names = {rule["alert"] for rule in rules_in(ALERTS)}
    rules = yaml.safe_load(FILE.read_text())["inhibit_rules"]
    assert len(rules) > 2
    for rule in rules:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert matcher.removeprefix("alertname = ") in names


def message(status: str) -> dict[str, Any]:
    labels = {"alertname": "CrossfadeErrorSpike", "route": "churn", "crossfade_admin": "http://admin/"}
    notes = {"summary": "20% of the answers are a 5xx", "runbook_url": "docs/runbooks/clients-get-errors.md"}
    return {"status": status, "alerts": [{"status": status, "labels": labels, "annotations": notes}]}


@NEEDS_AMTOOL
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_message_says_what_is_wrong_what_to_do_and_where_to_look(status: str, tmp_path: Path) -> None:
    data = tmp_path / "message.json"
    data.write_text(json.dumps(message(status)))

    def rendered(name: str) -> str:
        text = f'{{{{ template "crossfade.{name}" . }}}}'
        options = ("--template.glob=crossfade.tmpl", f"--template.data={data}", f"--template.text={text}")
        return amtool("template", "render", *options).strip()

    over = status == "resolved"
    assert rendered("title") == ("Over: " if over else "") + "20% of the answers are a 5xx"
    assert rendered("text").splitlines() == [
        f"CrossfadeErrorSpike{' is over' if over else ''}: 20% of the answers are a 5xx",
        "what to do: docs/runbooks/clients-get-errors.md",
        "the route: http://admin/#/route/churn",
    ]
