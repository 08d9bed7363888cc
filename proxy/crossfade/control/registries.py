"""Registries of models: which version has an alias, and which is in charge. A folder, or an MLflow server.

Rule: every failure is a RegistryError, whose text holds no password. Nothing waits for a registry but the task that asks it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import msgspec

from crossfade.config.problem import without_credentials
from crossfade.config.registry import RegisteredVersion, RegistryConfig
from crossfade.control.prometheus_poller import cause_of

CHAMPION, CHALLENGER = "champion", "challenger"
TIMEOUT = 10.0  # seconds
METADATA = "metadata.json"
MAX_METADATA = 1 << 20  # bytes
_STAGES = {CHAMPION: "production", CHALLENGER: "staging"}


class RegistryError(Exception):
    """The registry does not answer, or not as it should."""


class Found(msgspec.Struct, frozen=True):
    """A version. `endpoint`: its tag; "" without one."""

    model: str
    version: str
    endpoint: str = ""

    @property
    def name(self) -> RegisteredVersion:
        return RegisteredVersion(self.model, self.version)


class Registry(Protocol):
    async def by_alias(self, model: str, alias: str) -> Found | None:
        """None if no version has the alias. Raises RegistryError."""

    async def put_in_charge(self, version: RegisteredVersion) -> bool:
        """This version is the champion now, and no challenger. Whether that is new. Raises RegistryError."""

    async def close(self) -> None:
        """Nothing is asked any more."""


def registry_of(config: RegistryConfig) -> Registry:
    """Make it in a running loop."""
    return FolderRegistry(Path(config.uri)) if config.kind == "folder" else MlflowRegistry(config)


class FolderRegistry:
    """`DIR/MODEL/VERSION/metadata.json` with `stage` and `tags.endpoint`. The champion is in production, the challenger is the newest in
    staging; a version that leaves production is archived.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    async def by_alias(self, model: str, alias: str) -> Found | None:
        return await asyncio.to_thread(self._by_alias, model, alias)

    async def put_in_charge(self, version: RegisteredVersion) -> bool:
        return await asyncio.to_thread(self._put_in_charge, version)

    async def close(self) -> None:
        """Nothing is open."""

    def _by_alias(self, model: str, alias: str) -> Found | None:
        stage = _STAGES.get(alias)
        if stage is None:
            raise RegistryError(f"a folder has the aliases champion and challenger, not {alias}")
        found = [
            (str(m.get("created", "")), name, m) for name, m in self._all(model) if m.get("stage") == stage
        ]
        if not found:
            return None
        _, name, metadata = max(found, key=lambda each: each[:2])
        tags = metadata.get("tags")
        endpoint = tags.get("endpoint", "") if isinstance(tags, dict) else ""
        return Found(model, name, endpoint if isinstance(endpoint, str) else "")

    def _put_in_charge(self, version: RegisteredVersion) -> bool:
        with _locked(self.root / version.model):
            return self._move_all(version)

    def _move_all(self, version: RegisteredVersion) -> bool:
        wanted = self._read(version.model, version.version)
        others = [
            (name, metadata)
            for name, metadata in self._all(version.model)
            if metadata.get("stage") == "production" and name != version.version
        ]
        for name, metadata in others:
            self._write(version.model, name, _moved(metadata, "archived"))
        if wanted.get("stage") != "production":
            self._write(version.model, version.version, _moved(wanted, "production"))
            return True
        return bool(others)

    def _all(self, model: str) -> Iterator[tuple[str, dict[str, Any]]]:
        folder = self.root / model
        try:
            names = sorted(path.name for path in folder.iterdir() if (path / METADATA).is_file())
        except OSError as error:
            raise RegistryError(f"{folder} cannot be read: {error.strerror}") from None
        for name in names:
            if not name.startswith("."):  # one that is being written
                yield name, self._read(model, name)

    def _read(self, model: str, version: str) -> dict[str, Any]:
        path = self.root / model / version / METADATA
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(MAX_METADATA))
        except OSError as error:
            raise RegistryError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RegistryError(f"{path} is no JSON object")
        return found

    def _write(self, model: str, version: str, metadata: dict[str, Any]) -> None:
        path = self.root / model / version / METADATA
        # A name of its own: somebody may move or tag the version at the same time.
        staged = path.with_name(f".{METADATA}.{os.getpid()}-{threading.get_ident()}.new")
        try:
            with staged.open("w") as file:
                file.write(json.dumps(metadata, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        except OSError as error:
            raise RegistryError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody moves or tags versions of the model meanwhile, as `crossfade_backends.stages` does. Raises RegistryError after TIMEOUT."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RegistryError(f"{folder} cannot be read: {error.strerror}") from None
    try:
        end = monotonic() + TIMEOUT
        while not _has_lock(descriptor):
            if monotonic() > end:
                raise RegistryError(f"{folder} is locked by another process")
            sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _has_lock(descriptor: int) -> bool:
    """Without one where the disk has none (ENOLCK, ENOTSUP: some network disks)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def _moved(metadata: dict[str, Any], stage: str) -> dict[str, Any]:
    """With one more row of its `history`, where the registry keeps one."""
    history = metadata.get("history")
    if not isinstance(history, list):
        return metadata | {"stage": stage}
    row = {"stage": stage, "at": datetime.now(UTC).isoformat(), "by": "crossfade"}
    return metadata | {"stage": stage, "history": [*history, row]}


class MlflowRegistry:
    """By MLflow's REST API (`/api/2.0/mlflow`), whose aliases are `champion` and `challenger`."""

    def __init__(self, config: RegistryConfig) -> None:
        self.base = f"{config.uri.rstrip('/')}/api/2.0/mlflow"
        self.headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))

    async def by_alias(self, model: str, alias: str) -> Found | None:
        path = f"registered-models/alias?name={quote(model)}&alias={quote(alias)}"
        answer = await self._ask("GET", path, missing=True)
        if answer is None:
            return None
        try:
            found = answer["model_version"]
            tags = {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}
            return Found(model, str(found["version"]), str(tags.get("endpoint", "")))
        except (KeyError, TypeError, AttributeError):
            raise RegistryError("the answer is not one of MLflow") from None

    async def put_in_charge(self, version: RegisteredVersion) -> bool:
        challenger = await self.by_alias(version.model, CHALLENGER)
        champion = await self.by_alias(version.model, CHAMPION)
        is_new = champion is None or champion.version != version.version
        if is_new:
            alias = {"name": version.model, "alias": CHAMPION, "version": version.version}
            await self._ask("POST", "registered-models/alias", alias)
        if challenger is not None and challenger.version == version.version:
            await self._ask("DELETE", "registered-models/alias", {"name": version.model, "alias": CHALLENGER})
        return is_new

    async def close(self) -> None:
        await self.session.close()

    async def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None, missing: bool = False
    ) -> dict[str, Any] | None:
        """`missing`: None for what is not there."""
        try:
            async with self.session.request(
                method, f"{self.base}/{path}", json=body, headers=self.headers, allow_redirects=False
            ) as answer:
                text = await answer.content.read(MAX_METADATA)
                status = answer.status
        except TimeoutError:
            raise RegistryError(f"MLflow does not answer within {TIMEOUT:g}s") from None
        except (OSError, aiohttp.ClientError, ValueError) as error:
            raise RegistryError(f"MLflow cannot be reached ({cause_of(error)})") from None
        try:
            found: Any = msgspec.json.decode(text or b"{}")
        except (msgspec.DecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RegistryError(f"the answer ({status}) is not one of MLflow")
        if status == 200:
            return found
        if missing and _is_missing(status, found):
            return None
        raise RegistryError(
            without_credentials(f"MLflow answered {status}: {found.get('message', '')}"[:500])
        )


def _is_missing(status: int, problem: dict[str, Any]) -> bool:
    """No such model, or none of its versions has the alias: MLflow calls the latter a wrong parameter."""
    code, message = problem.get("error_code"), str(problem.get("message", ""))
    return code == "RESOURCE_DOES_NOT_EXIST" or (
        status == 400 and code == "INVALID_PARAMETER_VALUE" and "alias" in message and "not found" in message
    )
