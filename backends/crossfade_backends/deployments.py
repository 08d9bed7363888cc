"""Where a version runs on this machine: `REGISTRY/.deployments/MODEL-VERSION/`, what is wanted and what there is.

Rule: commands write `wanted.json`, the supervisor writes `seen.json`; each file is replaced whole. Nobody needs to be asked
what is going on, so a supervisor or a command that was killed leaves nothing that the next one cannot read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from crossfade_backends.autoscale import Target
from crossfade_backends.locks import locked, try_lock
from crossfade_backends.registry import RegistryError, write_whole

FOLDER = ".deployments"
WANTED, SEEN, LOG = "wanted.json", "seen.json", "supervisor.log"
TOKEN = "CROSSFADE_ADMIN_TOKEN"

State = Literal["starting", "up", "waiting", "leaving"]


class Routing(BaseModel):
    """The proxy that gets the replicas as endpoints. `admin`: the URL of its admin API; `file`: its routing YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    admin: str
    file: Path
    backend: str


class Wanted(BaseModel):
    """`number` grows with each change. `replicas` 0: all are stopped, and then the supervisor ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    replicas: int
    host: str = "127.0.0.1"
    target: Target | None = None
    routing: Routing | None = None
    number: int = 1


class Replica(BaseModel):
    """`served`: the URL that the routing file has of it. `failures`: ends in a row that nobody asked for; `restarts`: all of them."""

    id: int
    state: State
    url: str = ""
    served: str = ""
    drained: bool = False
    pid: int = 0
    failures: int = 0
    restarts: int = 0
    note: str = ""


class Seen(BaseModel):
    """`number`: the `Wanted` that this is about. `note`: what the supervisor waits for. `scaled`: the last change by the target, and why."""

    number: int = 0
    settled: bool = False
    replicas: list[Replica] = []
    note: str = ""
    scaled: str = ""


def folder_of(root: Path, name: str, version: str) -> Path:
    return root.resolve() / FOLDER / f"{name}-{version}"


def lock_of(root: Path) -> Path:
    """Held by whoever edits a routing file."""
    folder = root.resolve() / FOLDER
    folder.mkdir(exist_ok=True)
    return folder / "routing.lock"


def all_folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in (root.resolve() / FOLDER).glob(f"*/{WANTED}"))


def read_wanted(folder: Path) -> Wanted | None:
    """None where nothing is deployed. Raises RegistryError for a file that cannot be read."""
    path = folder / WANTED
    try:
        return Wanted.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise RegistryError(path, f"cannot be read: {error}") from None


def read_seen(folder: Path) -> Seen:
    try:
        return Seen.model_validate_json((folder / SEEN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Seen()


def replace(path: Path, content: str) -> None:
    write_whole(path, content.encode() + b"\n")


def change_wanted(folder: Path, change: Callable[[Wanted | None], Wanted | None]) -> Wanted | None:
    """Under a lock; None changes nothing. What is written has the next number."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "wanted.lock"):
        before = read_wanted(folder)
        after = change(before)
        if after is not None:
            after = after.model_copy(update={"number": before.number + 1 if before else 1})
            replace(folder / WANTED, after.model_dump_json(indent=2))
        return after


def forget(folder: Path, number: int) -> bool:
    """Removes what is written of a deployment that is stopped. False, and nothing is removed, where more was wanted after `number`."""
    with locked(folder / "wanted.lock"):
        now = read_wanted(folder)
        if now is not None and now.number != number:
            return False
        (folder / WANTED).unlink(missing_ok=True)
        # Whoever looks for a supervisor just now may leave its lock behind; without WANTED nothing is deployed.
        shutil.rmtree(folder, ignore_errors=True)
        return True


def ensure_supervisor(folder: Path) -> bool:
    """Starts one that outlives this process, unless there is one. Whether it was started.

    It gets the lock with its start, so there is no time at which nobody or two have it.
    """
    try:
        held = try_lock(folder / "supervisor.lock")
    except FileNotFoundError:  # undeployed meanwhile
        return False
    if held is None:
        return False
    with (folder / LOG).open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "crossfade_backends.supervisor", str(folder), "--lock", str(held)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(held,),
        )
    os.close(held)
    return True
