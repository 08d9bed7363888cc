"""Asks the running proxy for the front end: one customer's answer, why it came from there, and what other versions say.

Rule: the request goes through the proxy as any other and counts as any other. A version in shadow is asked a second time beside the
proxy, as the copy's answer goes to nobody; `x-crossfade-mirror` tells it so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from aiohttp import ClientError, ClientSession

from crossfade_backends.replies import Refused, refuse

T = TypeVar("T")
_JSON = {"Content-Type": "application/json"}
_COPY = {"x-crossfade-mirror": "1"}


@dataclass(frozen=True)  # without slots, which would hide the defaults
class Places:
    """URLs without a slash at the end. `path`: of predictions at the proxy; `model_path`: at a model server."""

    proxy: str = "http://127.0.0.1:8080"
    admin: str = "http://127.0.0.1:9901"
    route: str = "churn"
    path: str = "/predict"
    model_path: str = "/predict"
    token: str = ""


# Of what the admin API says, the part that the page shows.


class _Route(msgspec.Struct):
    name: str
    split: dict[str, Any]
    mirrors: list[Any]


class _Rollout(msgspec.Struct):
    route: str
    champion: str
    challenger: str
    phase: str
    step: int
    waiting_for: Any
    steps: list[Any]


class _Rollouts(msgspec.Struct):
    rollouts: list[_Rollout]


class _Mirror(msgspec.Struct):
    to: str
    share: float


class _Reasons(msgspec.Struct):
    because: Any
    how: Any
    key: Any
    bucket: Any
    chances: Any
    moves: Any


class _Why(_Reasons):
    mirrors: list[_Mirror]


class _Endpoint(msgspec.Struct):
    url: str
    up: bool


class _Backend(msgspec.Struct):
    endpoints: list[_Endpoint]


class Asking:
    """`session` has a timeout."""

    def __init__(self, session: ClientSession, places: Places) -> None:
        self.session = session
        self.places = places

    async def live(self) -> dict[str, Any]:
        """The split now, mirrors, and the rollouts of the route. Raises Refused, 502."""
        route = await self._admin(_Route, "GET", f"routes/{quote(self.places.route, safe='')}")
        rollouts = (await self._admin(_Rollouts, "GET", "rollouts")).rollouts
        kept = ("champion", "challenger", "phase", "step", "waiting_for")
        return {
            "route": route.name,
            "split": route.split,
            "mirrors": route.mirrors,
            "rollouts": [
                {**{name: getattr(each, name) for name in kept}, "steps": len(each.steps)}
                for each in rollouts
                if each.route == route.name
            ],
        }

    async def ask(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused, 502, where the proxy or its admin API does not answer."""
        body = msgspec.json.encode(row)
        asked = {"method": "POST", "target": self.places.proxy + self.places.path, "headers": _JSON}
        why = await self._admin(_Why, "POST", "explain", {**asked, "body": body.decode()})
        url = self.places.proxy + self.places.path
        status, answer, headers = await self._sent("the proxy", "POST", url, body, _JSON)
        backend = headers.get("x-crossfade-backend")
        shadows = [copy for copy in why.mirrors if copy.to != backend]
        others = await asyncio.gather(*(self._beside(copy.to, copy.share, body) for copy in shadows))
        return {
            "request_id": headers.get("x-request-id"),
            "backend": backend,
            "status": status,
            "answer": answer,
            "why": {name: getattr(why, name) for name in _Reasons.__struct_fields__},
            "others": list(others),
        }

    async def _beside(self, backend: str, share: float, body: bytes) -> dict[str, Any]:
        """What this version answers. Where it does not, that is shown in the place of its answer."""
        found = await self._admin(_Backend, "GET", f"backends/{quote(backend, safe='')}")
        up = [each.url for each in found.endpoints if each.up]
        shown = {"backend": backend, "share": share}
        if not up:
            return {**shown, "status": 0, "answer": "no endpoint of it is up"}
        url = up[0].rstrip("/") + self.places.model_path
        try:
            status, answer, _ = await self._sent(backend, "POST", url, body, _JSON | _COPY)
        except Refused as error:
            return {**shown, "status": 0, "answer": str(error)}
        return {**shown, "status": status, "answer": answer}

    async def _admin(self, wanted: type[T], method: str, path: str, content: Any = None) -> T:
        """Raises Refused, 502, also where something else than an admin API of Crossfade answers."""
        headers = {"Authorization": f"Bearer {self.places.token}"} if self.places.token else {}
        body = None if content is None else msgspec.json.encode(content)
        headers |= {} if content is None else _JSON
        url = f"{self.places.admin}/api/v1/{path}"
        status, answer, _ = await self._sent("the admin API", method, url, body, headers)
        if status != 200:
            detail = answer.get("detail") if isinstance(answer, dict) else answer
            raise refuse(502, f"the admin API answers {status}: {detail}")
        try:
            return msgspec.convert(answer, wanted)
        except msgspec.ValidationError as error:
            raise refuse(502, f"no admin API of Crossfade answers at {url}: {error}") from None

    async def _sent(
        self, whom: str, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON or else text, header fields."""
        try:
            async with self.session.request(method, url, data=body, headers=headers) as response:
                data = await response.read()
        except (ClientError, TimeoutError, ValueError) as error:
            raise refuse(
                502, f"{whom} does not answer at {url}: {str(error) or type(error).__name__}"
            ) from None
        try:
            return response.status, msgspec.json.decode(data), response.headers
        except (msgspec.DecodeError, UnicodeDecodeError):
            return response.status, data.decode(errors="replace")[:2000], response.headers
