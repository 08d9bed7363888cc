"""Keeps the endpoints of a backend those that a supervisor's replicas have: adds those that are up, drains and removes those that leave.

Rule: a replica is in the routing file from when it first answers until the proxy has nothing in flight there. What the supervisor
did not put into the file is not its concern.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossfade_backends.admin_client import AdminClient, ProxyError
from crossfade_backends.deployments import Replica, Routing, lock_of
from crossfade_backends.routing_edits import change, read, urls_of, with_endpoints
from crossfade_backends.routing_file import EditError

RETRY = 1.0  # seconds until the proxy is asked again


class Serving:
    """`folder`: of the deployment."""

    def __init__(self, folder: Path, token: str) -> None:
        self.lock = lock_of(folder.parent.parent)
        self.token = token
        self.client: AdminClient | None = None
        self.again_at = 0.0
        self.note = ""

    def look(self, routing: Routing | None, replicas: Sequence[Replica], now: float) -> str:
        """What is waited for; "" when the file is as it should be. Writes `served` of the replicas."""
        if routing is None:
            self.client = None
            for one in replicas:
                one.served = ""
            return ""
        if self.client is None or self.client.url != routing.admin.rstrip("/"):
            self.client, self.again_at = AdminClient(routing.admin, self.token), 0.0
        if now < self.again_at:
            return self.note
        try:
            self.note = self._serve(self.client, routing, replicas)
        except (ProxyError, EditError, OSError) as error:
            self.note, self.again_at = str(error), now + RETRY
        except (KeyError, TypeError, AttributeError) as error:
            self.note = f"the file or an answer of the proxy is not as expected: {error!r}"
            self.again_at = now + RETRY
        return self.note

    def _serve(self, client: AdminClient, routing: Routing, replicas: Sequence[Replica]) -> str:
        unknown = [one for one in replicas if one.url and not one.served]
        if unknown:  # whoever deployed it has written it into the file
            there = urls_of(read(routing.file), routing.backend)
            for one in unknown:
                one.served = one.url if one.url in there else ""
        for one in replicas:
            if one.state == "up" and one.drained:
                self._tell(client, routing, one.served, "undrain")
                one.drained = False
        come = [one for one in replicas if one.state == "up" and one.served != one.url]
        go = [one for one in replicas if one.state == "leaving" and one.served]
        empty = [one for one in go if self._is_empty(client, routing, one)]
        add = [one.url for one in come]
        remove = {one.served for one in (*come, *empty) if one.served}
        if add or remove:
            change(
                client,
                routing.file,
                lambda text: with_endpoints(text, routing.backend, add, remove),
                self.lock,
            )
        for one in come:
            one.served = one.url
        for one in empty:  # a drain is forgotten with its endpoint
            one.served, one.drained = "", False
        left = [one for one in go if one.served]
        return f"drains {', '.join(one.served for one in left)}" if left else ""

    def _is_empty(self, client: AdminClient, routing: Routing, one: Replica) -> bool:
        """Drains it, if it is not drained. What the file does not have gets no requests."""
        shown = client.get("api", "v1", "backends", routing.backend)["endpoints"]
        found = next((each for each in shown if each["url"].rstrip("/") == one.served), None)
        if found is None:
            return True
        if not found["drained"]:
            self._tell(client, routing, one.served, "drain")
            one.drained = True
            return False
        return bool(found["in_flight"] == 0)

    def _tell(self, client: AdminClient, routing: Routing, endpoint: str, verb: str) -> None:
        client.post("api", "v1", "backends", routing.backend, "endpoints", endpoint, verb)
