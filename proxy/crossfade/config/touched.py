"""What a configuration has the proxy read, write or run: files, folders, sockets and programs, as they are written.

Rule: a text that comes through the admin API may name what the file names, and nothing else. Whoever may send a configuration
does not thereby read this machine's files or run its programs.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.config.drift import LIVE
from crossfade.config.load import Loaded
from crossfade.config.route import RouteConfig


def newly_touched(loaded: Loaded, file: Loaded) -> list[str]:
    """What this configuration touches and the one of the file does not, in order."""
    return sorted({*_touched(loaded)} - {*_touched(file)})


def _touched(loaded: Loaded) -> Iterator[str]:
    config = loaded.config
    yield from (f"the file {path}" for path in loaded.tls_files)
    if config.registry is not None and config.registry.kind == "folder":
        yield f"the folder {config.registry.uri}"
    yield config.state
    if config.access_log is not None and config.access_log.to != "stdout":
        yield f"the file {config.access_log.to}"
    # Behind a socket of this machine may be whatever runs here with more rights than the caller has.
    ends = (end for backend in config.backends.values() for end in backend.endpoints)
    yield from (f"the socket {end.path}" for end in ends if not end.host)
    for route in config.routes:
        yield from _of_route(route)


def _of_route(route: RouteConfig) -> Iterator[str]:
    if route.retrain is not None and route.retrain.command is not None:
        yield f"the program {' '.join(route.retrain.command)}"
    for section in (route.keep, route.report):
        if section is not None:
            yield f"the folder {section.dir}"
    if route.drift is not None:
        baseline = route.drift.baseline
        paths = [baseline] if isinstance(baseline, str) else baseline.values()
        yield from (f"the file {path}" for path in paths if path != LIVE)
