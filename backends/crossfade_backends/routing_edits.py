"""Edits of the routing file that a proxy runs by: a backend's endpoints, a backend, the rollout of a route.

Rule: the file is edited, not the configuration that the proxy has in memory. What is applied by the admin API lasts until the
next reload; the file lasts, it is the operator's, and they find in it what was done. An edit is checked by the proxy before the
file is touched; if the reload fails all the same, the file is as it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from crossfade_backends.admin_client import AdminClient, ProxyError
from crossfade_backends.locks import locked
from crossfade_backends.registry import write_durably
from crossfade_backends.routing_file import EditError, Quoted, cut, put, values

Edit = Callable[[str], str]


def change(client: AdminClient, file: Path, edit: Edit, lock: Path) -> bool:
    """Whether the edit changed anything. `lock`: a file that all who edit hold meanwhile. Raises EditError or ProxyError."""
    with locked(lock):
        file = file.resolve()
        before = read(file)
        after = edit(before)
        if after == before:
            return False
        require_in_force(client, file, before)
        wanted = require_accepted(client, after)
        if read(file) != before:
            raise EditError(f"{file} was edited at the same time; nothing is changed")
        _replace(file, after)
        try:
            _require_loaded(file, client.post("api", "v1", "reload"), wanted)
        except ProxyError:
            if read(file) == after:
                _replace(file, before)
            raise
        return True


def read(file: Path) -> str:
    """Raises EditError for what is no text of a mapping."""
    try:
        text = file.read_bytes().decode()  # ends of lines stay as they are
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(f"{file} cannot be read: {error}") from None
    if not isinstance(values(text), dict):
        raise EditError(f"{file} is no mapping of YAML")
    return text


def require_in_force(client: AdminClient, file: Path, text: str) -> None:
    """Raises ProxyError where the proxy does not run by this text of the file, so that a reload would do more than an edit."""
    config = client.get("api", "v1", "status")["config"]
    if config["differs"]:
        raise ProxyError(
            f"the proxy runs a configuration that was applied and is not in {file}: a reload would undo it"
        )
    if _checked(client, text)["hash"] != config["hash"]:
        raise ProxyError(
            f"the proxy does not run by {file} as it is now: it reads {config['source']}, or has not loaded the last edit"
        )


def require_accepted(client: AdminClient, text: str) -> str:
    """The hash that the configuration will have. Raises ProxyError where the proxy would not load this text."""
    checked = _checked(client, text)
    if refused := checked["refused"]:
        raise ProxyError(f"the proxy refuses: {refused}")
    wanted: str = checked["hash"]
    return wanted


def _require_loaded(file: Path, config: Mapping[str, Any], wanted: str) -> None:
    """`config`: in use after the reload. Raises ProxyError where it is another one: the proxy reads another file, that said the same before."""
    if config["hash"] != wanted:
        raise ProxyError(
            f"the proxy has not loaded {file}, but {config['source']} as it is where the proxy was started; name that file with --config"
        )


def _checked(client: AdminClient, text: str) -> Any:
    return client.post("api", "v1", "config", body=text, media="application/yaml")


def _replace(file: Path, text: str) -> None:
    """With the same mode, and the same owner where that is allowed."""
    was = file.stat()
    staged = file.with_name(f".{file.name}.models")
    staged.unlink(missing_ok=True)
    staged.touch(mode=0o600)  # nobody reads it before it has the mode of the file
    write_durably(staged, text.encode())
    staged.chmod(stat.S_IMODE(was.st_mode))
    if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(staged, was.st_uid, was.st_gid)
    staged.replace(file)


def endpoints_of(text: str, backend: str) -> list[Any]:
    """As they are written: URLs, or mappings with a `url`. Empty for a backend that is not there."""
    found = (values(text).get("backends") or {}).get(backend, {}).get("endpoints", [])
    return found if isinstance(found, list) else [found]


def urls_of(text: str, backend: str) -> list[str]:
    return [each["url"] if isinstance(each, dict) else each for each in endpoints_of(text, backend)]


def with_endpoints(text: str, backend: str, add: Iterable[str], remove: Collection[str]) -> str:
    """Endpoints of others stay. Raises EditError where none would be left."""
    before = endpoints_of(text, backend)
    there = urls_of(text, backend)
    kept = [each for each, url in zip(before, there, strict=True) if url not in remove]
    after = [*kept, *(url for url in add if url not in there or url in remove)]
    if after == before:
        return text
    if not after:
        raise EditError(f"no endpoint of {backend} would be left")
    return put(text, ["backends", backend, "endpoints"], after)


def with_backend(text: str, backend: str, urls: list[str], registered: str) -> str:
    """A new backend, or more endpoints of one that is there. `registered`: MODEL/VERSION."""
    version = registered.partition("/")[2]
    there = (values(text).get("backends") or {}).get(backend)
    if there is not None:
        # `a-b` with the version `c` and `a` with `b-c` have one name.
        for key, wanted in (("registry", registered), ("version", version)):
            if isinstance(there, dict) and there.get(key, wanted) != wanted:
                raise EditError(f"backend {backend} is there already, with {key}: {there[key]}, not {wanted}")
        return with_endpoints(text, backend, urls, ())
    # With a registry, a promote puts the version into production there.
    known = {"registry": registered} if "registry" in values(text) else {"version": Quoted(version)}
    return put(text, ["backends", backend], {"endpoints": urls, **known, "health": {"path": "/health"}})


def without_backend(text: str, backend: str, urls: Collection[str]) -> str:
    """Takes these endpoints out, and the backend if it has no others."""
    there = urls_of(text, backend)
    if not there:
        return text
    if set(there) <= set(urls):
        return cut(text, ["backends", backend])
    return with_endpoints(text, backend, (), urls)


def index_of(text: str, route: str) -> int:
    """Raises EditError."""
    routes = values(text).get("routes") or []
    found = next((n for n, each in enumerate(routes) if each.get("name") == route), None)
    if found is None:
        names = ", ".join(str(each.get("name")) for each in routes)
        raise EditError(f"the file has no route {route!r}; it has {names or 'none'}")
    return found


def with_rollout(text: str, route: str, rollout: Mapping[str, Any], split: Mapping[str, float]) -> str:
    """`split`: where the traffic is; a promote leaves the file behind, and a new rollout starts from what is so."""
    text = with_split(text, route, split)
    return put(text, ["routes", index_of(text, route), "rollout"], dict(rollout))


def without_rollouts(text: str, route: str, backend: str) -> str:
    """Those that name the backend; others of the route stay."""
    n = index_of(text, route)
    rollout = values(text)["routes"][n].get("rollout")
    found = rollout if isinstance(rollout, list) else [rollout] if rollout else []
    gone = [m for m, each in enumerate(found) if backend in (each.get("champion"), each.get("challenger"))]
    if gone and len(gone) == len(found):
        return cut(text, ["routes", n, "rollout"])
    for m in reversed(gone):
        text = cut(text, ["routes", n, "rollout", m])
    return text


def with_split(text: str, route: str, split: Mapping[str, float]) -> str:
    """As the state has it, without those that get nothing."""
    n = index_of(text, route)
    wanted = {name: f"{share * 100:.10g}%" for name, share in split.items() if share}
    there = values(text)["routes"][n].get("split")
    return text if there == wanted else put(text, ["routes", n, "split"], wanted)
