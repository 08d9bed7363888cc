"""The proxies that are measured, each configured for the same work.

The work: two origins, 90 % of the customers on `a` and 10 % on `b`, sticky by X-Customer-Id; keep-alive on
both sides, X-Forwarded-For, no access log, one worker or thread; server-sent events are not buffered.
Crossfade runs as in production, with its control process, health probes and metrics.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from loadtests.measured_proxy import MeasuredProxy, Origins, path_of, printed_version, program
from loadtests.packaged import caddy, envoy, traefik
from loadtests.ports import free_ports
from loadtests.work import HEADER

# `make .venv/compiled/ok` installs the package with the compiled data plane there.
COMPILED = Path(sys.prefix) / "compiled"


def crossfade(
    folder: Path,
    origins: Origins,
    *,
    sticky: str = f"header: {HEADER}",
    mirrored: bool = False,
    workers: int = 1,
    compiled: bool = False,
) -> MeasuredProxy:
    """The options are for comparisons of crossfade with itself; `mirrored` mirrors all requests to `c`."""
    mirror = "mirror: [{to: c, sample: 100%, safe: true}]" if mirrored else ""
    third = f"c: {{endpoints: [http://127.0.0.1:{origins['c']}]}}" if mirrored else ""
    port, admin = free_ports(2)
    file = folder / "bench.yaml"
    file.write_text(f"""\
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
workers: {workers}
state: sqlite:{folder}/crossfade.db
backends:
  a: {{endpoints: [http://127.0.0.1:{origins["a"]}]}}
  b: {{endpoints: [http://127.0.0.1:{origins["b"]}]}}
  {third}
routes:
  - name: bench
    match: {{prefix: /}}
    sticky: {{{sticky}}}
    split: {{a: 90%, b: 10%}}
    {mirror}
""")
    command = [sys.executable, "-P", "-m", "crossfade"]  # -P: do not import from the current directory
    if compiled:
        command = ["env", f"PYTHONPATH={COMPILED}", *command]
    return MeasuredProxy(
        "crossfade, compiled" if compiled else "crossfade",
        version("crossfade"),
        port,
        [*command, "run", str(file)],
        [*command, "check", str(file)],
    )


def nginx(
    folder: Path, origins: Origins, more: str = "", tls: tuple[str, str] | None = None
) -> MeasuredProxy:
    """`more`: further lines of the server; `tls`: its certificate and key."""
    (port,) = free_ports(1)
    file = folder / "nginx.conf"
    # A worker of a root nginx without `user` has no access to this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    upstreams = "".join(
        f"upstream {name} {{ server 127.0.0.1:{p}; keepalive 256; keepalive_requests 100000000; }}\n"
        for name, p in origins.items()
    )
    file.write_text(f"""\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temporary}
  keepalive_requests 100000000;
  split_clients "$http_{HEADER.lower().replace("-", "_")}" $origin {{ 10% b; * a; }}
  {upstreams}
  server {{
    listen 127.0.0.1:{port}{" ssl" if tls else ""};
    {f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}; ssl_protocols TLSv1.2 TLSv1.3;" if tls else ""}
    {more}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffers 16 16k;
    proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://$origin; }}
    location = /events {{ proxy_pass http://$origin; proxy_buffering off; }}
  }}
}}
""")
    command = [path_of("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(file)]
    version = printed_version([path_of("nginx"), "-v"])
    return MeasuredProxy("nginx", version, port, command, [*command, "-t"], secure=tls is not None)


def haproxy(folder: Path, origins: Origins) -> MeasuredProxy:
    (port,) = free_ports(1)
    file = folder / "haproxy.cfg"
    servers = f"""\
  balance hdr({HEADER})
  hash-type map-based djb2 avalanche
  http-reuse always
  server a 127.0.0.1:{origins["a"]} weight 90
  server b 127.0.0.1:{origins["b"]} weight 10
"""
    file.write_text(f"""\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 1s
  option http-keep-alive
  option forwardfor
frontend bench
  bind 127.0.0.1:{port}
  use_backend events if {{ path /events }}
  default_backend origins
backend origins
{servers}backend events
  option http-no-delay
{servers}""")
    command = [path_of("haproxy"), "-f", str(file)]
    return MeasuredProxy(
        "HAProxy", printed_version([path_of("haproxy"), "-v"]), port, [*command, "-db"], [*command, "-c"]
    )


def aiohttp(folder: Path, origins: Origins) -> MeasuredProxy:
    (port,) = free_ports(1)
    ports = [str(port), str(origins["a"]), str(origins["b"])]
    return MeasuredProxy(
        "aiohttp",
        version("aiohttp"),
        port,
        [sys.executable, "-m", "loadtests.peers.aiohttp_proxy", *ports],
        [],
    )


MAKERS: dict[str, Callable[[Path, Origins], MeasuredProxy]] = {
    "crossfade": crossfade,
    "compiled": partial(crossfade, compiled=True),
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "traefik": traefik,
    "caddy": caddy,
    "aiohttp": aiohttp,
}
# These need a program on the machine; the others are Python code of this repository.
_PROGRAMS = ("nginx", "haproxy", "envoy", "traefik", "caddy")


def is_present(name: str) -> bool:
    if name == "compiled":
        return (COMPILED / "ok").exists()
    return name not in _PROGRAMS or program(name) is not None
