"""Profiles and what is known of drift, as files beside the state: `<state file>.drift/ROUTE.profile.json` and `ROUTE.json`.

Rule: each is replaced as a whole, so whoever is killed leaves the old one or the new one. All functions block; they are called
in a thread.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

import msgspec

from crossfade.files import read_regular
from crossfade.quality.loss_watch import LossWatch
from crossfade.quality.monitor import Monitor
from crossfade.quality.profile import BadProfile, Profile, read_profile, write_profile

PROFILE_LIMIT = 16 * 1024 * 1024  # bytes
FORMAT = 1


class StoredProfile(msgspec.Struct, frozen=True):
    """`backend`: whose scores it has; empty: whoever is in charge."""

    profile: msgspec.Raw
    backend: str = ""


class StoredMonitor(msgspec.Struct, frozen=True):
    monitor: Monitor
    loss: LossWatch = msgspec.field(default_factory=LossWatch)
    format: int = FORMAT


def drift_folder(state: str) -> Path | None:
    """`state`: its name as the store has it. None: nothing is kept."""
    return None if state == ":memory:" else Path(f"{state}.drift")


def stamp_of(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def profile_at(path: str) -> tuple[Profile, str]:
    """The profile of an operator's file, and its stamp. Raises BadProfile, with the path."""
    try:
        data = read_regular(path, PROFILE_LIMIT)
        return read_profile(data), stamp_of(data)
    except OSError as error:
        raise BadProfile(f"{path}: cannot be read: {error.strerror}") from None
    except BadProfile as error:
        raise BadProfile(f"{path}: {error}") from None


def kept_profile(folder: Path, route: str) -> tuple[Profile, str, str] | None:
    """(profile, stamp, backend); None if there is none. Raises BadProfile."""
    path = _profile_path(folder, route)
    try:
        data = read_regular(str(path), PROFILE_LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadProfile(f"{path}: cannot be read: {error.strerror}") from None
    try:
        stored = msgspec.json.decode(data, type=StoredProfile)
    except msgspec.DecodeError as error:
        raise BadProfile(f"{path}: {error}") from None
    return read_profile(bytes(stored.profile)), stamp_of(data), stored.backend


def keep_profile(folder: Path, route: str, profile: Profile, backend: str) -> str:
    """Returns its stamp. Raises OSError."""
    data = msgspec.json.encode(StoredProfile(msgspec.Raw(write_profile(profile)), backend))
    write_whole(_profile_path(folder, route), data)
    return stamp_of(data)


def kept_monitor(folder: Path, route: str) -> StoredMonitor | None:
    """None if there is none, or none that can be read: then alarms begin anew."""
    try:
        data = read_regular(str(_monitor_path(folder, route)), PROFILE_LIMIT)
        stored = msgspec.json.decode(data, type=StoredMonitor)
    except (OSError, msgspec.DecodeError):
        return None
    return stored if stored.format == FORMAT else None


def encoded(monitor: Monitor, loss: LossWatch) -> bytes:
    """Together, so that no label counts twice after a crash."""
    return msgspec.json.encode(StoredMonitor(monitor, loss))


def keep_monitor(folder: Path, route: str, data: bytes) -> None:
    """Raises OSError."""
    write_whole(_monitor_path(folder, route), data)


def write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _profile_path(folder: Path, route: str) -> Path:
    return folder / f"{quote(route, safe='')}.profile.json"


def _monitor_path(folder: Path, route: str) -> Path:
    return folder / f"{quote(route, safe='')}.json"
