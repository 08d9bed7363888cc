"""Reads the weights, versions and counts with which the laws are checked from the admin API.

It uses only the standard library, so that it runs in the image of Locust.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from loadtests.laws import RouteState, Split

PAGE = 1000
# Workers report their counts a few times a second.
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class AdminApi:
    """`url` has no path; `route` is the route under load."""

    url: str
    token: str
    route: str

    def get(self, path: str) -> Any:
        """The decoded JSON. Raises OSError, and HTTPError for an error status."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with urlopen(Request(f"{self.url.rstrip('/')}/api/v1/{path}", headers=headers), timeout=10) as answer:
            return json.load(answer)

    def route_view(self) -> dict[str, Any]:
        view: dict[str, Any] = self.get(f"routes/{quote(self.route, safe='')}")
        return view

    def settled_view(self, answers: int, before: Mapping[str, Any]) -> dict[str, Any]:
        """The view when its counts include all answers since `before`, or after 5 s."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            view = self.route_view()
            if _requests_in(view) - _requests_in(before) >= answers or time.monotonic() > deadline:
                return view
            time.sleep(0.1)

    def splits(self, known: RouteState) -> dict[int, Split]:
        """Splits by ledger version: those of the journal's decisions, and the known one."""
        found = {known.ledger_version: known.split}
        after = 0
        while page := self.decisions(after):
            found |= _splits_in(page)
            after = max(decision["id"] for decision in page)
        return found

    def decisions(self, after: int) -> list[dict[str, Any]]:
        """At most PAGE decisions of the route with an id above `after`, the oldest first."""
        answer = self.get(f"decisions?route={quote(self.route, safe='')}&after={after}&limit={PAGE}")
        found: list[dict[str, Any]] = answer["decisions"]
        return found


def _requests_in(view: Mapping[str, Any]) -> int:
    """Requests of clients; mirrored copies to a shadow do not count."""
    return sum(n["requests"] for n in view["backends"].values() if n["role"] != "shadow")


def state_of(view: Mapping[str, Any]) -> RouteState:
    return RouteState(
        ledger_version=view["ledger_version"],
        split=view["split"],
        fallback=view["fallback"],
        fell_back={name: numbers["fell_back"] for name, numbers in view["backends"].items()},
    )


def _splits_in(decisions: list[dict[str, Any]]) -> dict[int, Split]:
    made = [decision["to"] for decision in decisions]
    return {to["ledger_version"]: to["split"] for to in made if "split" in to and "ledger_version" in to}
