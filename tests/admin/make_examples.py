"""Writes the examples of the API's answers: `python -m tests.admin.make_examples`. They are what a real admin API answers.

Rule: a test asks for one of each operation that answers JSON, and reads each as the type that the operation declares.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from crossfade.admin.examples import FILE as EXAMPLES
from crossfade.quality.profile import write_profile
from tests.admin.site import FILE, Site, serving
from tests.admin.test_comparisons import compare
from tests.admin.test_drift import PROFILE

MOST = 2  # entries of a list that an example shows
TOKEN = "the-token-of-alice-is-long"
TEXT = FILE.replace(
    "    fallback: v2\n",
    "    fallback: v2\n    prediction: {score: p, decision: 0.5}\n    feedback: {horizon: 100s}\n"
    "    drift: {window: 60s}\n    retrain: {on: [{schedule: 7d}], webhook: 'http://127.0.0.1:9/train'}\n",
)
ROUTE, ROLLOUT, BASELINE = "/api/v1/routes/churn", "/api/v1/rollouts/churn", "/api/v1/baseline/churn"
CONFIG = {"data": TEXT, "headers": {"Content-Type": "application/yaml"}}
CALLS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("get_session", "GET", "/api/v1/session", {}),
    ("post_session", "POST", "/api/v1/session", {"json": {"token": TOKEN}}),
    ("get_status", "GET", "/api/v1/status", {}),
    ("get_routes", "GET", "/api/v1/routes", {}),
    ("get_routes_route", "GET", ROUTE, {}),
    ("get_backends", "GET", "/api/v1/backends", {}),
    ("get_backends_backend", "GET", "/api/v1/backends/v2", {}),
    ("get_rollouts", "GET", "/api/v1/rollouts", {}),
    ("get_rollouts_route", "GET", ROLLOUT, {}),
    ("get_rollouts_route_why", "GET", f"{ROLLOUT}/why", {}),
    ("get_comparisons_route", "GET", "/api/v1/comparisons/churn", {}),
    ("get_overview", "GET", "/api/v1/overview", {}),
    ("get_history_route", "GET", "/api/v1/history/churn?points=2", {}),
    ("get_summary", "GET", "/api/v1/summary", {}),
    ("get_labels_route", "GET", "/api/v1/labels/churn", {}),
    ("get_value_route", "GET", "/api/v1/value/churn?if=v3%3D50%25", {}),
    ("post_baseline_route", "POST", BASELINE, {}),
    ("put_baseline_route", "PUT", BASELINE, {"data": write_profile(PROFILE)}),
    ("get_baseline_route", "GET", BASELINE, {}),
    ("get_drift_route", "GET", "/api/v1/drift/churn", {}),
    ("post_feedback", "POST", "/api/v1/feedback", {"json": [{"request_id": "4bf92f3577b34da6", "label": True}]}),
    ("post_explain", "POST", "/api/v1/explain", {"json": {"method": "POST", "target": "/predict", "body": '{"customer_id": 42}'}}),
    ("post_retrain_route", "POST", "/api/v1/retrain/churn", {}),
    ("get_notifications", "GET", "/api/v1/notifications", {}),
    ("post_notifications_test", "POST", "/api/v1/notifications/test", {}),
    ("post_rollouts_route_verb", "POST", f"{ROLLOUT}/abort", {"json": {"reason": "its p99 is too high"}}),
    ("put_routes_route_split", "PUT", f"{ROUTE}/split", {"json": {"v2": 95, "v4": 5}}),
    ("post_backends_backend_endpoints_endpoint_verb", "POST", "/api/v1/backends/v4/endpoints/127.0.0.1:9004/drain?force=true", {}),
    ("get_decisions", "GET", "/api/v1/decisions?after=0&limit=1", {}),
    ("get_config", "GET", "/api/v1/config", {}),
    ("post_config", "POST", "/api/v1/config", CONFIG),
    ("get_config_history", "GET", "/api/v1/config/history", {}),
    ("get_config_history_id", "GET", "/api/v1/config/history/1", {}),
    ("post_config_history_id_restore", "POST", "/api/v1/config/history/1/restore", {}),
    ("post_reload", "POST", "/api/v1/reload", {}),
)  # fmt: skip


async def examples() -> dict[str, Any]:
    async with serving(TOKEN) as site:
        site.reloads.file = TEXT
        order = site.reloads.order("file")
        await site.reloads.configurations.reload(site.harness.controller, site.reloads.use, order)
        await site.harness.controller.drift.idle()
        await site.harness.tick()
        compare(site, "v3")
        return {name: await _answer(site, method, path, options) for name, method, path, options in CALLS}


async def _answer(site: Site, method: str, path: str, options: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}", **options.get("headers", {})}
    async with site.session.request(method, site.url + path, **{**options, "headers": headers}) as response:
        assert response.status < 300, (method, path, await response.text())
        return _short(await response.json())


def _short(value: Any) -> Any:
    """Without most of the entries of long lists of objects. Rows of numbers stay whole, as others count on their length."""
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list):
        are_objects = any(isinstance(each, dict) for each in value)
        return [_short(each) for each in (value[:MOST] if are_objects else value)]
    return value


def write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    write(EXAMPLES, asyncio.run(examples()))
