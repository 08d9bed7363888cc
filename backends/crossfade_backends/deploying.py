"""The words deploy, undeploy, scale and info: what is wanted is written down, the supervisor does it, and the command waits for it.

Rule: a word that is stopped half way can be given again, and goes on. Nobody but an operator takes traffic from a version:
`undeploy` refuses while the proxy may send it any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossfade_backends.admin_client import AdminClient, ProxyError
from crossfade_backends.autoscale import Target
from crossfade_backends.deployments import (
    LOG,
    Routing,
    Seen,
    Wanted,
    all_folders,
    change_wanted,
    ensure_supervisor,
    folder_of,
    forget,
    lock_of,
    read_seen,
    read_wanted,
)
from crossfade_backends.registry import Metadata
from crossfade_backends.routing_edits import (
    change,
    read,
    require_accepted,
    require_in_force,
    with_backend,
    with_rollout,
    with_split,
    without_backend,
    without_rollouts,
)
from crossfade_backends.routing_file import EditError

RUNNING = ("progressing", "paused")
GIVEN_UP = ("aborted", "rolled_back")
_WAIT = 0.1


class DeployError(Exception):
    """What is not done, and why."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """`route`: "" for the one that is called like the model, or the only one. `strategy`: "" begins no rollout."""

    metadata: Metadata
    replicas: int
    strategy: str = "canary"
    route: str = ""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    target: Target | None = None
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """`file`: None for the one that the proxy was started with. `timeout`: seconds that a word waits for the supervisor."""

    root: Path
    client: AdminClient
    file: Path | None
    timeout: float


def backend_of(name: str, version: str) -> str:
    return f"{name}-{version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a version comes in. `champion`: "" where no rollout begins; then the route does not matter."""

    backend: str
    route: Mapping[str, Any]
    champion: str
    file: Path


def entry_of(place: Place, given: Deployment) -> Entry:
    """Raises DeployError where there is no way in, or ProxyError."""
    backend = backend_of(given.metadata.name, given.metadata.version)
    status = place.client.get("api", "v1", "status")
    route: Mapping[str, Any] = {"name": "", "split": {}}
    champion = ""
    if given.strategy:
        route = _route_of(status, given.route or given.metadata.name, bool(given.route))
        champion = _champion_for(status, route, backend)
    file = file_of(place, status)
    require_in_force(place.client, file, read(file))  # before anything is started
    return Entry(backend, route, champion, file)


def edited(text: str, given: Deployment, entry: Entry, urls: list[str]) -> str:
    """The routing file with the backend, and its rollout. Raises EditError."""
    wanted = {
        "strategy": given.strategy,
        "champion": entry.champion,
        "challenger": entry.backend,
        **given.rollout,
    }
    text = with_backend(text, entry.backend, urls, f"{given.metadata.name}/{given.metadata.version}")
    return with_rollout(text, entry.route["name"], wanted, entry.route["split"]) if entry.champion else text


def enter(place: Place, given: Deployment, entry: Entry, urls: list[str], say: Callable[[str], None]) -> None:
    """One edit of the routing file. Raises ProxyError or EditError."""
    change(place.client, entry.file, lambda text: edited(text, given, entry, urls), lock_of(place.root))
    say(f"{entry.file}: backend {entry.backend} is in it")


def preview(place: Place, given: Deployment) -> str:
    """The routing file as `deploy` would leave it; nothing is started. The ports of replicas are not known before, so all have port 1.

    Raises DeployError, ProxyError or EditError where `deploy` would."""
    entry = entry_of(place, given)
    text = edited(read(entry.file), given, entry, [f"http://{given.host}:1"])
    require_accepted(place.client, text)
    return text


def say_begun(place: Place, given: Deployment, entry: Entry, say: Callable[[str], None]) -> None:
    """Raises DeployError where the rollout has not begun: what was given up is not tried again by an edit."""
    if not entry.champion:
        return
    name = entry.route["name"]
    for rollout in place.client.get("api", "v1", "status")["rollouts"]:
        is_this = (rollout["route"], rollout["challenger"]) == (name, entry.backend)
        if is_this and rollout["phase"] in GIVEN_UP:
            raise DeployError(
                f"route {name}: {entry.backend} is {rollout['phase']} since an earlier attempt and gets no traffic; "
                f"`crossfade retry {name}` begins another one"
            )
    say(f"route {name}: {given.strategy} of {entry.backend} beside {entry.champion} has begun")


def deploy(place: Place, given: Deployment, say: Callable[[str], None]) -> None:
    """Raises DeployError, RegistryError, ProxyError or EditError. What was not deployed before is not left half deployed."""
    entry = entry_of(place, given)
    folder = folder_of(place.root, given.metadata.name, given.metadata.version)
    before = read_wanted(folder)
    _want(folder, given)  # before the try: what is another version's is not stopped
    try:
        urls = [one.url for one in _settled(place, folder, given.replicas).replicas]
        say(f"{entry.backend}: {len(urls)} replicas up: {', '.join(urls)}")
        enter(place, given, entry, urls, say)
    except (DeployError, ProxyError, EditError, OSError):
        if before is None:
            _stop(place, folder)
        raise
    routing = Routing(admin=place.client.url, file=entry.file, backend=entry.backend)
    change_wanted(folder, lambda now: now and now.model_copy(update={"routing": routing}))
    _settled(place, folder, None)
    say_begun(place, given, entry, say)


def _want(folder: Path, given: Deployment) -> None:
    def wanted(now: Wanted | None) -> Wanted:
        if now is not None and (now.name, now.version) != (given.metadata.name, given.metadata.version):
            raise DeployError(f"{folder.name} is deployed already, of {now.name}@{now.version}")
        new = Wanted(
            name=given.metadata.name,
            version=given.metadata.version,
            replicas=given.replicas,
            host=given.host,
            target=given.target,
        )
        return new if now is None else new.model_copy(update={"routing": now.routing, "number": now.number})

    change_wanted(folder, wanted)


def _route_of(status: Mapping[str, Any], name: str, is_named: bool) -> Mapping[str, Any]:
    routes: list[Mapping[str, Any]] = status["routes"]
    found = [each for each in routes if each["name"] == name] or ([] if is_named else routes)
    if len(found) != 1:
        names = ", ".join(each["name"] for each in routes)
        raise DeployError(f"the proxy has no route {name!r}; choose with --route from {names}")
    return found[0]


def _champion_for(status: Mapping[str, Any], route: Mapping[str, Any], backend: str) -> str:
    """Who is in charge; "" where the rollout of this backend runs already. Raises DeployError where another one runs, or nobody is in charge."""
    for rollout in status["rollouts"]:
        if rollout["route"] == route["name"] and rollout["phase"] in RUNNING:
            if rollout["challenger"] == backend:
                return ""
            raise DeployError(
                f"route {route['name']} has a rollout of {rollout['challenger']} that runs; "
                "end it first (crossfade promote, or abort), or give --strategy none"
            )
    whole = [name for name, share in route["split"].items() if share == 1]
    champion: str = route["champion"] or (whole[0] if whole else "")
    if not champion:
        raise DeployError(f"nobody is in charge of route {route['name']}: its split has several backends")
    if champion == backend:
        raise DeployError(f"{backend} is in charge of route {route['name']} already; give --strategy none")
    return champion


def file_of(place: Place, status: Mapping[str, Any]) -> Path:
    file = (place.file or Path(status["config"]["source"])).resolve()
    if not file.is_file():
        raise DeployError(f"{file} is not there; name the routing YAML of the proxy with --config")
    return file


def scale(place: Place, metadata: Metadata, replicas: int | None, target: Target | None) -> Seen:
    """A fixed number, or by a target. Raises DeployError."""
    folder = _deployed(place.root, metadata)

    def wanted(now: Wanted | None) -> Wanted | None:
        if now is None or not now.replicas:
            raise DeployError(f"{folder.name} is being undeployed")
        number = replicas if target is None else min(max(now.replicas, target.least), target.most)
        return now.model_copy(update={"replicas": number, "target": target})

    change_wanted(folder, wanted)
    return _settled(place, folder, replicas)


def undeploy(place: Place, metadata: Metadata, force: bool) -> None:
    """`force`: stops the replicas and asks no proxy; the routing file stays as it is. Raises DeployError while traffic goes there."""
    folder = _deployed(place.root, metadata)
    wanted = read_wanted(folder)
    if wanted is not None and wanted.routing is not None and not force:
        seen = read_seen(folder)
        urls = {one.url for one in seen.replicas} | {one.served for one in seen.replicas}
        leave(place.client, wanted.routing, urls, lock_of(place.root))
    _stop(place, folder)


def leave(client: AdminClient, routing: Routing, urls: Collection[str], lock: Path) -> None:
    """Takes the endpoints, and ended rollouts, out of the routing file. Raises DeployError while traffic may go there."""
    status = client.get("api", "v1", "status")
    if found := list(uses(status, routing.backend)):
        raise DeployError(f"{routing.backend} cannot be undeployed: {'; '.join(found)}")
    ended = [
        each["route"]
        for each in status["rollouts"]
        if routing.backend in (each["champion"], each["challenger"])
    ]
    running = {each["route"] for each in status["rollouts"] if each["phase"] in RUNNING}
    splits = {each["name"]: each["split"] for each in status["routes"]}

    def edit(text: str) -> str:
        for route in ended:
            text = without_rollouts(text, route, routing.backend)
            if route not in running:  # while one runs, `split` is what its end restores
                text = with_split(text, route, splits[route])
        return without_backend(text, routing.backend, urls)

    change(client, routing.file, edit, lock)


def uses(status: Mapping[str, Any], backend: str) -> Iterator[str]:
    """Each way in which requests may come there."""
    for route in status["routes"]:
        if share := route["split"].get(backend):
            yield f"route {route['name']} sends it {share:.4g} of its requests"
        if any(mirror["to"] == backend for mirror in route["mirrors"]):
            yield f"route {route['name']} mirrors to it"
        if route["fallback"] == backend:
            yield f"route {route['name']} falls back to it"
    for rollout in status["rollouts"]:
        if rollout["phase"] in RUNNING and backend in (rollout["champion"], rollout["challenger"]):
            yield f"the rollout of route {rollout['route']} runs"
        if rollout["watched"] and rollout["champion"] == backend:
            yield f"route {rollout['route']} is watched, and may go back to it"


def _stop(place: Place, folder: Path) -> None:
    stopped = change_wanted(
        folder, lambda now: now and now.model_copy(update={"replicas": 0, "target": None, "routing": None})
    )
    if stopped is not None:
        _settled(place, folder, 0)
        if not forget(folder, stopped.number):
            raise DeployError(f"{folder.name} was deployed again meanwhile, and stays")


def _deployed(root: Path, metadata: Metadata) -> Path:
    folder = folder_of(root, metadata.name, metadata.version)
    wanted = read_wanted(folder)
    if wanted is None or (wanted.name, wanted.version) != (metadata.name, metadata.version):
        known = ", ".join(each.name for each in all_folders(root)) or "nothing is"
        raise DeployError(f"{folder.name} is not deployed on this machine ({known})")
    return folder


def _settled(place: Place, folder: Path, replicas: int | None) -> Seen:
    """Waits until the supervisor has done what is wanted. `replicas` 0: until none is left. Raises DeployError if it takes too long, or a
    replica has ended three times in a row."""
    wanted = read_wanted(folder)
    assert wanted is not None
    end = time.monotonic() + place.timeout
    ensure_supervisor(folder)
    while time.monotonic() < end:
        seen = read_seen(folder)
        if seen.number >= wanted.number and (seen.settled or (replicas == 0 and not seen.replicas)):
            return seen
        worst = max((one.failures for one in seen.replicas if one.state == "waiting"), default=0)
        if worst >= 3 and replicas != 0:
            break
        time.sleep(_WAIT)
    seen = read_seen(folder)
    why = [
        seen.note,
        *(f"replica {one.id} is {one.state} {one.note}" for one in seen.replicas if one.state != "up"),
    ]
    raise DeployError(
        f"{folder.name} is not as wanted: {'; '.join(filter(None, why)) or 'its supervisor says nothing'} (see {folder / LOG})"
    )


def information(root: Path, token: str) -> list[dict[str, Any]]:
    """Of each deployment. Starts the supervisor again where it is gone."""
    found = []
    for folder in all_folders(root):
        wanted = read_wanted(folder)
        if wanted is None:
            continue
        is_new = ensure_supervisor(folder)
        seen = read_seen(folder)
        found.append(
            {
                "backend": folder.name,
                "version": f"{wanted.name}@{wanted.version}",
                "wanted": wanted.replicas,
                "target": None if wanted.target is None else wanted.model_dump(mode="json")["target"],
                "supervisor": "started again" if is_new else "runs",
                "note": seen.note,
                "scaled": seen.scaled,
                "replicas": [one.model_dump() for one in seen.replicas],
                "traffic": _traffic(wanted, token),
            }
        )
    return found


def _traffic(wanted: Wanted, token: str) -> dict[str, Any] | None:
    """Of each route, the share and the requests since the proxy started; None where no proxy is asked, or none answers."""
    if wanted.routing is None:
        return None
    backend = wanted.routing.backend
    try:
        status = AdminClient(wanted.routing.admin, token).get("api", "v1", "status")
    except ProxyError:
        return None
    routes = {
        route["name"]: {
            "share": route["split"].get(backend, 0.0),
            "requests": route["backends"].get(backend, {}).get("requests", 0),
        }
        for route in status["routes"]
        if backend in route["split"] or backend in route["backends"]
    }
    here: dict[str, Any] = next((each for each in status["backends"] if each["name"] == backend), {})
    return {"in_flight": here.get("in_flight", 0), "routes": routes}
